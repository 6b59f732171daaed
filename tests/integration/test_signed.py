"""MQTT over WebSocket by who signs: let in, refused, and closed when the key is taken away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from listener_clients import WebSocket, websocket
from regions import HOME, OTHER, Regions, two_regions, until
from second_gateway import free_place, second_gateway
from sigv4_signers import Wanted, by_hand
from yarl import URL

from isthmus.config import Listen
from isthmus.core.access_keys import ACCESS_KEY
from isthmus.wire import mqtt3

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUSED = b"the signature is not accepted\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        yield started


Key = dict[str, Any]


async def a_key(regions: Regions, role: str = "admin") -> Key:
    return await regions.operator.create_access_key(HOME, role)


def place(regions: Regions, region: str = HOME) -> Listen:
    address = regions.system.address(region)
    return Listen(host=address.host, port=address.ports["https"])


def target(
    key: Key, listen: Listen, late: timedelta = timedelta(), secret: str = "", **wanted: Any
) -> str:
    """An address that is signed by hand."""
    asked = replace(Wanted(), headers=(("host", str(listen)),), **wanted)
    at = datetime.now(UTC) - late
    return by_hand(asked, secret or key["secret"], at, key["id"]).target


@asynccontextmanager
async def signed(
    regions: Regions, key: Key, region: str = HOME, **how: Any
) -> AsyncIterator[WebSocket]:
    listen = place(regions, region)
    async with websocket(listen, regions.tls(None), target(key, listen, **how)) as socket:
        yield socket


async def asked(regions: Regions, path: str, region: str = HOME) -> tuple[int, bytes]:
    """Ask to speak MQTT; the status, and the text where it is refused."""
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "mqtt",
    }
    address = URL(f"https://{place(regions, region)}{path}", encoded=True)
    async with (
        aiohttp.ClientSession() as session,
        session.get(address, ssl=regions.tls(None), headers=headers) as answer,
    ):
        return answer.status, b"" if answer.status == 101 else await answer.read()


# Let in


@pytest.mark.parametrize("region", [HOME, OTHER])
async def test_who_signs_an_address_by_hand_is_let_in_in_every_region(
    regions: Regions, region: str
) -> None:
    key = await a_key(regions)
    assert key["confirmed_by"] == [OTHER]
    # Signed for the home region, as before the failover.
    async with signed(regions, key, region, expires_s=3600) as socket:
        assert await socket.connect(f"signs-in-{region}") == 0
        topic = f"anything/in-{region}"
        await socket.send(
            mqtt3.Subscribe(1, (mqtt3.Filter(topic, 0),)),
            mqtt3.Publish(topic, b"signed", 1, packet_id=2),
        )
        heard = [await socket.next() for _ in range(3)]
    assert mqtt3.Suback(1, (0,)) in heard
    assert mqtt3.Puback(2) in heard
    assert [each.payload for each in heard if isinstance(each, mqtt3.Publish)] == [b"signed"]
    await until("the lake names the key", lambda: key["id"] in _principals(regions, region, topic))


def _principals(regions: Regions, region: str, topic: str) -> list[str]:
    return [row.principal for row in regions.lake(region) if row.topic == topic]


# Refused

WRONG: dict[str, dict[str, Any]] = {
    "a wrong secret": {"secret": "x" * 40},
    "an expired address": {"late": timedelta(seconds=90), "expires_s": 60},
    "a late clock": {"late": timedelta(seconds=330)},
    "an early clock": {"late": timedelta(seconds=-330)},
    "the name of another region": {"region": "ap"},
    "another service": {"service": "s3"},
    "the token of a session": {"token": "token"},
    "another path": {"target": "/other"},
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_signature_with_something_wrong_is_refused_without_a_reason(
    regions: Regions, what: str
) -> None:
    key = await a_key(regions)
    before = await regions.level()
    path = target(key, place(regions), **WRONG[what]).replace("/other?", "/mqtt?")
    assert await asked(regions, path) == (403, REFUSED)
    assert await regions.level() == before


async def test_an_unknown_key_is_refused_as_a_wrong_secret_is(regions: Regions) -> None:
    unknown = {"id": "AKIA" + "A" * 16, "secret": "x" * 40}
    assert await asked(regions, target(unknown, place(regions))) == (403, REFUSED)


async def test_a_wrong_signature_is_not_made_good_by_a_certificate(regions: Regions) -> None:
    name, key = await regions.device("signs-wrongly"), await a_key(regions)
    path = target(key, place(regions), secret="x" * 40)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with websocket(place(regions), regions.tls(regions.identity(name)), path):
            pass
    assert refused.value.status == 403


async def test_without_a_secrets_key_no_signature_is_accepted(regions: Regions) -> None:
    key = await a_key(regions)
    listen = free_place(place(regions).host)
    async with second_gateway(regions, https=listen, secrets_key=""):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with websocket(listen, regions.tls(None), target(key, listen)):
                pass
    assert refused.value.status == 403


# Taken away


@pytest.mark.parametrize("region", [HOME, OTHER])
@pytest.mark.parametrize("what", ["deactivate", "delete"])
async def test_a_key_that_is_taken_away_closes_its_connections(
    regions: Regions, region: str, what: str
) -> None:
    key, spared = await a_key(regions), await a_key(regions)
    async with (
        signed(regions, key, region) as socket,
        signed(regions, spared, region) as other,
    ):
        assert await socket.connect(f"to-{what}-in-{region}") == 0
        assert await other.connect(f"spared-by-{what}-in-{region}") == 0
        answer = await regions.operator.change_access_key(HOME, key["id"], what)
        assert answer["status"] == ("Inactive" if what == "deactivate" else None)
        assert await socket.next() is None
        await other.send(mqtt3.Pingreq())
        assert await other.next() == mqtt3.Pingresp()
    path = target(key, place(regions, region))
    assert await asked(regions, path, region) == (403, REFUSED)


async def test_a_key_that_is_taken_away_before_connect_gets_nothing(regions: Regions) -> None:
    key = await a_key(regions)
    listen = free_place(place(regions).host)
    async with (
        second_gateway(regions, https=listen) as gateway,
        websocket(listen, regions.tls(None), target(key, listen)) as socket,
    ):
        await regions.operator.change_access_key(HOME, key["id"], "deactivate")
        await until("it heard", lambda: bool(gateway._log_view.view.refusal(key["id"])))
        assert await socket.connect("too-late") == 5


async def test_a_key_that_is_activated_again_is_let_in_again(regions: Regions) -> None:
    key = await a_key(regions)
    await regions.operator.change_access_key(HOME, key["id"], "deactivate")
    answer = await regions.operator.change_access_key(HOME, key["id"], "activate")
    assert answer["status"] == "Active"

    async def is_let_in() -> bool:
        return (await asked(regions, target(key, place(regions))))[0] == 101

    await until("it is let in", is_let_in)


# Roles


@pytest.mark.parametrize(
    ("role", "topic", "may_publish"),
    [
        ("operator", "any/topic", True),
        ("read-only", "any/topic", False),
        ("provisioner", "any/topic", False),
    ],
)
async def test_a_role_holds_over_mqtt(
    regions: Regions, role: str, topic: str, may_publish: bool
) -> None:
    key = await a_key(regions, role)
    async with signed(regions, key) as socket:
        assert await socket.connect(f"is-{role}") == 0
        await socket.send(mqtt3.Publish(topic, b"x", 1, packet_id=1))
        assert await socket.next() == (mqtt3.Puback(1) if may_publish else None)


# The secret


async def test_a_secret_is_in_one_answer_and_nowhere_else(regions: Regions) -> None:
    key = await a_key(regions)
    async with signed(regions, key) as socket:
        assert await socket.connect("looks-for-secrets") == 0
    assert key["id"] in str(await regions.operator.access_keys(OTHER))
    assert "secret" not in str(await regions.operator.access_keys(HOME))
    for region in (HOME, OTHER):
        item = await regions.item(region, ACCESS_KEY, key["id"])
        assert item.lives
        assert key["secret"].encode() not in item.encode()
    state = regions.system.settings.state_dir

    def holders() -> list[str]:
        files = [each for each in state.rglob("*") if each.is_file()]
        return [str(each) for each in files if key["secret"].encode() in each.read_bytes()]

    assert await asyncio.to_thread(holders) == []


# The API


async def test_what_is_wrong_with_a_wish_is_named(regions: Regions) -> None:
    with pytest.raises(Exception, match=r"\$.role") as refused:
        await a_key(regions, "emperor")
    assert "read-only" in str(refused.value)
    for what in ("activate", "deactivate", "delete"):
        with pytest.raises(Exception, match="there is no access key"):
            await regions.operator.change_access_key(HOME, "AKIA" + "B" * 16, what)
    key = await a_key(regions)
    before = await regions.operator.change_access_key(HOME, key["id"], "delete")
    digests = await regions.level()
    assert await regions.operator.change_access_key(HOME, key["id"], "delete") == before
    assert await regions.level() == digests
    with pytest.raises(Exception, match="there is no access key"):
        await regions.operator.change_access_key(HOME, key["id"], "activate")
