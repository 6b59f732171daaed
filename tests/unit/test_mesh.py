"""The mesh's messages: from whom they say, bounded, and read once by whoever leans on them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from isthmus.config import Listen, RoutedRegion, SiteConfig, SitePeer, TlsFiles
from isthmus.core.contact import SiteState
from isthmus.core.health import Health, Vote
from isthmus.core.routing import Route
from isthmus.director.mesh import Mesh
from isthmus.errors import InputError

NO_FILES = TlsFiles(certificate="", key="", ca="")
HERE = Listen(host="127.0.0.1", port=0)


class Clock:
    """Time that passes when told to; each site has one, and they need not agree."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Site:
    """One end of the mesh, without sockets."""

    def __init__(self, name: str, clock_s: float) -> None:
        self.clock = Clock(clock_s)
        self.state = SiteState({}, (Route("iot.example.com", 1, "eu", "new"),))
        self.wakes = 0
        self.mesh = self.restarted(name)

    def restarted(self, name: str) -> Mesh:
        config = SiteConfig(
            site=name,
            state_dir="",
            sites=tuple(SitePeer(name=each, url=f"https://{each}") for each in ("eu", "us")),
            regions=(RoutedRegion(name="eu", hostname="eu.x", address="127.0.0.1", mqtt_port=1),),
            stable_name="x",
            dns=HERE,
            mesh=HERE,
            mesh_tls=NO_FILES,
            canary_tls=NO_FILES,
        )
        return Mesh(config, lambda: self.state, self._wake, clock=self.clock)

    def _wake(self) -> None:
        self.wakes += 1


@pytest.fixture
async def pair():
    await asyncio.sleep(0)
    return Site("eu", 5.0), Site("us", 9000.0)


def met(eu: Site, us: Site) -> None:
    """One exchange: a post, its answer, and a post that echoes the answer."""
    us.mesh.read("eu", eu.mesh.write("us"))
    eu.mesh.read("us", us.mesh.write("eu"))
    us.mesh.read("eu", eu.mesh.write("us"))


async def test_sites_that_met_hear_each_other_until_one_is_silent(pair):
    eu, us = pair
    met(eu, us)
    assert eu.mesh.fresh() == {"us": us.state}
    assert us.mesh.fresh() == {"eu": eu.state}
    us.clock.now_s += 2.01
    assert us.mesh.fresh() == {}
    assert us.mesh.known() == {"eu": eu.state}
    assert us.mesh.ages_s() == {"eu": pytest.approx(2.01)}


async def test_a_new_start_is_a_new_life(pair):
    eu, us = pair
    met(eu, us)
    us.mesh = us.restarted("us")
    us.mesh.read("eu", eu.mesh.write("us"))
    assert us.mesh.fresh() == {}


async def test_only_news_wakes_the_director(pair):
    eu, us = pair
    met(eu, us)
    woken = us.wakes
    us.mesh.read("eu", eu.mesh.write("us"))
    assert us.wakes == woken
    eu.state = SiteState({"eu": Vote(Health.HEALTHY, "news")}, ())
    us.mesh.read("eu", eu.mesh.write("us"))
    assert us.wakes == woken + 1


@pytest.mark.parametrize(
    "change",
    [
        {"site": "mars"},
        {"sent_s": "now"},
        {
            "state": {
                "votes": {},
                "routes": [{"name": "x", "epoch": 0, "target": "a", "reason": ""}],
            }
        },
        {"state": {"votes": {str(n): {"health": "healthy", "reason": ""} for n in range(65)}}},
        {"state": {"votes": {"eu": {"health": "splendid", "reason": ""}}, "routes": []}},
    ],
)
async def test_what_is_no_state_of_that_site_is_refused(pair, change):
    eu, us = pair
    body = msgspec.json.decode(eu.mesh.write("us"))
    with pytest.raises(InputError):
        us.mesh.read("eu", msgspec.json.encode(body | change))
    with pytest.raises(InputError):
        us.mesh.read("mars", eu.mesh.write("us"))
    assert us.mesh.known() == {}


@pytest.mark.parametrize("body", [b'{"site": "\x80"}', b"[" * 100_000], ids=["not UTF-8", "deep"])
async def test_what_cannot_be_read_is_refused(pair, body):
    _, us = pair
    with pytest.raises(InputError):
        us.mesh.read("eu", body)
