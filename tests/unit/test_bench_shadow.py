"""What clients of `isthmus bench shadow` send, and what they find wrong, without a network."""

from __future__ import annotations

import json

import pytest
from test_bench_loads import CLIENT, connected

from isthmus.bench.client import Faults
from isthmus.bench.shadow_metrics import shadow_metrics
from isthmus.bench.updating import OWED_MAX, Updater, settle
from isthmus.errors import BrokenInvariant, Unavailable
from isthmus.wire.mqtt3_encode import encode, encode_puback
from isthmus.wire.packets import Filter, Publish, Suback, Subscribe

TOPIC = "$aws/things/a/shadow/update"


def accepted(version: int) -> bytes:
    return encode(Publish(f"{TOPIC}/accepted", json.dumps({"version": version}).encode()))


async def test_a_client_updates_its_shadow_as_fast_as_that_is_accepted():
    updater = Updater(CLIENT, Faults(), window=2)
    socket = connected(updater)
    updater.subscribe()
    assert socket.packets() == [Subscribe(1, (Filter(f"{TOPIC}/accepted", 0),))]
    updater.data_received(encode(Suback(1, (0,))))
    assert updater.subscribed.done()
    first, second = socket.packets()
    assert (first.topic, first.qos) == (TOPIC, 1)
    assert first.packet_id != second.packet_id
    assert json.loads(first.payload)["clientToken"] == "1"
    # A PUBACK is no answer.
    updater.data_received(encode_puback(first.packet_id))
    assert socket.packets() == []
    updater.data_received(accepted(1))
    assert [json.loads(each.payload)["clientToken"] for each in socket.packets()] == ["3"]
    assert (updater.accepted_count, len(updater.answered_s)) == (1, 1)


async def test_an_answer_is_timed_from_when_its_update_was_due():
    updater = Updater(CLIENT, Faults(), window=0)
    connected(updater)
    for due_s in (10.0, 11.0):
        updater.update(due_s)
    updater.data_received(accepted(1) + accepted(2))
    assert list(updater.due_s) == [10.0, 11.0]


async def test_what_is_not_accepted_and_what_was_not_asked_is_noticed():
    faults = Faults()
    updater = Updater(CLIENT, faults, window=0)
    connected(updater)
    updater.data_received(accepted(1))
    with pytest.raises(Unavailable, match="was not sent"):
        faults.check()
    faults = Faults()
    updater = Updater(CLIENT, faults, window=0)
    connected(updater)
    for _ in range(OWED_MAX + 1):
        updater.update(0.0)
    with pytest.raises(Unavailable, match=f"{OWED_MAX} updates are not answered"):
        faults.check()


@pytest.mark.parametrize("version", [1, 3])
async def test_a_version_that_is_not_the_number_of_updates_is_noticed(version):
    faults = Faults()
    updater = Updater(CLIENT, faults, window=0)
    connected(updater)
    updater.update(0.0)
    updater.update(0.0)
    updater.data_received(accepted(1) + accepted(version))
    with pytest.raises(BrokenInvariant, match=f"2 updates accepted, and the version is {version}"):
        await settle([updater], faults)


def test_what_is_measured():
    names = [figure.name for each in shadow_metrics() for figure in each.figures]
    assert {"updates_per_s", "accepted_p50_ms"} <= set(names)
