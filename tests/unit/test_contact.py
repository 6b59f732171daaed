"""A state is dated by its reader's own clock, known however old, and never older than it says."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.contact import Contact, SiteState
from isthmus.core.health import Health, Vote
from isthmus.core.routing import Route
from isthmus.errors import InputError

LIFETIME_S = 2.0
SITES = ("eu", "us", "witness")
AT_EU = Route("iot.example.com", 1, "eu", "new")


def state(reason: str = "so.", epoch: int = 1) -> SiteState:
    route = msgspec.structs.replace(AT_EU, epoch=epoch)
    return SiteState({"eu": Vote(Health.HEALTHY, reason)}, (route,))


class Site:
    """One site, with a clock of its own that agrees with nobody's."""

    def __init__(self, name: str, clock_s: float) -> None:
        self.name, self.clock_s, self.lives = name, clock_s, 0
        self.state = state()
        self.restart()

    def restart(self) -> None:
        self.lives += 1
        peers = [each for each in SITES if each != self.name]
        self.contact = Contact(self.name, peers, f"{self.name}-{self.lives}", LIFETIME_S)

    def to(self, other: Site):
        return self.contact.write(other.name, self.state, self.clock_s)

    def read(self, message) -> bool:
        return self.contact.read(message, self.clock_s)

    def fresh(self) -> set[str]:
        return set(self.contact.fresh(self.clock_s))


@pytest.fixture
def pair() -> tuple[Site, Site]:
    return Site("eu", 5.0), Site("us", 9000.0)


def meet(eu: Site, us: Site) -> None:
    """One exchange: a post, its answer, and a post that echoes the answer."""
    us.read(eu.to(us))
    eu.read(us.to(eu))
    us.read(eu.to(us))


def test_a_message_counts_once_it_echoes_the_readers_clock(pair):
    eu, us = pair
    us.read(eu.to(us))
    assert (us.fresh(), us.contact.known()) == (set(), {"eu": eu.state})
    eu.read(us.to(eu))
    assert eu.fresh() == {"us"}
    us.read(eu.to(us))
    assert us.contact.fresh(us.clock_s) == {"eu": eu.state}


def test_a_site_that_is_silent_loses_its_vote_by_the_readers_clock(pair):
    eu, us = pair
    meet(eu, us)
    us.clock_s += LIFETIME_S
    assert (us.fresh(), us.contact.ages_s(us.clock_s)) == ({"eu"}, {"eu": LIFETIME_S})
    us.clock_s += 0.01
    assert us.fresh() == set()
    assert set(us.contact.known()) == {"eu"}


def test_an_old_message_found_after_a_thaw_is_no_fresh_vote_and_its_route_still_counts(pair):
    eu, us = pair
    meet(eu, us)
    eu.state = state("x", epoch=2)
    in_the_socket = eu.to(us)
    us.clock_s += 60
    assert us.read(in_the_socket)
    assert us.fresh() == set()
    assert us.contact.known()["eu"].routes[0].epoch == 2


def test_an_older_message_that_was_overtaken_is_ignored(pair):
    eu, us = pair
    meet(eu, us)
    old = eu.to(us)
    eu.clock_s += 1
    eu.state = state("new")
    us.clock_s += 1
    assert us.read(eu.to(us))
    us.clock_s += 1
    assert not us.read(old)
    assert us.contact.known()["eu"].votes["eu"].reason == "new"
    assert us.contact.arrived_s("eu") == us.clock_s - 1


def test_an_echo_of_an_earlier_life_proves_nothing(pair):
    eu, us = pair
    meet(eu, us)
    us.restart()
    us.read(eu.to(us))
    assert us.fresh() == set()


def test_an_echo_from_the_future_proves_nothing(pair):
    eu, us = pair
    meet(eu, us)
    echo = eu.to(us)
    same_life = Contact("us", ["eu"], "us-1", LIFETIME_S)
    same_life.read(echo, us.clock_s - 1)
    assert same_life.ages_s(us.clock_s) == {}


def test_a_message_without_an_echo_takes_no_freshness_away_but_a_new_life_does(pair):
    eu, us = pair
    meet(eu, us)
    us.clock_s += 1
    us.read(msgspec.structs.replace(eu.to(us), echo=None))
    assert us.contact.ages_s(us.clock_s) == {"eu": 1.0}
    eu.restart()
    us.read(eu.to(us))
    assert us.contact.ages_s(us.clock_s) == {}


def test_news_is_a_first_message_a_new_state_and_the_first_after_no_date(pair):
    eu, us = pair
    assert us.read(eu.to(us))
    assert us.read(eu.to(us))  # Nothing dated the one before.
    meet(eu, us)
    assert not us.read(eu.to(us))
    eu.state = state("news")
    assert us.read(eu.to(us))
    assert not us.read(eu.to(us))


def test_only_other_sites_of_the_system_are_heard(pair):
    _eu, us = pair
    for stranger in (Site("mars", 0.0), Site("us", 0.0)):
        with pytest.raises(InputError, match=stranger.name):
            us.read(stranger.to(us))
    assert us.contact.known() == {}
    assert us.contact.arrived_s("mars") is None


ways = st.sampled_from([("eu", "us"), ("us", "eu")])
steps = st.one_of(
    st.tuples(st.just("talk"), ways),
    st.tuples(st.just("send"), ways),
    st.tuples(st.just("arrive"), st.integers(0, 3)),
    st.tuples(st.just("pass"), st.integers(1, 3)),
    st.tuples(st.just("restart"), st.sampled_from(["eu", "us"]), st.integers(0, 12)),
)


class Network:
    """Delays, doubles, reorders and loses; each state says when it was written in truth."""

    def __init__(self) -> None:
        self.true_s = 0
        self.sites = {"eu": Site("eu", 0.0), "us": Site("us", 10.0)}
        self.under_way: list[tuple[str, object]] = []

    def send(self, one: str, other: str) -> None:
        self.sites[one].state = state(str(self.true_s))
        self.under_way.append((other, self.sites[one].to(self.sites[other])))

    def arrive(self, back: int) -> None:
        """Hand over the newest message, or one that was sent before it; any may come again."""
        if back < len(self.under_way):
            reader, message = self.under_way[-1 - back]
            self.sites[reader].read(message)

    def take(self, step) -> None:
        match step:
            case "talk", (one, other):
                for way in ((one, other), (other, one)):
                    self.send(*way)
                    self.arrive(0)
            case "send", way:
                self.send(*way)
            case "arrive", back:
                self.arrive(back)
            case "pass", seconds:
                self.true_s += seconds
                for site in self.sites.values():
                    site.clock_s += seconds
            case "restart", name, clock_s:
                self.sites[name].clock_s = float(clock_s)
                self.sites[name].restart()

    def ages_s(self, site: Site):
        """What a site believes of each peer's state, and what is true of it."""
        believed = site.contact.ages_s(site.clock_s)
        known = site.contact.known()
        return {
            name: (age_s, self.true_s - int(known[name].votes["eu"].reason))
            for name, age_s in believed.items()
        }


@given(st.lists(steps, max_size=60))
def test_a_state_is_never_older_than_its_age_says(taken):
    network = Network()
    for step in taken:
        network.take(step)
        for site in network.sites.values():
            ages_s = network.ages_s(site)
            assert all(believed >= true for believed, true in ages_s.values()), ages_s
            young = {name for name, (age_s, _true) in ages_s.items() if age_s <= LIFETIME_S}
            assert site.fresh() == young


@given(st.lists(steps, max_size=30))
def test_one_exchange_is_enough_for_contact_whatever_was_before(taken):
    network = Network()
    for step in taken:
        network.take(step)
    network.take(("pass", 1))
    eu, us = network.sites["eu"], network.sites["us"]
    eu.restart()
    us.restart()
    meet(eu, us)
    assert "us" in eu.fresh()
    assert "eu" in us.fresh()
