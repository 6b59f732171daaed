"""What a certificate may do where there is no client of MQTT, and so no thing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from logged_items import LoggedItems

from isthmus.core import memberships, policies, registry, thing_groups
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.permissions import Permissions
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, POLICY, POLICY_VERSION, THING
from isthmus.core.thing_groups import THING_GROUP
from isthmus.core.view import View

PRINCIPAL = "c" * 64


class Region(LoggedItems):
    """A certificate, a thing in a group, and policies of theirs."""

    def __init__(self) -> None:
        super().__init__()
        certificate = self.get(CERTIFICATE, PRINCIPAL)
        self.put(registry.register_certificate(certificate, self.writer, "pem", active=True))
        self.put(registry.put_thing(self.get(THING, "t"), self.writer, {"a": "1"}))
        self.put(thing_groups.create(self.get(THING_GROUP, "g"), self.writer, {}, {}, None))
        thing, group = self.get(THING, "t"), self.get(THING_GROUP, "g")
        self.put(memberships.changed(self.get(MEMBERSHIPS, "t"), self.writer, thing, add=[group]))

    def attach(self, one: tuple[str, str], to: tuple[str, str], *, exclusive: bool = False) -> None:
        text = registry.principal_text(*to)
        item = self.get(ATTACHMENT, registry.attachment_key(":".join(one), text))
        ends = self.get(*one), self.get(*to)
        self.put(registry.attach(item, self.writer, *ends, exclusive=exclusive))

    def policy(
        self, name: str, to: tuple[str, str], effect: str, *topics: str, **condition: Any
    ) -> None:
        arns = [f"arn:aws:iot:eu:1:topic/{each}" for each in topics]
        statement: dict[str, Any] = {"Effect": effect, "Action": "iot:Publish", "Resource": arns}
        if condition:
            statement["Condition"] = condition
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        key = policies.version_key(name, 1, document)
        kept = policies.keep_version(self.get(POLICY_VERSION, key), self.writer, document)
        self.put(kept)
        self.put(policies.put(self.get(POLICY, name), self.writer, key))
        self.attach((POLICY, name), to)

    def may(self, topic: str) -> bool:
        view = View()
        for item in self.log:
            view.apply(item)
        rights = Permissions("1", frozenset({"eu"}), view).without_client(PRINCIPAL, "192.0.2.1")
        return rights.allows("iot:Publish", f"topic/{topic}")[0]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("iot:ClientId", "t"),
        ("iot:ClientId", ""),
        ("iot:Connection.Thing.ThingName", "t"),
        ("iot:Connection.Thing.Attributes[a]", "1"),
    ],
)
def test_nothing_has_a_value_that_a_connection_gives(variable: str, value: str) -> None:
    region = Region()
    region.attach((THING, "t"), (CERTIFICATE, PRINCIPAL), exclusive=True)
    region.policy("p", (CERTIFICATE, PRINCIPAL), "Allow", f"a/${{{variable}}}/b", "c")
    assert region.may("c")
    assert not region.may(f"a/{value}/b")


def test_a_certificate_and_its_address_are_known() -> None:
    region = Region()
    topics = ("a/${iot:CertificateId}", "b/${aws:SourceIp}")
    region.policy("p", (CERTIFICATE, PRINCIPAL), "Allow", *topics)
    assert region.may(f"a/{PRINCIPAL}")
    assert region.may("b/192.0.2.1")


@pytest.mark.parametrize("is_exclusive", [False, True])
def test_the_groups_count_of_the_thing_that_a_certificate_has_alone(is_exclusive: bool) -> None:
    region = Region()
    region.attach((THING, "t"), (CERTIFICATE, PRINCIPAL), exclusive=is_exclusive)
    region.policy("p", (CERTIFICATE, PRINCIPAL), "Allow", "*")
    region.policy("q", (THING_GROUP, "g"), "Deny", "a")
    assert region.may("a") is not is_exclusive
    assert region.may("b")


def test_no_thing_is_attached() -> None:
    region = Region()
    region.attach((THING, "t"), (CERTIFICATE, PRINCIPAL), exclusive=True)
    region.policy("p", (CERTIFICATE, PRINCIPAL), "Allow", "*")
    for is_attached in ("true", "false"):
        condition = {"Bool": {"iot:Connection.Thing.IsAttached": is_attached}}
        region.policy(is_attached, (CERTIFICATE, PRINCIPAL), "Deny", is_attached, **condition)
    assert region.may("true")
    assert not region.may("false")
