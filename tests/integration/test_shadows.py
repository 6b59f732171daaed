"""Shadows by MQTT and by HTTPS: one and the same in either region, and told of in both."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aws_clients import Caller
from botocore.exceptions import ClientError
from https_devices import HttpsDevice
from mqtt_wire import Wire
from regions import HOME, OTHER, Regions, two_regions, until
from shadow_clients import Shadow, data, document, shadow
from shadow_examples import PAGES, Step

pytestmark = pytest.mark.asyncio(loop_scope="module")

ON, OFF = {"desired": {"lamp": "on"}}, {"reported": {"lamp": "off"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), cuttable=True) as started:
        yield started


@pytest.mark.parametrize("name", [None, "climate"])
async def test_whoever_subscribes_hears_what_became_of_an_update(
    regions: Regions, name: str | None
) -> None:
    async with shadow(regions, f"heard-{name}", name) as device:
        told = await device.update(state=ON, clientToken="a")
        assert told.keys() == {"update/accepted", "update/documents"}
        accepted = told["update/accepted"]
        at = {"timestamp": accepted["timestamp"]}
        assert accepted == {
            "state": ON,
            "metadata": {"desired": {"lamp": at}},
            "version": 1,
            "clientToken": "a",
            **at,
        }
        delta = await device.told()
        assert delta[0] == "update/delta"
        assert delta[1]["state"] == {"lamp": "on"}
        told = await device.update(state=OFF, version=1)
        assert told["update/documents"]["previous"]["version"] == 1
        assert told["update/documents"]["current"]["version"] == 2
        assert (await device.told())[0] == "update/delta"
        told = await device.update(state={"reported": {"lamp": "on"}})
        # Nothing is left to do.
        device.ask("get", b"")
        what, found = await device.told()
        assert what == "get/accepted"
        assert found["state"] == {"desired": {"lamp": "on"}, "reported": {"lamp": "on"}}
        device.ask("delete", b'{"clientToken":"last"}')
        what, deleted = await device.told()
        assert what == "delete/accepted"
        assert deleted.keys() == {"version", "timestamp", "clientToken"}
        assert (deleted["version"], deleted["clientToken"]) == (3, "last")


async def test_what_is_refused_is_told_as_aws_tells_it(regions: Regions) -> None:
    async with shadow(regions, "refused") as device:
        device.ask("get", b"")
        assert await device.told() == (
            "get/rejected",
            {"code": 404, "message": "No shadow exists with name: 'refused'"},
        )
        await device.update(state={"desired": {"a": 1}, "reported": {"a": 1}})
        for payload, code, message in (
            (b"{", 400, "Invalid JSON"),
            (b"{}", 400, "Missing required node: state"),
            (b'{"state":{},"version":7}', 409, "Version conflict"),
            (b'{"state":"\xff"}', 415, "Unsupported documented encoding"),
            (b'{"state":{"desired":{"a":"%s"}}}' % (b"x" * 9000), 413, "The payload exceeds"),
        ):
            device.ask("update", payload)
            what, said = await device.told()
            assert (what, said["code"]) == ("update/rejected", code)
            assert said["message"].startswith(message)


async def test_by_https_and_by_mqtt_it_is_one_shadow_in_either_region(regions: Regions) -> None:
    here, there = await data(regions), await data(regions, OTHER)
    async with shadow(regions, "both") as device:
        payload = json.dumps({"state": ON, "clientToken": "t"})
        answer = await here("update_thing_shadow", thingName="both", payload=payload)
        heard = dict([await device.told() for _ in range(3)])
        assert heard["update/accepted"] == json.loads(answer["payload"].read())
        assert heard["update/delta"]["state"] == ON["desired"]
        # An answer means that the other region has it.
        found = await document(there, "both")
        assert found["state"] == {**ON, "delta": {"lamp": "on"}}
        await there("delete_thing_shadow", thingName="both")
        with pytest.raises(here.errors.ResourceNotFoundException):
            await document(here, "both")


async def test_named_shadows_are_listed_without_the_classic_one(regions: Regions) -> None:
    here = await data(regions)
    for name in (None, "b", "a", "c"):
        named = {} if name is None else {"shadowName": name}
        await here("update_thing_shadow", thingName="many", payload='{"state":{}}', **named)
    await here("delete_thing_shadow", thingName="many", shadowName="b")
    first = await here("list_named_shadows_for_thing", thingName="many", pageSize=1)
    assert first["results"] == ["a"]
    rest = await here(
        "list_named_shadows_for_thing", thingName="many", nextToken=first["nextToken"]
    )
    assert rest["results"] == ["c"]
    assert "nextToken" not in rest
    assert (await here("list_named_shadows_for_thing", thingName="nobody"))["results"] == []


@pytest.mark.parametrize(
    ("payload", "error", "status"),
    [
        ("{", "InvalidRequestException", 400),
        ('{"state":{},"version":9}', "ConflictException", 409),
        (b'{"state":"\xff"}', "UnsupportedDocumentEncodingException", 415),
        ('{"state":{"desired":{"a":"%s"}}}' % ("x" * 9000), "RequestEntityTooLargeException", 413),
    ],
)
async def test_by_https_a_refusal_is_an_error_of_aws(
    regions: Regions, payload: str | bytes, error: str, status: int
) -> None:
    here = await data(regions)
    with pytest.raises(ClientError) as caught:
        await here("update_thing_shadow", thingName="wrong", payload=payload)
    response = caught.value.response
    assert response["Error"]["Code"] == error
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status


# The developer guide

EXAMPLES = pytest.mark.parametrize(
    ("thing", "steps"),
    [
        pytest.param(f"example-{at}", steps, id=f"{page}: {name}")
        for at, (page, name, steps) in enumerate(
            (page, name, steps)
            for page, examples in PAGES.items()
            for name, steps in examples.items()
        )
    ],
)
#: As the pages name the shadow in errors.
NAME = "simShadow1"


def timeless(said: Any) -> Any:
    """Without what the time was."""
    if isinstance(said, dict):
        return {name: 0 if name == "timestamp" else timeless(value) for name, value in said.items()}
    return [timeless(each) for each in said] if isinstance(said, list) else said


def check(step: Step, said: dict[str, Any], shown: dict[str, Any]) -> None:
    for name, expected in step.said.items():
        found = said.get(name) if "/" in name else shown[name]
        assert timeless(found) == timeless(expected)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire(regions: Regions) -> AsyncIterator[Wire]:
    async with shadow(regions, "examples") as found:
        yield found.wire


@EXAMPLES
async def test_a_region_answers_by_mqtt_as_the_page_says(
    wire: Wire, thing: str, steps: list[Step]
) -> None:
    device = Shadow(wire, thing, NAME)
    await device.hear()
    for step, following in zip(steps, [*steps[1:], Step(0, "get")], strict=True):
        device.ask(step.asked, b"" if step.payload is None else json.dumps(step.payload).encode())
        said = {}
        while f"{step.asked}/accepted" not in said and f"{step.asked}/rejected" not in said:
            said |= dict([await device.told()])
        if not (step.said or following.said):
            continue
        # What else follows from it is said before anything that is asked now.
        device.ask("get", b'{"clientToken":"after"}')
        shown: dict[str, Any] = {}
        while shown.get("clientToken") != "after":
            what, shown = await device.told()
            if shown.get("clientToken") != "after":
                said[what] = shown
        check(step, said, shown)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(regions: Regions) -> tuple[Caller, Caller]:
    """Of a client in each region."""
    return await data(regions), await data(regions, OTHER)


async def by_https(caller: Caller, step: Step, thing: str) -> dict[str, Any]:
    """What is answered, by the name that it has by MQTT."""
    asked = {"payload": json.dumps(step.payload)} if step.asked == "update" else {}
    try:
        answer = await caller(
            f"{step.asked}_thing_shadow", thingName=thing, shadowName=NAME, **asked
        )
    except ClientError as error:
        code = error.response["ResponseMetadata"]["HTTPStatusCode"]
        message = error.response["Error"]["Message"]
        return {f"{step.asked}/rejected": {"code": code, "message": message}}
    return {f"{step.asked}/accepted": json.loads(answer["payload"].read())}


def said_by_https(step: Step) -> Step:
    """What of a step HTTPS says: the answer, with the token only where an update had one."""
    said = dict(step.said)
    for name in ("update/delta", "update/documents"):
        said.pop(name, None)
    for name in said.keys() & {"get/accepted", "update/rejected", "delete/rejected"}:
        said[name] = {key: each for key, each in said[name].items() if key != "clientToken"}
    return step._replace(said=said)


@EXAMPLES
async def test_a_region_answers_by_https_as_the_page_says(
    callers: tuple[Caller, Caller], thing: str, steps: list[Step]
) -> None:
    here, there = callers
    thing = f"{thing}-https"
    for step in map(said_by_https, steps):
        said, shown = await by_https(here, step, thing), {}
        if step.said:
            # In the other region: an answer means that it has that too.
            shown = await by_https(there, Step(0, "get"), thing)
        check(step, said, shown.get("get/accepted", {}))


# By HTTPS with a certificate

ACTIONS = tuple(f"iot:{each}ThingShadow" for each in ("Get", "Update", "Delete"))
LISTS = "iot:ListNamedShadowsForThing"
LISTING = "/api/things/shadow/ListNamedShadowsForThing"


async def test_a_certificate_serves_its_shadow_by_https_in_either_region(regions: Regions) -> None:
    name = await regions.who_may("by-certificate", *ACTIONS, LISTS)
    target, body = "/things/certified/shadow", json.dumps({"state": ON, "clientToken": "t"})
    async with (
        shadow(regions, "certified") as hears,
        HttpsDevice(regions, name) as here,
        HttpsDevice(regions, name, OTHER) as there,
    ):
        await there.until_served(f"{LISTING}/certified")
        answer = await here.post(target, body)
        assert answer.status == 200, answer
        heard = dict([await hears.told() for _ in range(3)])
        assert answer.body == heard["update/accepted"]
        # An answer means that the other region has it.
        found = await there.ask("GET", target)
        assert found.body["state"] == {**ON, "delta": {"lamp": "on"}}
        assert (await there.post(f"{target}?name=a", body)).body["version"] == 1
        assert (await here.ask("GET", f"{LISTING}/certified?pageSize=5")).body["results"] == ["a"]
        assert (await there.ask("DELETE", target)).body["version"] == 1
        answer = await here.ask("GET", target)
        assert (answer.status, answer.error) == (404, "ResourceNotFoundException")
        for said, status, error in (
            ("{", 400, "InvalidRequestException"),
            ('{"state":{},"version":9}', 409, "ConflictException"),
            (b'{"state":"\xff"}', 415, "UnsupportedDocumentEncodingException"),
            ("x" * 100_000, 413, "RequestEntityTooLargeException"),
        ):
            answer = await here.post(target, said)
            assert (answer.status, answer.error) == (status, error)
            assert answer.body["message"]


@pytest.mark.parametrize(
    ("name", "only", "may", "may_not"),
    [
        ("classic", "thing/mine", "/things/mine/shadow", "/things/mine/shadow?name=a"),
        ("list", "thing/mine", f"{LISTING}/mine", f"{LISTING}/others"),
        ("named", "thing/mine/a", "/things/mine/shadow?name=a", "/things/mine/shadow"),
        ("encoded", "thing/mine/a", "/things/mine/shadow?name=%61", "/things/mine/shadow?name=b"),
        ("all", "thing/mine*", "/things/mine/shadow?name=a", "/things/others/shadow"),
    ],
)
async def test_a_right_is_to_one_shadow(
    regions: Regions, name: str, only: str, may: str, may_not: str
) -> None:
    may_this = await regions.who_may(f"may-{name}", *ACTIONS, LISTS, only=only)
    async with HttpsDevice(regions, may_this) as device:
        await device.until_served(may)
        answer = await device.ask("GET", may_not)
        assert (answer.status, answer.error) == (403, "ForbiddenException")
        assert answer.body["message"] == "Forbidden"


async def test_what_may_be_read_may_not_be_changed(regions: Regions) -> None:
    name = await regions.who_may("reads-only", ACTIONS[0])
    async with HttpsDevice(regions, name) as device:
        await device.until_served("/things/read/shadow")
        for method in ("POST", "DELETE"):
            answer = await device.ask(method, "/things/read/shadow", data=b'{"state":{}}')
            assert (answer.status, answer.error) == (403, "ForbiddenException")


# Two regions


async def test_who_is_where_a_shadow_arrives_hears_of_it_there(regions: Regions) -> None:
    here = await data(regions)
    async with shadow(regions, "afar", region=OTHER) as device:
        await here("update_thing_shadow", thingName="afar", payload=json.dumps({"state": ON}))
        heard = dict([await device.told() for _ in range(2)])
        assert heard.keys() == {"update/documents", "update/delta"}
        assert heard["update/delta"]["state"] == ON["desired"]
        told = await device.update(state={"reported": {"lamp": "on"}}, version=1)
        assert told["update/accepted"]["version"] == 2


async def test_regions_that_were_apart_end_in_one_document(regions: Regions) -> None:
    here, there = await data(regions), await data(regions, OTHER)
    async with shadow(regions, "apart", region=OTHER) as device:
        await here("update_thing_shadow", thingName="apart", payload=json.dumps({"state": OFF}))
        assert (await device.told())[0] == "update/documents"
        await regions.system.cut()
        try:
            await regions.alone(HOME)
            await regions.alone(OTHER)
            for caller, leaf in ((here, "here"), (there, "there")):
                payload = json.dumps({"state": {"desired": {leaf: 1, "both": leaf}}})
                await caller("update_thing_shadow", thingName="apart", payload=payload)
            heard = dict([await device.told() for _ in range(3)])
            assert heard["update/delta"]["state"] == {"there": 1, "both": "there"}
        finally:
            await regions.system.heal()
            await regions.together()
        # And then what the other side has made of it.
        merged = {"here": 1, "there": 1, "both": "there"}
        heard = dict([await device.told() for _ in range(2)])
        assert heard["update/delta"]["state"] == merged
        assert heard["update/documents"]["current"]["version"] == 3

    async def equal() -> bool:
        return await document(here, "apart") == await document(there, "apart")

    await until("both regions have one document", equal)
    found = await document(here, "apart")
    assert (found["version"], found["state"]["desired"]) == (3, merged)
