"""Whatever is lost, late or wrongly suspected: in the end all know who is connected where."""

from __future__ import annotations

import json
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.presence import (
    Announcer,
    DisconnectReason,
    Ended,
    Listing,
    Present,
    Roster,
    Said,
    Word,
    mark,
    reason_of,
)
from isthmus.core.presence_events import message
from isthmus.wire.reason_codes import ReasonCode

CLIENTS = "abc"
REGIONS = ("eu", "us")


class Gateway:
    """A process that clients connect to, and what it has told and was not heard yet."""

    def __init__(self, name):
        self.name = name
        self.present: dict[str, Present] = {}
        self.told: deque = deque()

    def connect(self, client, present):
        self.close(client)
        self.present[client] = present
        self.told.append((client, present))

    def close(self, client, session=None):
        present = self.present.get(client)
        if present is not None and session in (None, present.session):
            del self.present[client]
            self.told.append(Ended(client, present.session, present.at_ms, "CONNECTION_LOST"))


class Region:
    """One region's services, its gateways, and its stream."""

    def __init__(self, name, world):
        self.name, self.world = name, world
        self.gateways = {f"{name}-{n}": Gateway(f"{name}-{n}") for n in range(2)}
        self.dead: set[str] = set()
        self.stream: list[Said] = []
        self.begin()

    def begin(self):
        """The services start, and have nothing but the streams."""
        self.announcer = Announcer(self.name, Roster())
        self.read = dict.fromkeys(REGIONS, 0)
        self.begins_at = len(self.stream)
        for gateway in self.gateways.values():
            gateway.told.clear()

    def follow(self, heard):
        """Do what follows from what was heard."""
        self.stream += heard.said
        for word in heard.over:
            if word.gateway in self.gateways:
                gateway = self.gateways[word.gateway]
                gateway.close(word.client, word.present.session)
        for name in heard.doubted & self.gateways.keys():
            self.ask(self.gateways[name])

    def hear(self, gateway):
        """Take in one thing that a gateway told."""
        if not gateway.told:
            return False
        told = gateway.told.popleft()
        if self.read[self.name] < self.begins_at:
            # It does not listen yet.
            return True
        if isinstance(told, Ended):
            self.follow(self.announcer.ended(told))
        elif isinstance(told, Listing):
            self.follow(self.announcer.listed(gateway.name, told, self.world.now_ms))
        else:
            self.follow(self.announcer.connected(gateway.name, *told))
        return True

    def read_one(self, origin):
        """Read the next word of a stream."""
        stream = self.world.regions[origin].stream
        if self.read[origin] >= len(stream):
            return False
        said = stream[self.read[origin]]
        self.read[origin] += 1
        words = [] if said.is_event_only else [said.word]
        self.follow(self.announcer.stored(words, self.world.now_ms))
        return True

    def ask(self, gateway):
        """Have a gateway list everybody, in two parts."""
        for part in range(2):
            listing = Listing({}, part, 2)
            clients = {key: each for key, each in gateway.present.items() if listing.covers(key)}
            gateway.told.append(Listing(clients, part, 2))

    def digest_is_right(self, gateway):
        found = 0
        for client, present in gateway.present.items():
            found ^= mark(client, present.session)
        return found == self.announcer.roster.digest(self.name, gateway.name)


class World:
    """Two regions and three clients."""

    def __init__(self):
        self.now_ms = 1_000
        self.sessions = 0
        self.regions = {}
        for name in REGIONS:
            self.regions[name] = Region(name, self)

    def connect(self, client, region, number, skew_ms):
        self.sessions += 1
        self.now_ms += 7
        present = Present(f"s{self.sessions}", self.now_ms + skew_ms, "cert")
        gateways = self.regions[region].gateways
        chosen = sorted(gateways)[number]
        # Gateways of one region tell each other, and close what is older.
        for gateway in gateways.values():
            held = gateway.present.get(client)
            if gateway.name != chosen and held and held.at_ms <= present.at_ms:
                gateway.close(client)
        gateways[chosen].connect(client, present)

    def kill_gateway(self, region, number):
        region = self.regions[region]
        name = sorted(region.gateways)[number]
        del region.gateways[name]
        region.dead.add(name)
        self.sessions += 1
        fresh = f"{name.split('.')[0]}.{self.sessions}"
        region.gateways[fresh] = Gateway(fresh)

    def step(self):
        """Let everything be heard; returns whether there was anything."""
        is_moved = False
        for region in self.regions.values():
            for name in sorted(region.dead):
                heard = region.announcer.died(region.name, name, self.now_ms)
                region.follow(heard)
                is_moved = is_moved or bool(heard.said)
            for gateway in list(region.gateways.values()):
                while region.hear(gateway):
                    is_moved = True
                if not region.digest_is_right(gateway):
                    region.ask(gateway)
                    is_moved = True
            for origin in REGIONS:
                while region.read_one(origin):
                    is_moved = True
        return is_moved

    def settle(self):
        for _ in range(30):
            if not self.step():
                return
        raise AssertionError("it goes on for ever")


ACTIONS = st.one_of(
    st.tuples(
        st.just("connect"),
        st.sampled_from(CLIENTS),
        st.sampled_from(REGIONS),
        st.integers(0, 1),
        st.sampled_from([0, 0, 0, 3, 60]),
    ),
    st.tuples(st.just("leave"), st.sampled_from(CLIENTS)),
    st.tuples(st.just("hear"), st.sampled_from(REGIONS), st.integers(0, 1)),
    st.tuples(st.just("lose"), st.sampled_from(REGIONS), st.integers(0, 1)),
    st.tuples(st.just("read"), st.sampled_from(REGIONS), st.sampled_from(REGIONS)),
    st.tuples(st.just("restart"), st.sampled_from(REGIONS)),
    st.tuples(st.just("kill"), st.sampled_from(REGIONS), st.integers(0, 1)),
    st.tuples(st.just("suspect"), st.sampled_from(REGIONS), st.sampled_from(REGIONS)),
    st.tuples(st.just("settle")),
)


def play(world, action):
    kind, *rest = action
    regions = world.regions
    match kind:
        case "connect":
            world.connect(*rest)
        case "leave":
            for region in regions.values():
                for gateway in region.gateways.values():
                    gateway.close(rest[0])
        case "hear" | "lose":
            region = regions[rest[0]]
            gateway = region.gateways[sorted(region.gateways)[rest[1]]]
            if kind == "hear":
                region.hear(gateway)
            elif gateway.told:
                gateway.told.popleft()
        case "read":
            regions[rest[0]].read_one(rest[1])
        case "restart":
            regions[rest[0]].begin()
        case "kill":
            world.kill_gateway(*rest)
        case "suspect":
            region, suspected = regions[rest[0]], rest[1]
            for place in region.announcer.roster.places():
                if place[0] == suspected:
                    region.follow(region.announcer.died(*place, world.now_ms))
        case "settle":
            world.settle()


@settings(max_examples=400)
@given(st.lists(ACTIONS, max_size=60))
def test_in_the_end_all_know_who_is_connected_where(actions):
    world = World()
    for action in actions:
        play(world, action)
    world.settle()
    rosters = [region.announcer.roster for region in world.regions.values()]
    for client in CLIENTS:
        there = [
            (region.name, gateway.name, gateway.present[client])
            for region in world.regions.values()
            for gateway in region.gateways.values()
            if client in gateway.present
        ]
        assert len(there) <= 1
        known = [roster.get(client) for roster in rosters]
        assert known[0] == known[1]
        at = known[0]
        is_connected = at is not None and not at.has_ended
        assert there == ([(at.region, at.gateway, at.present)] if is_connected else [])
        # And so does whoever hears the events and goes by their versions.
        heard = [
            said
            for region in world.regions.values()
            for said in region.stream
            if said.word.client == client
        ]
        if heard:
            newest = max(heard, key=lambda said: said.word.order)
            assert (newest.reason is None) is is_connected


@settings(max_examples=400)
@given(st.lists(ACTIONS, max_size=40))
def test_every_connection_that_is_said_is_said_to_have_ended_and_in_that_order(actions):
    world = World()
    for action in actions:
        play(world, action)
    play(world, ("leave", "a"))
    play(world, ("leave", "b"))
    play(world, ("leave", "c"))
    world.settle()
    said = [each for region in world.regions.values() for each in region.stream]
    begun = {(each.word.client, each.word.version) for each in said if each.reason is None}
    ended = {(each.word.client, each.word.version) for each in said if each.reason is not None}
    assert begun == ended
    for region in world.regions.values():
        versions: dict[str, int] = {}
        for each in region.stream:
            if each.reason is None and each.word.region == region.name:
                assert each.word.version > versions.get(each.word.client, 0)
                versions[each.word.client] = each.word.version


def word(client="lamp", has_ended=False):
    return Word(client, 5, "eu", "g", Present("s", 5, "cert", "192.0.2.1"), has_ended)


def test_the_events_are_those_of_aws():
    connected = message(Said(word(), 9))
    assert connected.topic == "$aws/events/presence/connected/lamp"
    assert json.loads(connected.payload) == {
        "clientId": "lamp",
        "timestamp": 9,
        "eventType": "connected",
        "sessionIdentifier": "s",
        "principalIdentifier": "cert",
        "ipAddress": "192.0.2.1",
        "versionNumber": 5,
    }
    lost = message(Said(word(has_ended=True), 9, DisconnectReason.CONNECTION_LOST))
    assert lost.topic == "$aws/events/presence/disconnected/lamp"
    assert json.loads(lost.payload) == {
        "clientId": "lamp",
        "timestamp": 9,
        "eventType": "disconnected",
        "sessionIdentifier": "s",
        "principalIdentifier": "cert",
        "clientInitiatedDisconnect": False,
        "disconnectReason": "CONNECTION_LOST",
        "versionNumber": 5,
    }
    assert connected.id != lost.id
    left = message(Said(word(), 9, DisconnectReason.CLIENT_INITIATED_DISCONNECT))
    assert json.loads(left.payload)["clientInitiatedDisconnect"] is True


@pytest.mark.parametrize("client", ["a+b", "a#"])
def test_a_name_that_no_topic_can_have_has_no_events(client):
    assert message(Said(word(client), 9)) is None


def test_why_a_connection_was_closed_is_why_it_ended():
    assert reason_of(None) is DisconnectReason.CONNECTION_LOST
    assert reason_of(ReasonCode.SESSION_TAKEN_OVER) is DisconnectReason.DUPLICATE_CLIENTID
    assert reason_of(ReasonCode.PROTOCOL_ERROR) is DisconnectReason.CLIENT_ERROR


def test_the_roster_forgets_who_went_long_ago():
    roster = Roster()
    for each in (word("gone", has_ended=True), word("there"), word("late", has_ended=True)):
        roster.take(each)
    roster.take(Word("late", 9, "eu", "g", Present("t", 900, "cert"), True))
    # It was there for long, and went only now.
    roster.take(Word("stayed", 9, "eu", "g", Present("u", 5, "cert"), True, 900, "CLIENT_ERROR"))
    assert roster.forget(800) == ["gone"]
    assert {each.client for each in roster} == {"there", "late", "stayed"}
    assert len(roster) == 1


def test_the_roster_knows_when_and_why_a_connection_ended():
    announcer = Announcer("eu", Roster())
    announcer.connected("g", "lamp", Present("s", 5, "cert"))
    announcer.ended(Ended("lamp", "s", 9, "CLIENT_ERROR"))
    (known,) = announcer.roster.known(["nobody", "lamp"])
    assert (known.has_ended, known.ended_ms, known.reason) == (True, 9, "CLIENT_ERROR")


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9), st.booleans())))
def test_who_is_connected_is_told_in_order_and_from_any_place(steps):
    roster = Roster()
    for client, version, has_ended in steps:
        roster.take(Word(client, version, "eu", "g", Present("s", 5, "cert"), has_ended))
    there = sorted(each.client for each in roster if not each.has_ended)
    assert len(roster) == len(there)
    for behind in ("", *"abcdef", "cc"):
        expected = [client for client in there if client > behind]
        for most in (0, 2, 9):
            found = [each.client for each in roster.connected(behind, most)]
            assert found == expected[:most]
