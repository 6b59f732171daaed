"""Local sites get addresses of their own, and nobody else gets them meanwhile."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from isthmus.errors import Unavailable
from isthmus.local import addresses
from isthmus.local.addresses import GUARD_PORT, PORTS, Addresses

SITES = ("eu", "us", "witness")

needs_loopback = pytest.mark.skipif(
    not addresses._can_bind("127.0.1.1"), reason="only 127.0.0.1 can be bound here"
)


@contextmanager
def taken_by(seed: int) -> Iterator[Addresses]:
    """What a system with this chance takes, given back at the end."""
    taken = Addresses(SITES, random.Random(seed), first=False)
    try:
        yield taken
    finally:
        taken.release()


@needs_loopback
def test_each_site_has_an_address_of_its_own_with_the_usual_ports() -> None:
    with taken_by(7) as taken:
        assert list(taken.of) == list(SITES)
        assert len({each.host for each in taken.of.values()}) == len(SITES)
        assert {each.host.split(".")[0] for each in taken.of.values()} == {"127"}
        assert all(each.ports == PORTS for each in taken.of.values())
        assert not taken.shared_host


@needs_loopback
def test_two_systems_side_by_side_share_nothing() -> None:
    # The same chance: the second one meets the first one's addresses, and goes on.
    with taken_by(7) as one, taken_by(7) as other:
        first = {each.host for each in one.of.values()}
        assert first.isdisjoint(each.host for each in other.of.values())


@needs_loopback
def test_an_address_is_held_until_it_is_released_and_its_services_can_listen() -> None:
    with taken_by(7) as taken:
        host = taken.of["us"].host
        with pytest.raises(OSError, match="in use"):
            addresses._bound(host, GUARD_PORT)
        for port in PORTS.values():
            addresses._bound(host, port).close()
        taken.release()
        taken.release()
        addresses._bound(host, GUARD_PORT).close()


@needs_loopback
def test_an_address_on_which_something_listens_is_not_taken() -> None:
    with taken_by(7) as taken:
        host = taken.of["us"].host
    with addresses._bound(host, PORTS["nats"]), taken_by(7) as other:
        assert host not in {each.host for each in other.of.values()}


@needs_loopback
def test_without_any_free_address_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "ATTEMPTS", 1)
    with taken_by(7), pytest.raises(Unavailable) as error:
        Addresses(SITES, random.Random(7), first=False)
    assert "stop other" in error.value.hint


def test_where_one_host_is_all_there_is_every_service_has_a_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(addresses, "_can_bind", lambda _: False)
    with taken_by(7) as taken:
        ports = [port for each in taken.of.values() for port in each.ports.values()]

        assert taken.shared_host
        assert {each.host for each in taken.of.values()} == {"127.0.0.1"}
        assert len(set(ports)) == len(SITES) * len(PORTS)
        for port in ports:
            with socket.create_server(("127.0.0.1", port)):
                pass
