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
from isthmus.errors import Unavailable

ROOT = "$aws/things/car/shadow"


class Told(NamedTuple):
    """By the ends of their topics, what is told."""

    to_who_asked: dict[str, Any]
    to_all: dict[str, Any]


def read(messages: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    return {topic.removeprefix(f"{ROOT}/"): json.loads(payload) for topic, payload in messages}


async def ask(region: AwsRegion, what: str, payload: bytes = b"") -> Told:
    topic = f"{ROOT}/{what}"
    found = DEVICE_QUESTIONS.handler(topic)
    assert found is not None
    handler, call = found
    asked = Asked("p", "c", "", "192.0.2.1", topic, payload)
    answered = await handler(region.context(call), asked)
    return Told(read(answered.answers), read(answered.events))


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


async def test_a_bug_is_told_as_aws_tells_one(monkeypatch, caplog):
    async def breaks(*_):
        raise ValueError("a bug")

    monkeypatch.setattr(shadowed, "update", breaks)
    told = await ask(AwsRegion(), "update", b'{"state":{"desired":{"a":1}}}')
    error = {"code": 500, "message": "Internal service failure"}
    assert told == Told({"update/rejected": error}, {})
    assert "a bug" in caplog.text


@pytest.mark.parametrize("error", [Unavailable("the log does not answer"), TimeoutError()])
async def test_what_passes_is_told_to_nobody(monkeypatch, error):
    async def passes(*_):
        raise error

    monkeypatch.setattr(shadowed, "update", passes)
    with pytest.raises(type(error)):
        await ask(AwsRegion(), "update", b'{"state":{"desired":{"a":1}}}')
