"""What a device's request to a shadow leads to, whatever becomes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
from aws_region import AwsRegion

from isthmus.aws import shadowed
from isthmus.aws.device_questions import Asked
from isthmus.aws.devices import DEVICE_QUESTIONS
from isthmus.core import shadows
from isthmus.errors import Unavailable

ROOT = "$aws/things/car/shadow"


class Told(NamedTuple):
    """By the ends of their topics, what is told."""

    to_who_asked: dict[str, Any]
    to_all: dict[str, Any]


def read(messages: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    return {topic.removeprefix(f"{ROOT}/"): json.loads(payload) for topic, payload in messages}


async def ask(region: AwsRegion, what: str, payload: bytes = b"") -> Told:
    (told,) = await ask_together(region, (what, payload))
    return told


async def ask_together(region: AwsRegion, *requests: tuple[str, bytes]) -> list[Told]:
    found = DEVICE_QUESTIONS.handler(f"{ROOT}/update")
    assert found is not None
    handler, call = found
    asked = [
        Asked("p", "c", "", "192.0.2.1", f"{ROOT}/{what}", payload) for what, payload in requests
    ]
    answered = await handler(region.context(call), asked)
    return [Told(read(each.answers), read(each.events)) for each in answered]


async def test_a_shadow_is_updated_read_and_deleted():
    region = AwsRegion()
    told = await ask(region, "update", b'{"state":{"desired":{"a":1}}}')
    assert list(told.to_all) == ["update/accepted", "update/documents", "update/delta"]
    assert told.to_who_asked == {}
    told = await ask(region, "get")
    state = told.to_who_asked["get/accepted"]["state"]
    assert state == {"desired": {"a": 1}, "delta": {"a": 1}}
    assert told.to_all == {}
    assert list((await ask(region, "delete")).to_all) == ["delete/accepted"]
    told = await ask(region, "get")
    assert told.to_who_asked["get/rejected"]["code"] == 404
    assert told.to_all == {}


async def test_updates_at_once_of_one_shadow_are_all_carried_out():
    region = AwsRegion()
    updates = [ask(region, "update", b'{"state":{"reported":{"n":%d}}}' % n) for n in range(100)]
    told = await asyncio.gather(*updates)
    versions = [each.to_all["update/accepted"]["version"] for each in told]
    assert sorted(versions) == list(range(1, 101))


async def test_what_is_asked_together_is_carried_out_in_its_order_and_written_once():
    region = AwsRegion()
    told = await ask_together(
        region,
        ("update", b'{"state":{"desired":{"a":1}},"clientToken":"1"}'),
        ("get", b""),
        ("update", b'{"state":{"reported":{"a":1}},"version":1}'),
        ("update", b'{"state":{"reported":{"a":2}},"version":1}'),
        ("delete", b""),
        ("get", b""),
        ("update", b'{"state":{"desired":{"b":1}}}'),
    )
    first, read_between, second, refused, deleted, read_last, third = told
    accepted = first.to_all["update/accepted"]
    assert (accepted["version"], accepted["clientToken"]) == (1, "1")
    assert read_between.to_who_asked["get/accepted"]["state"]["desired"] == {"a": 1}
    documents = second.to_all["update/documents"]
    assert [documents[each]["version"] for each in ("previous", "current")] == [1, 2]
    assert refused.to_who_asked["update/rejected"]["code"] == 409
    assert deleted.to_all["delete/accepted"]["version"] == 2
    assert read_last.to_who_asked["get/rejected"]["code"] == 404
    assert third.to_all["update/accepted"]["version"] == 3
    assert await region.store.log.head() == 1


async def test_who_reads_or_is_refused_waits_for_no_other_region():
    region = AwsRegion()
    await ask(region, "update", b'{"state":{"desired":{"a":1}}}')
    found = DEVICE_QUESTIONS.handler(f"{ROOT}/get")
    assert found is not None
    handler, call = found
    for what, payload in (("get", b""), ("update", b"no json")):
        context = region.context(call)
        await handler(context, [Asked("p", "c", "", "192.0.2.1", f"{ROOT}/{what}", payload)])
        assert not context.written


async def test_a_bug_is_told_as_aws_tells_one(monkeypatch, caplog):
    def breaks(*_, **__):
        raise ValueError("a bug")

    monkeypatch.setattr(shadows, "update", breaks)
    told = await ask(AwsRegion(), "update", b'{"state":{"desired":{"a":1}}}')
    error = {"code": 500, "message": "Internal service failure"}
    assert told == Told({"update/rejected": error}, {})
    assert "a bug" in caplog.text


@pytest.mark.parametrize("error", [Unavailable("the log does not answer"), TimeoutError()])
async def test_what_passes_is_told_to_nobody(monkeypatch, error):
    async def passes(*_):
        raise error

    monkeypatch.setattr(shadowed, "in_turn", passes)
    with pytest.raises(type(error)):
        await ask(AwsRegion(), "update", b'{"state":{"desired":{"a":1}}}')
