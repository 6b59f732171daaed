"""Certificates that a bench registers past the API are what a gateway would have been told."""

from __future__ import annotations

from pathlib import Path

from isthmus.adapters.nats.follow import follow
from isthmus.adapters.nats.streams import LOG
from isthmus.aws.listed import LISTED
from isthmus.bench.migrated import Fleet, pem, register_certificates, write
from isthmus.core.log_view import LogView
from isthmus.core.registry import CertificateStatus, Writer
from isthmus.core.stamp import StampClock
from isthmus.region.log_view import take
from real_nats import real_nats


async def test_every_certificate_is_active_for_who_reads_the_log(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("isthmus.bench.migrated.IN_FLIGHT_MAX", 20)
    count, told = 130, []
    async with real_nats(tmp_path) as server, server.user("services") as client:
        position = await register_certificates(client, "eu", count, told.append)
        log = LogView()
        async for entries in follow(client, LOG, 0):
            take(log, entries)
            if log.position >= position:
                break
    assert (position, len(log.view), told[-1]) == (count, count, count)
    fingerprints = {pem(number)[0] for number in range(1, count + 1)}
    assert len(fingerprints) == count
    assert {log.view.status(each) for each in fingerprints} == {CertificateStatus.ACTIVE}
    assert len({pem(number)[1] for number in range(count)}) == count
    assert 1_000 < len(pem(1)[1]) < 1_400


async def test_every_thing_of_a_fleet_has_its_certificate_policy_and_groups(tmp_path: Path):
    fleet, told = Fleet(Writer(StampClock("eu", "a"), 1_000)), []
    items = [*fleet.shared(), *(item for number in range(30) for item in fleet.of(number))]
    async with real_nats(tmp_path) as server, server.user("services") as client:
        position = await write(client, iter(items), told.append)
        log = LogView(listed=LISTED)
        async for entries in follow(client, LOG, 0):
            take(log, entries)
            if log.position >= position:
                break
    assert position == len(log.view) == told[-1] == len(items)
    for number in range(30):
        principal, thing = pem(number)[0], f"fleet-{number:07}"
        assert log.view.things(principal) == (thing,)
        assert [each.name for each in log.view.policies(principal)] == ["fleet"]
        assert len(log.view.groups(thing)) == 2
    assert log.catalogue.count("thing") == 30
