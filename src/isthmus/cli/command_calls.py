"""What `isthmus command` asks the API: commands and their executions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from isthmus.cli.aws_calls import AwsCalls, Refused
from isthmus.errors import InputError, Unavailable

#: Calls that are made at once: each waits for a second region.
AT_ONCE = 16
HEADER = "x-isthmus-when-offline"
GROUP = "thinggroup"
#: AWS's, of an execution that nobody has answered in time, and what topics of commands begin with.
NO_RESPONSE, COMMANDS = "$NO_RESPONSE_FROM_DEVICE", "$aws/commands/"
#: Devices that did not answer of which it is asked what they subscribe to.
LOOKED_MAX = 20
#: What reasons begin with that no device has given.
NO_DEVICE = "$"
#: Of the id that a payload without a command gets.
ID_CHARACTERS = 32


class WhenOffline(StrEnum):
    """What is done for a device that is not connected."""

    KEEP = "keep"
    REFUSE = "refuse"


class Device(NamedTuple):
    """Who is told: ``thing``, ``client`` or ``thinggroup``, and its name."""

    kind: str
    name: str


class Sent(NamedTuple):
    """What became of one device's command: an execution, or why there is none."""

    device: Device
    execution: str = ""
    refused: str = ""


class CommandCalls:
    """The API that a profile leads to, for who sends commands."""

    def __init__(self, profile: str, state: Path | None, when_offline: WhenOffline) -> None:
        self._iot = AwsCalls(profile, state)
        self._jobs = self._iot.service("iot-jobs-data")
        self._jobs.say(HEADER, when_offline)
        self._data = self._iot.service("iot-data")
        self._looked = 0

    def create(self, content: bytes, content_type: str) -> str:
        """The command that is this payload, made if it is not there; its id follows from it."""
        digest = hashlib.sha256(b"\0".join((content_type.encode(), content))).hexdigest()
        command = f"isthmus-{digest[:ID_CHARACTERS]}"
        payload = {"content": content, "contentType": content_type}
        try:
            self._iot("CreateCommand", commandId=command, payload=payload)
        except Refused as error:
            if error.code != "ConflictException":
                raise
        return command

    def devices(
        self, things: Iterable[str], groups: Iterable[str], clients: Iterable[str]
    ) -> list[Device]:
        """Those that are named, each once; raises InputError for a group without any thing."""
        found = [Device("thing", name) for name in things]
        for group in groups:
            asked = {"thingGroupName": group, "recursive": True, "maxResults": 1}
            if next(self._iot.pages("ListThingsInThingGroup", "things", **asked), None) is None:
                raise InputError(f"there is no thing in the group {group}, nor below it")
            found.append(Device(GROUP, group))
        found += [Device("client", name) for name in clients]
        return list(dict.fromkeys(found))

    def send(self, command: str, devices: list[Device], expires_s: int) -> Iterator[Sent]:
        """Start an execution for each, and tell of each in their order.

        Behind that of a group come those of its things.
        """
        arn: str = self._iot("GetCommand", commandId=command)["commandArn"]

        def start(device: Device) -> list[Sent]:
            try:
                started = self._jobs(
                    "StartCommandExecution",
                    commandArn=arn,
                    targetArn=self._arn(device),
                    executionTimeoutSeconds=expires_s,
                )
            except Refused as error:
                return [Sent(device, refused=str(error.args[0]))]
            sent = Sent(device, started["executionId"])
            return [sent, *self._parts(sent)] if device.kind == GROUP else [sent]

        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                for sent in pool.map(start, devices):
                    yield from sent
            finally:
                # Who is interrupted starts nothing more.
                pool.shutdown(cancel_futures=True)

    def _parts(self, whole: Sent) -> Iterator[Sent]:
        """What each thing of a group was sent, or why it was not."""
        counts = self.execution(whole)["result"].values()
        listed: Iterator[dict[str, Any]] = self._iot.pages(
            "ListCommandExecutions", "commandExecutions", targetArn=self._arn(whole.device)
        )
        # What else the group was sent is listed too.
        own = (each for each in listed if each["executionId"].startswith(whole.execution))
        for each in islice(own, sum(int(count["S"]) for count in counts)):
            device = Device("thing", each["targetArn"].partition("/")[2])
            yield self._checked(Sent(device, each["executionId"]), each["status"])

    def _checked(self, sent: Sent, status: str) -> Sent:
        if status != "REJECTED":
            return sent
        reason = self.execution(sent)["statusReason"]["reasonCode"]
        return Sent(sent.device, refused=reason) if reason.startswith(NO_DEVICE) else sent

    def execution(self, sent: Sent) -> dict[str, Any]:
        """How far one is."""
        found = self._iot(
            "GetCommandExecution",
            executionId=sent.execution,
            targetArn=self._arn(sent.device),
            includeResult=True,
        )
        del found["ResponseMetadata"]
        reason = found.get("statusReason", {}).get("reasonCode")
        if reason == NO_RESPONSE and self._is_deaf(sent.device):
            found["hint"] = "it does not subscribe to its commands"
        return found

    def _is_deaf(self, device: Device) -> bool:
        """Whether a client is known that subscribes to no commands; asked of the first few."""
        self._looked += 1
        if self._looked > LOOKED_MAX:
            return False
        try:
            listed = self._data.pages("ListSubscriptions", "subscriptions", clientId=device.name)
            return not any(each["topicFilter"].startswith(COMMANDS) for each in listed)
        except (Refused, Unavailable):
            # It is not connected, or its region does not say.
            return False

    @cached_property
    def _account(self) -> str:
        """What the ARNs of this account begin with, from any of its commands."""
        listed: Iterator[dict[str, str]] = self._iot.pages("ListCommands", "commands")
        found = next(listed, None)
        if found is None:
            raise InputError("there are no commands", hint="isthmus command send")
        return found["commandArn"].rpartition(":")[0]

    def _arn(self, device: Device) -> str:
        return f"{self._account}:{device.kind}/{device.name}"
