"""What is said of clients that policies deny, and how much of it."""

from __future__ import annotations

import json

import pytest

from isthmus.core.presence_events import Denied, connect_failed
from isthmus.core.view import View
from isthmus.gateway import denials
from isthmus.gateway.denials import BURST, CLIENT_BURST, CLIENT_EVERY_S, PER_S, Denials


class Bus:
    """Takes what is said, at a time that the test says."""

    def __init__(self, monkeypatch):
        self.now_s = 100.0
        self.events = []
        monkeypatch.setattr(denials, "monotonic_s", lambda: self.now_s)
        self.denials = Denials(View(), lambda *event: self.events.append(event), "canary-")

    def deny(self, client_id):
        self.denials.denied(client_id, "c" * 64, "192.0.2.1")

    def said(self):
        events, self.events = self.events, []
        return len(events)


@pytest.fixture
def bus(monkeypatch):
    return Bus(monkeypatch)


def test_the_event_is_as_documented():
    topic, payload = connect_failed(Denied("186b5", "c" * 64, "192.0.2.0", 1460065214626, "ab"))
    assert topic == "$aws/events/presence/connect_failed/186b5"
    assert json.loads(payload) == {
        "clientId": "186b5",
        "timestamp": 1460065214626,
        "eventType": "connect_failed",
        "connectFailureReason": "AUTHORIZATION_FAILED",
        "principalIdentifier": "c" * 64,
        "sessionIdentifier": "ab",
        "ipAddress": "192.0.2.0",
    }


def test_it_names_the_thing_that_the_certificate_is_exclusively_of():
    _, payload = connect_failed(Denied("186b5", "c" * 64, "192.0.2.0", 1, "ab", "lamp-1"))
    assert json.loads(payload)["thingName"] == "lamp-1"


@pytest.mark.parametrize("client_id", ["a+", "#", "+/b"])
def test_a_client_with_a_wildcard_in_its_name_has_none(bus, client_id):
    bus.deny(client_id)
    assert bus.said() == 0


def test_it_is_said_of_clients_and_not_of_canaries(bus):
    bus.deny("car")
    ((topic, _),) = bus.events
    assert topic == "$aws/events/presence/connect_failed/car"
    bus.events.clear()
    bus.deny("canary-eu")
    assert bus.said() == 0


def test_a_client_that_comes_again_and_again_is_not_said_each_time(bus):
    for _ in range(100):
        bus.deny("car")
    assert bus.said() == CLIENT_BURST
    bus.deny("other")
    assert bus.said() == 1
    bus.now_s += CLIENT_EVERY_S
    for _ in range(100):
        bus.deny("car")
    assert bus.said() == 1


def test_a_client_under_many_names_does_not_fill_the_bus(bus):
    for number in range(1_000):
        bus.deny(f"car-{number}")
    assert bus.said() == BURST
    bus.now_s += 1.0
    for number in range(1_000):
        bus.deny(f"bus-{number}")
    assert bus.said() == PER_S
