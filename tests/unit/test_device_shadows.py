"""What a device's request to a shadow leads to, whatever becomes of it."""

from __future__ import annotations

import json

import pytest
from aws_region import AwsRegion

from isthmus.aws import shadowed
from isthmus.aws.device_questions import Asked
from isthmus.aws.devices import DEVICE_QUESTIONS
from isthmus.errors import Unavailable

ROOT = "$aws/things/car/shadow"


async def ask(region: AwsRegion, what: str, payload: bytes = b"") -> dict[str, object]:
    """By the ends of their topics, what is told of it."""
    topic = f"{ROOT}/{what}"
    found = DEVICE_QUESTIONS.handler(topic)
    assert found is not None
    handler, call = found
    asked = Asked("p", "c", "", "192.0.2.1", topic, payload)
    answered = await handler(region.context(call), asked)
    assert answered.answers == []
    return {
        topic.removeprefix(f"{ROOT}/"): json.loads(payload) for topic, payload in answered.events
    }


async def test_a_shadow_is_updated_read_and_deleted():
    region = AwsRegion()
    told = await ask(region, "update", b'{"state":{"desired":{"a":1}}}')
    assert list(told) == ["update/accepted", "update/documents", "update/delta"]
    told = await ask(region, "get")
    assert told["get/accepted"]["state"] == {"desired": {"a": 1}, "delta": {"a": 1}}
    assert list(await ask(region, "delete")) == ["delete/accepted"]
    assert (await ask(region, "get"))["get/rejected"]["code"] == 404


async def test_a_bug_is_told_as_aws_tells_one(monkeypatch, caplog):
    async def breaks(*_):
        raise ValueError("a bug")

    monkeypatch.setattr(shadowed, "update", breaks)
    told = await ask(AwsRegion(), "update", b'{"state":{"desired":{"a":1}}}')
    assert told == {"update/rejected": {"code": 500, "message": "Internal service failure"}}
    assert "a bug" in caplog.text


@pytest.mark.parametrize("error", [Unavailable("the log does not answer"), TimeoutError()])
async def test_what_passes_is_told_to_nobody(monkeypatch, error):
    async def passes(*_):
        raise error

    monkeypatch.setattr(shadowed, "update", passes)
    with pytest.raises(type(error)):
        await ask(AwsRegion(), "update", b'{"state":{"desired":{"a":1}}}')
