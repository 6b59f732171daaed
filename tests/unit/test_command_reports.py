"""What devices say of the commands that they were given, and what they are answered."""

from __future__ import annotations

import asyncio
import json

import cbor2
import pytest
from aws_region import AwsRegion
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.aws.device_questions import Asked
from isthmus.aws.devices import DEVICE_QUESTIONS
from isthmus.core import command_executions
from isthmus.core.command_executions import COMMAND_EXECUTION, ExecutionStatus, Report, read

ACCOUNT = "arn:aws:iot:eu-west-1:123456789012"
FINALS = ("SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT")
STATUSES = ("IN_PROGRESS", *FINALS)


class Device:
    """A device with one execution, which may say of it what it likes."""

    def __init__(self, kind="thing", name="lamp"):
        self.region = AwsRegion()
        self.client = self.region.client()
        self.client.create_command(commandId="open", payload={"content": b"x"})
        self.client.create_thing(thingName=name)
        jobs = self.region.client("iot-jobs-data")
        self.target = f"{ACCOUNT}:{kind}/{name}"
        started = jobs.start_command_execution(
            targetArn=self.target, commandArn=f"{ACCOUNT}:command/open"
        )
        self.key = started["executionId"]
        self.root = f"$aws/commands/{kind}s/{name}/executions/{self.key}/response"

    def says(self, said, *, client="lamp", thing="lamp", topic="", form="json"):
        """The answer, by the last levels of its topic, and the events."""
        topic = topic or f"{self.root}/{form}"
        payload = said if isinstance(said, bytes) else json.dumps(said).encode()
        handler, call = DEVICE_QUESTIONS.handler(topic)
        asked = Asked(
            principal="c" * 64,
            client=client,
            thing=thing,
            address="192.0.2.1",
            topic=topic,
            payload=payload,
        )
        (answered,) = asyncio.run(handler(self.region.context(call), [asked]))
        ((where, answer),) = answered.answers
        *_, last, kind = where.split("/")
        assert kind == topic.rsplit("/", 1)[1]
        read_answer = json.loads(answer) if kind == "json" else cbor2.loads(answer)
        return last, read_answer, answered.events

    def told(self, said, **more):
        """Why it is refused; nothing where it is not."""
        last, answer, events = self.says(said, **more)
        assert (last == "rejected") == ("error" in answer) == (not events)
        return answer.get("error", "")

    def shown(self):
        return self.client.get_command_execution(
            executionId=self.key, targetArn=self.target, includeResult=True
        )


@pytest.fixture(scope="module")
def kept():
    return Device()


def test_what_a_device_says_is_accepted_told_and_heard_by_everybody():
    device = Device()
    said = {
        "status": "SUCCEEDED",
        "statusReason": {"reasonCode": "DONE", "reasonDescription": "at once"},
        "result": {"door": {"s": "open"}, "ok": {"b": True}, "raw": {"bin": "AP8="}},
        "clientToken": "t",
    }
    last, answer, events = device.says(said)
    assert (last, answer) == ("accepted", {"executionId": device.key, "clientToken": "t"})
    ((topic, payload),) = events
    assert topic == "$aws/events/commandExecution/open/SUCCEEDED"
    assert json.loads(payload) == {
        "executionId": device.key,
        "status": "SUCCEEDED",
        "statusReason": {"reasonCode": "DONE", "reasonDescription": "at once"},
        "eventType": "COMMAND_EXECUTION",
        "commandArn": f"{ACCOUNT}:command/open",
        "targetArn": device.target,
        "timestamp": device.region.now_ms,
    }
    shown = device.shown()
    assert shown["status"] == "SUCCEEDED"
    assert shown["statusReason"]["reasonDescription"] == "at once"
    assert shown["result"] == {"door": {"S": "open"}, "ok": {"B": True}, "raw": {"BIN": b"\0\xff"}}


def test_a_client_says_it_in_cbor():
    device = Device("client")
    said = cbor2.dumps({"status": "FAILED", "result": {"raw": {"bin": b"\0\xff"}}})
    last, answer, _ = device.says(said, form="cbor")
    assert (last, answer) == ("accepted", {"executionId": device.key})
    assert device.shown()["result"] == {"raw": {"BIN": b"\0\xff"}}


def test_only_the_device_answers_for_itself():
    device = Device()
    said = {"status": "SUCCEEDED"}
    clients = device.root.replace("/things/", "/clients/")
    missing = "ResourceNotFound"
    assert device.told(said, client="spy", thing="") == missing
    assert device.told(said, thing="") == missing, "it has the thing's name, and is somebody else"
    assert device.told(said, topic=f"{clients}/json") == missing
    assert device.told(said, topic=f"{device.root.replace('/things/', '/lamps/')}/json") == missing
    assert device.told(said, topic=f"{device.root.replace(device.key, 'none')}/json") == missing
    assert device.shown()["status"] == "CREATED"
    assert device.told(said, client="other") == ""


def test_a_thing_does_not_answer_for_one_that_had_its_name():
    device = Device()
    device.client.delete_thing(thingName="lamp")
    device.client.create_thing(thingName="lamp")
    assert device.told({"status": "SUCCEEDED"}) == "ResourceNotFound"
    assert device.shown()["status"] == "CREATED"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"\xff", "cannot be read"),
        ([], "object"),
        ({}, "status"),
        ({"status": "CREATED"}, "created"),
        ({"status": "PAUSED"}, "PAUSED"),
        ({"status": "FAILED", "statusReason": {}}, "reasonCode"),
        ({"status": "FAILED", "statusReason": {"reasonCode": "a"}}, "pattern"),
        ({"status": "FAILED", "statusReason": {"reasonCode": "A" * 65}}, "length"),
        ({"status": "FAILED", "statusReason": {"reasonCode": "A", "code": "B"}}, "code"),
        (
            {
                "status": "FAILED",
                "statusReason": {"reasonCode": "A", "reasonDescription": "x" * 1025},
            },
            "length",
        ),
        (
            {"status": "FAILED", "statusReason": {"reasonCode": "A", "reasonDescription": "\n"}},
            "pattern",
        ),
        ({"status": "FAILED", "result": {}}, "length"),
        ({"status": "FAILED", "result": {"a b": {"s": "x"}}}, "pattern"),
        ({"status": "FAILED", "result": {"a": {}}}, "one of"),
        ({"status": "FAILED", "result": {"a": {"s": "x", "b": True}}}, "one of"),
        ({"status": "FAILED", "result": {"a": {"S": "x"}}}, "S"),
        ({"status": "FAILED", "result": {"a": {"s": ""}}}, "length"),
        ({"status": "FAILED", "result": {"a": {"b": 1}}}, "bool"),
        ({"status": "FAILED", "result": {"a": {"bin": "?"}}}, "base64"),
    ],
)
def test_what_cannot_be_read_is_rejected_and_says_why(kept, said, told):
    last, answer, events = kept.says(said)
    assert (last, answer["error"], events) == ("rejected", "InvalidRequest", [])
    assert told in answer["errorMessage"]
    assert answer["executionId"] == kept.key
    assert kept.shown()["status"] == "CREATED"


def test_an_execution_ends_once_and_may_be_told_again():
    device = Device()
    assert device.told({"status": "IN_PROGRESS"}) == ""
    assert device.told({"status": "IN_PROGRESS", "statusReason": {"reasonCode": "A"}}) == ""
    assert device.told({"status": "FAILED"}) == ""
    writes = device.region.store.position
    assert device.told({"status": "FAILED"}) == ""
    assert device.region.store.position == writes
    assert device.told({"status": "FAILED", "statusReason": {"reasonCode": "A"}}) == (
        "TerminalStateReached"
    )
    assert device.told({"status": "SUCCEEDED"}) == "TerminalStateReached"
    assert device.told({"status": "IN_PROGRESS"}) == "InvalidStateTransition"
    assert device.shown()["status"] == "FAILED"


def test_what_timed_out_may_still_end_and_not_begin():
    device = Device()
    device.region.now_ms += 10_000
    assert device.told({"status": "IN_PROGRESS"}) == "InvalidStateTransition"
    assert device.told({"status": "TIMED_OUT", "statusReason": {"reasonCode": "SLOW"}}) == ""
    assert device.shown()["statusReason"]["reasonCode"] == "SLOW"
    assert device.told({"status": "SUCCEEDED"}) == "InvalidStateTransition"


@given(st.lists(st.tuples(st.sampled_from(STATUSES), st.integers(0, 1), st.integers(0, 6_000))))
@settings(deadline=None, max_examples=200)
def test_a_status_that_a_device_was_told_is_accepted_is_what_everybody_is_told(said):
    """Against the table of the developer guide: which status may follow which."""
    may_follow = {
        "CREATED": set(STATUSES),
        "IN_PROGRESS": set(STATUSES),
        "TIMED_OUT": set(FINALS),
    }
    execution, now, is_ended = _started(), 0, False
    for status, reason, wait in said:
        now += wait
        report = Report(status=ExecutionStatus(status), reason_code=f"R{reason}")
        before = execution.status(now)
        refusal = command_executions.refuse(execution, report, now)
        if report == execution.report:
            assert refusal is None
            continue
        allowed = not is_ended and status in may_follow[before]
        assert (refusal is None) == allowed
        if allowed:
            is_ended = status in FINALS
            field = "final" if is_ended else "progress"
            execution = execution._replace(**{field: report})
            assert execution.status(now) == status


def _started():
    from isthmus.core.command_executions import Asked as AskedFor
    from isthmus.core.item import Item
    from isthmus.core.registry import Writer
    from isthmus.core.stamp import StampClock

    asked = AskedFor(command="c", kind="thing", name="t", content="", content_type="a/b")
    item = Item(COMMAND_EXECUTION, "e")
    execution = read(command_executions.start(item, Writer(StampClock("eu", "i"), 0), asked))
    assert execution is not None
    return execution
