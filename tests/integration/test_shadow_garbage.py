"""Whatever is sent to a shadow is refused as documented, or served; nobody else is harmed by it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import pytest
import pytest_asyncio
from aws_clients import Caller
from botocore.exceptions import ClientError
from https_devices import HttpsDevice
from regions import HOME, OTHER, Regions, two_regions
from shadow_clients import Shadow, data, document, shadow

from isthmus.aws.requests import BODY_BYTES_MAX
from isthmus.core.session import PAYLOAD_MAX_BYTES
from isthmus.core.shadow_request import REQUEST_MAX, ShadowRefused, read_update
from isthmus.core.shadow_topics import IN_FLIGHT_MAX

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: What a payload is answered: 200, or the code and the text of a refusal.
Answer = tuple[int, str]
Ask = Callable[[bytes], Awaitable[Answer]]

LONG = [pytest.mark.nightly, pytest.mark.timeout(1800)]
TOO_LARGE = (413, "The payload exceeds the maximum size allowed")
NO_JSON = (400, "Invalid JSON")
TOO_DEEP = (400, "JSON contains too many levels of nesting; maximum is 6")
NO_UTF8 = (415, "Unsupported documented encoding; supported encoding is UTF-8")
SERVED = (200, "")
NAME = "garbage"
#: Processes of a region that shadows go through.
PARTS = ("api", "gateway", "services")


def desired(value: str, name: str = '"a"') -> bytes:
    return f'{{"state":{{"desired":{{{name}:{value}}}}}}}'.encode()


def nested(levels: int) -> bytes:
    return desired('{"a":' * levels + "1" + "}" * levels)


ODD: dict[bytes, Answer] = {
    nested(7): SERVED,
    nested(8): TOO_DEEP,
    nested(4000): TOO_DEEP,
    nested(19_000): TOO_LARGE,
    b"[" * REQUEST_MAX: TOO_DEEP,
    b" " * PAYLOAD_MAX_BYTES: TOO_LARGE,
    b"\xff" * PAYLOAD_MAX_BYTES: TOO_LARGE,
    b'{"state":{}}' + b" " * (REQUEST_MAX - 12): SERVED,
    b'{"state":{}}' + b" " * (REQUEST_MAX - 11): TOO_LARGE,
    desired('"' + "x" * 9000 + '"'): TOO_LARGE,
    desired('"\xff"').decode().encode("latin-1"): NO_UTF8,
    desired("1").decode().encode("utf-16"): NO_UTF8,
    b"\xef\xbb\xbf" + desired("1"): NO_JSON,
    desired("9007199254740993"): SERVED,
    desired("-18446744073709551617"): SERVED,
    desired("9" * 4000): SERVED,
    desired("9" * 5000): NO_JSON,
    desired("1e999"): NO_JSON,
    desired("NaN"): NO_JSON,
    desired("-Infinity"): NO_JSON,
    desired('"\\ud800"'): NO_JSON,
    desired("1", '"\\udc00"'): NO_JSON,
    desired('"\\ud83d\\ude00"'): SERVED,
    desired("1", '"\\u0000"'): SERVED,
    desired('"\0"'): NO_JSON,
    desired("1", '""'): SERVED,
    desired('1,"a":2'): NO_JSON,
    desired('{"b":[{"c":1,"c":1}]}'): NO_JSON,
    b'{"state":{},"state":{}}': NO_JSON,
    b"": NO_JSON,
    b"null": NO_JSON,
    b"\0": NO_JSON,
    b"{" * 500: NO_JSON,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        yield started


def faults(regions: Regions, sizes: dict[str, int]) -> Iterator[dict[str, Any]]:
    """What the processes of all regions have logged since then that they should never log."""
    for name, size in sizes.items():
        with (regions.system.settings.state_dir / "logs" / name).open("rb") as file:
            file.seek(size)
            for line in file.read().decode().splitlines():
                told = json.loads(line)
                if "traceback" in told or told["level"] not in ("info", "warning"):
                    yield told


@asynccontextmanager
async def unharmed(regions: Regions) -> AsyncIterator[Caller]:
    """Meanwhile no process ends, or logs a fault, and nothing happens to another shadow."""
    logs = regions.system.settings.state_dir / "logs"
    parts = tuple(f"{each}-{part}" for each in (HOME, OTHER) for part in PARTS)
    files = [file for file in logs.glob("*.log") if file.stem.startswith(parts)]
    sizes = {file.name: file.stat().st_size for file in files}
    assert f"{HOME}-api.log" in sizes
    ended, caller = len(regions.ended), await data(regions)
    payload = json.dumps({"state": {"desired": {"calm": 1}}})
    await caller("update_thing_shadow", thingName="bystander", payload=payload)
    before = await document(caller, "bystander")
    yield caller
    after = await document(caller, "bystander")
    assert {**after, "timestamp": 0} == {**before, "timestamp": 0}
    assert regions.ended[ended:] == []
    assert list(faults(regions, sizes)) == []


# Three ways to ask


def by_mqtt(device: Shadow) -> Ask:
    async def ask(payload: bytes) -> Answer:
        device.ask("update", payload)
        while (told := await device.told())[0] not in ("update/accepted", "update/rejected"):
            pass
        what, said = told
        return SERVED if what == "update/accepted" else (said["code"], said["message"])

    return ask


def by_signature(caller: Caller) -> Ask:
    async def ask(payload: bytes) -> Answer:
        try:
            await caller("update_thing_shadow", thingName=NAME, payload=payload)
        except ClientError as error:
            response = error.response
            return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]
        return SERVED

    return ask


def by_certificate(device: HttpsDevice) -> Ask:
    async def ask(payload: bytes) -> Answer:
        answer = await device.post(f"/things/{NAME}/shadow", BytesIO(payload))
        return SERVED if answer.status == 200 else (answer.status, answer.body["message"])

    return ask


@asynccontextmanager
async def asking(regions: Regions, how: str) -> AsyncIterator[Ask]:
    if how == "mqtt":
        async with shadow(regions, NAME) as device:
            yield by_mqtt(device)
    elif how == "signature":
        yield by_signature(await data(regions))
    else:
        name = await regions.who_may("garbage-by-https", "iot:*")
        async with HttpsDevice(regions, name) as device:
            await device.until_served(f"/things/{NAME}/shadow")
            yield by_certificate(device)


HOW = pytest.mark.parametrize("how", ["mqtt", "signature", "certificate"])


@HOW
async def test_what_is_no_update_is_refused_in_words_of_aws(regions: Regions, how: str) -> None:
    async with unharmed(regions), asking(regions, how) as ask:
        for payload, expected in ODD.items():
            # By HTTPS nothing tells an empty body from none, which the models do not allow.
            expected = expected if payload or how == "mqtt" else (400, "")
            found = await ask(payload)
            assert found[0] == expected[0], payload[:80]
            assert found[1].startswith(expected[1]), payload[:80]


@pytest.mark.parametrize("how", ["signature", "certificate"])
async def test_a_body_may_be_larger_than_any_shadow_and_is_refused(
    regions: Regions, how: str
) -> None:
    async with unharmed(regions), asking(regions, how) as ask:
        for size in (PAYLOAD_MAX_BYTES + 1, BODY_BYTES_MAX, BODY_BYTES_MAX + 1):
            assert (await ask(b" " * size))[0] == 413
        assert await ask(b'{"state":{}}') == SERVED


async def test_numbers_stay_as_they_were_sent(regions: Regions) -> None:
    async with shadow(regions, "numbers") as device, unharmed(regions):
        there = await data(regions, OTHER)
        for text in ("9007199254740993", "-18446744073709551617", "9" * 4000, "-0.0", "5e-324"):
            assert await by_mqtt(device)(desired(text)) == SERVED
            found = (await document(there, "numbers"))["state"]["desired"]["a"]
            assert repr(found) == repr(json.loads(text))


@pytest.mark.parametrize(
    ("thing", "name", "message"),
    [
        ("ä", None, "Invalid thing name"),
        ("x" * 129, None, "Invalid thing name"),
        ("a b", "c", "Invalid thing name"),
        ("named", "~", "Invalid shadow name"),
        ("named", "x" * 65, "Invalid shadow name"),
    ],
)
async def test_a_name_that_no_shadow_has_is_refused_by_mqtt(
    regions: Regions, thing: str, name: str | None, message: str
) -> None:
    async with shadow(regions, "odd-names") as found, unharmed(regions):
        device = Shadow(found.wire, thing, name)
        await device.hear()
        for what in ("get", "update", "delete"):
            device.ask(what, b'{"state":{}}')
            assert await device.told() == (f"{what}/rejected", {"code": 400, "message": message})


async def test_what_is_sent_to_get_and_delete_may_be_anything(regions: Regions) -> None:
    async with shadow(regions, "anything") as device, unharmed(regions):
        for payload in ODD:
            assert await by_mqtt(device)(b'{"state":{}}') == SERVED
            for what in ("get", "delete"):
                device.ask(what, payload)
                while (told := (await device.told())[0]) == "update/documents":
                    pass
                assert told == f"{what}/accepted"


# By chance


SEEDS = [
    b'{"state":{"desired":{"a":[1,{"b":null}],"c":{"d":"\\u00e9"}},"reported":null},"version":3}',
    b'{"state":{"reported":{"n":-1.5e3,"t":true}},"clientToken":"t"}',
    b'{"state":null}',
]
PIECES = (b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"1e9", b"\\u", b"\xff", b"\0", b" ")


def spoiled(chance: random.Random) -> bytes:
    """An update with some of its bytes changed."""
    found = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randint(1, 3)):
        at, until = sorted(chance.randint(0, len(found)) for _ in range(2))
        match chance.randrange(3):
            case 0:
                found[at : at + chance.randint(0, 2)] = chance.choice(PIECES)
            case 1:
                del found[at : min(until, at + 4)]
            case _:
                found[at:at] = found[at : min(until, at + 20)] * chance.choice((1, 1, 30))
    return bytes(found)


def by_the_core(payload: bytes) -> Answer:
    try:
        read_update(payload)
    except ShadowRefused as error:
        return error.code, error.message
    return SERVED


@HOW
@pytest.mark.parametrize("count", [30, pytest.param(2000, marks=LONG)])
async def test_an_update_that_was_spoiled_is_refused_for_what_it_says(
    regions: Regions, how: str, count: int
) -> None:
    async with unharmed(regions), asking(regions, how) as ask:
        for seed in range(count):
            payload = spoiled(random.Random(f"{how}-{seed}"))
            expected, found = by_the_core(payload), await ask(payload)
            # An update may be one of another version, or there may be no more room.
            is_possible = expected == SERVED and found[0] in (409, 413)
            assert found == expected or is_possible, payload


# Much


async def flood(device: Shadow, count: int) -> list[int]:
    """Update a shadow so often, as many at once as may be; the versions that are told of."""
    versions: list[int] = []
    for number in range(count):
        device.ask("update", desired(str(number)))
        while number + 1 - len(versions) >= IN_FLIGHT_MAX:
            versions += await accepted(device)
    while len(versions) < count:
        versions += await accepted(device)
    return versions


async def accepted(device: Shadow) -> list[int]:
    what, said = await device.told()
    assert what != "update/rejected", said
    return [said["version"]] if what == "update/accepted" else []


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=LONG)])
async def test_many_updates_of_one_shadow_leave_others_served(regions: Regions, count: int) -> None:
    thing = f"busy-{count}"
    async with (
        unharmed(regions) as caller,
        shadow(regions, thing) as busy,
        shadow(regions, f"calm-{count}") as calm,
    ):
        flooding = asyncio.create_task(flood(busy, count))
        served = 0
        while not flooding.done() or not served:
            served += 1
            assert (await calm.update(state={"reported": {"n": served}}))["update/accepted"][
                "version"
            ] == served
        assert await flooding == [*range(1, count + 1)]
        found = await document(caller, thing)
        assert (found["version"], found["state"]["desired"]) == (count, {"a": count - 1})


async def test_what_is_taken_away_one_by_one_has_a_bound_and_room_can_be_made(
    regions: Regions,
) -> None:
    async with shadow(regions, "worn") as device, unharmed(regions):
        ask = by_mqtt(device)
        for turn in range(10):
            # Another region may have it: that it is not to be there has to be remembered.
            nothing = {f"{turn}-{number}": None for number in range(2000)}
            answer = await ask(json.dumps({"state": {"desired": nothing}}).encode())
            if answer != SERVED:
                break
        assert answer == TOO_LARGE
        assert await ask(b'{"state":{"desired":null}}') == SERVED
        assert await ask(desired("1")) == SERVED
