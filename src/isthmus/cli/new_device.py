"""A new device: what is made for it, in which order, and how it connects.

What it may do comes last, so whoever is cut off leaves nothing that could be used, and asked again
goes on: the key that is there says that the thing of this name is the one that was begun here.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from isthmus.adapters.device_files import DeviceFiles
from isthmus.cli.aws_calls import AwsCalls, Refused
from isthmus.errors import InputError

DEFAULT_POLICY = "isthmus-device"
_SELF = "${iot:Connection.Thing.ThingName}"
#: Where a device may speak and listen: under its own name, of the commands that it is sent, and of
#: its shadows.
_OWN = (
    f"{_SELF}/*",
    f"$aws/commands/things/{_SELF}/executions/*",
    f"$aws/things/{_SELF}/shadow/*",
)


def _arn(resource: str) -> str:
    return f"arn:aws:iot:*:*:{resource}"


#: A device connects under its own thing's name, and speaks there; in every region.
DEFAULT_DOCUMENT: Mapping[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["iot:Connect"],
            "Resource": [_arn(f"client/{_SELF}")],
            "Condition": {"Bool": {"iot:Connection.Thing.IsAttached": ["true"]}},
        },
        {
            "Effect": "Allow",
            "Action": ["iot:Publish", "iot:RetainPublish", "iot:Receive"],
            "Resource": [_arn(f"topic/{each}") for each in _OWN],
        },
        {
            "Effect": "Allow",
            "Action": ["iot:Subscribe"],
            "Resource": [_arn(f"topicfilter/{each}") for each in _OWN],
        },
    ],
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    name: str
    #: The name of a policy that is there, or a file with one that has the file's name.
    policy: str = DEFAULT_POLICY
    groups: Sequence[str] = ()
    type_name: str = ""
    attributes: Mapping[str, str] | None = None


class Made(NamedTuple):
    """What there is now."""

    certificate_id: str
    #: As AWS names it: a certificate that was there may have been deactivated.
    status: str
    policy: str


def create(calls: AwsCalls, wanted: Wanted, files: DeviceFiles, ca: bytes) -> Made:
    """Make what is not there yet; raises InputError for what is somebody else's."""
    is_there = _is_there(calls, wanted.name)
    if is_there and not files.has_key:
        raise InputError(
            f"there is a thing {wanted.name} already, and its key is not in {files.key}",
            hint="another name; or the directory of the run that was cut off, with --out",
        )
    policy = _policy(calls, wanted.policy)
    files.make_key()
    if not is_there:
        calls("CreateThing", **_thing(wanted))
    if not files.certificate_id:
        # It may do nothing before a policy is attached to it.
        made = calls(
            "CreateCertificateFromCsr", certificateSigningRequest=files.request(), setAsActive=True
        )
        files.keep(made["certificatePem"], ca)
    held = calls("DescribeCertificate", certificateId=files.certificate_id)
    certificate = held["certificateDescription"]
    arn = certificate["certificateArn"]
    calls("AttachThingPrincipal", thingName=wanted.name, principal=arn)
    for group in wanted.groups:
        calls("AddThingToThingGroup", thingName=wanted.name, thingGroupName=group)
    calls("AttachPolicy", policyName=policy, target=arn)
    return Made(certificate["certificateId"], certificate["status"], policy)


def _is_there(calls: AwsCalls, name: str) -> bool:
    try:
        calls("DescribeThing", thingName=name)
    except Refused as error:
        if error.is_not_found:
            return False
        raise
    return True


def _thing(wanted: Wanted) -> dict[str, Any]:
    asked: dict[str, Any] = {"thingName": wanted.name}
    if wanted.type_name:
        asked["thingTypeName"] = wanted.type_name
    if wanted.attributes:
        asked["attributePayload"] = {"attributes": dict(wanted.attributes)}
    return asked


def _policy(calls: AwsCalls, given: str) -> str:
    """The name of the policy that is asked for, which is there from now on."""
    file = Path(given)
    if file.is_file():
        document = _document(file)
        held = _held(calls, file.stem)
        if held is None:
            calls("CreatePolicy", policyName=file.stem, policyDocument=json.dumps(document))
        elif held != document:
            raise InputError(
                f"there is a policy {file.stem}, and it says something else than {file}",
                hint=f"--policy {file.stem} for the one that is there, or another file name",
            )
        return file.stem
    if _held(calls, given) is None:
        if given != DEFAULT_POLICY:
            raise InputError(
                f"there is no policy {given!r}, and no such file",
                hint=f"aws iot list-policies; without --policy it is {DEFAULT_POLICY}",
            )
        calls("CreatePolicy", policyName=given, policyDocument=json.dumps(DEFAULT_DOCUMENT))
    return given


def _held(calls: AwsCalls, name: str) -> Any:
    """What a policy says; None where there is no such policy."""
    try:
        return json.loads(calls("GetPolicy", policyName=name)["policyDocument"])
    except Refused as error:
        if error.is_not_found:
            return None
        raise


def _document(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is not a policy: {error}") from None


@dataclass(frozen=True, slots=True)
class Connection:
    """How a device connects."""

    name: str
    host: str
    port: int
    files: DeviceFiles

    @property
    def topic(self) -> str:
        """One that the default policy allows."""
        return f"{self.name}/hello"

    def lines(self) -> dict[str, str]:
        """By client: a command that publishes one message when it is pasted."""
        files = (self.files.ca, self.files.certificate, self.files.key)
        ca, certificate, key = (str(each.absolute()) for each in files)
        mosquitto = [
            *("mosquitto_pub", "-h", self.host, "-p", str(self.port), "--cafile", ca),
            *("--cert", certificate, "--key", key, "-i", self.name),
            *("-q", "1", "-t", self.topic, "-m", "hello"),
        ]
        said = {name: json.dumps(text) for name, text in self._said(ca, certificate, key).items()}
        return {
            "mosquitto_pub": shlex.join(mosquitto),
            "paho": shlex.join(["python3", "-c", _PAHO.format(port=self.port, **said)]),
            "awsiotsdk": shlex.join(["python3", "-c", _AWS.format(port=self.port, **said)]),
        }

    def _said(self, ca: str, certificate: str, key: str) -> dict[str, str]:
        told = {"host": self.host, "name": self.name, "topic": self.topic}
        return {**told, "ca": ca, "certificate": certificate, "key": key}


_PAHO = (
    "from paho.mqtt import publish; "
    'publish.single({topic}, "hello", qos=1, hostname={host}, port={port}, client_id={name}, '
    'tls={{"ca_certs": {ca}, "certfile": {certificate}, "keyfile": {key}}})'
)
_AWS = (
    "from awscrt import mqtt; from awsiot import mqtt_connection_builder as builder; "
    "connection = builder.mtls_from_path({certificate}, {key}, ca_filepath={ca}, "
    "endpoint={host}, port={port}, client_id={name}, clean_session=True); "
    "connection.connect().result(10); "
    'connection.publish({topic}, "hello", mqtt.QoS.AT_LEAST_ONCE)[0].result(10); '
    "connection.disconnect().result(10)"
)
