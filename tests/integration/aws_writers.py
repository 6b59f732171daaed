"""Who writes to a region's AWS-compatible API, and knows what must be there afterwards.

Each writer has names of its own, so that all that it was answered follows one after the other. What
it was not answered has happened or has not, as a whole: there are two states that may be found, and
whatever else is found is half-written, or lost:

- a thing has the attributes of one write, and the groups and principals that name this life of it;
- a policy has one default version, whose document is the policy's, and every version has its own;
- a certificate has its PEM, which is the one that its id is made of;
- what is attached, or in a group, is so as it is asked from either end, and both ends are there.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aws_wire import Client, Refused

#: Regions take each other's names, and answer their own.
_ARN = "arn:aws:iot:eu:000000000000:"
#: Names of a kind that one writer has; they are used again after what had them was deleted.
NAMES = 2
VERSIONS_MAX = 3
CERTIFICATES_MAX = 3


@dataclass
class Thing:
    mark: str
    groups: set[str] = field(default_factory=set)
    principals: set[str] = field(default_factory=set)


@dataclass
class Policy:
    default: str
    #: Marks of documents by version.
    versions: dict[str, str]
    last: int = 1
    targets: set[str] = field(default_factory=set)


@dataclass
class State:
    """What is there of one writer."""

    things: dict[str, Thing] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    #: Status by id.
    certificates: dict[str, str] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)


class Write(NamedTuple):
    """A call, and what it makes of a state when it was carried out; it is given the output."""

    operation: str
    parameters: dict[str, Any]
    done: Callable[[State, Mapping[str, Any]], object]


def arn(certificate_id: str) -> str:
    return f"{_ARN}cert/{certificate_id}"


def ids(arns: Iterable[str]) -> set[str]:
    return {each.rpartition("/")[2] for each in arns}


def document(mark: str) -> str:
    statement = {"Effect": "Allow", "Action": "iot:Publish", "Resource": f"{_ARN}topic/{mark}"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def attributes(mark: str) -> dict[str, str]:
    return dict.fromkeys("abc", mark)


def _writes(state: State, prefix: str, mark: str) -> Iterator[Write]:
    """All that may be written now."""
    yield from _of_things(state, prefix, mark)
    yield from _of_policies(state, prefix, mark)
    yield from _of_certificates(state)


def _of_things(state: State, prefix: str, mark: str) -> Iterator[Write]:
    for name in (f"{prefix}-{n}" for n in range(NAMES)):
        payload = {"attributes": attributes(mark)}
        if name not in state.groups:
            yield Write(
                "CreateThingGroup",
                {"thingGroupName": name},
                lambda s, _, name=name: s.groups.add(name),
            )
        if name not in state.things:
            yield Write(
                "CreateThing",
                {"thingName": name, "attributePayload": payload},
                lambda s, _, name=name: s.things.update({name: Thing(mark)}),
            )
            continue
        thing = state.things[name]
        yield Write(
            "UpdateThing",
            {"thingName": name, "attributePayload": payload},
            lambda s, _, name=name: setattr(s.things[name], "mark", mark),
        )
        for group in state.groups - thing.groups:
            yield Write(
                "UpdateThingGroupsForThing",
                {
                    "thingName": name,
                    "thingGroupsToAdd": [group],
                    "thingGroupsToRemove": sorted(thing.groups),
                },
                lambda s, _, name=name, group=group: setattr(s.things[name], "groups", {group}),
            )
            yield Write(
                "AddThingToThingGroup",
                {"thingName": name, "thingGroupName": group},
                lambda s, _, name=name, group=group: s.things[name].groups.add(group),
            )
        if not thing.principals:
            yield Write(
                "DeleteThing",
                {"thingName": name},
                lambda s, _, name=name: s.things.pop(name),
            )
        for each in state.certificates:
            ends = {"thingName": name, "principal": arn(each)}
            if each in thing.principals:
                yield Write(
                    "DetachThingPrincipal",
                    ends,
                    lambda s, _, name=name, each=each: s.things[name].principals.discard(each),
                )
            else:
                yield Write(
                    "AttachThingPrincipal",
                    ends,
                    lambda s, _, name=name, each=each: s.things[name].principals.add(each),
                )


def _of_policies(state: State, prefix: str, mark: str) -> Iterator[Write]:
    for name in (f"{prefix}-{n}" for n in range(NAMES)):
        named, written = {"policyName": name}, {"policyDocument": document(mark)}
        if name not in state.policies:
            yield Write(
                "CreatePolicy",
                named | written,
                lambda s, _, name=name: s.policies.update({name: Policy("1", {"1": mark})}),
            )
            continue
        policy = state.policies[name]
        if len(policy.versions) < VERSIONS_MAX:
            for is_default in (True, False):
                yield Write(
                    "CreatePolicyVersion",
                    named | written | {"setAsDefault": is_default},
                    lambda s, _, name=name, is_default=is_default: _add_version(
                        s.policies[name], mark, is_default
                    ),
                )
        for version in policy.versions.keys() - {policy.default}:
            asked = named | {"policyVersionId": version}
            yield Write(
                "DeletePolicyVersion",
                asked,
                lambda s, _, name=name, version=version: s.policies[name].versions.pop(version),
            )
            yield Write(
                "SetDefaultPolicyVersion",
                asked,
                lambda s, _, name=name, version=version: setattr(
                    s.policies[name], "default", version
                ),
            )
        if len(policy.versions) == 1 and not policy.targets:
            yield Write("DeletePolicy", named, lambda s, _, name=name: s.policies.pop(name))
        for each in state.certificates:
            is_attached = each in policy.targets
            yield Write(
                "DetachPolicy" if is_attached else "AttachPolicy",
                named | {"target": arn(each)},
                lambda s, _, name=name, each=each: s.policies[name].targets.__ixor__({each}),
            )


def _add_version(policy: Policy, mark: str, is_default: bool) -> None:
    policy.last += 1
    policy.versions[str(policy.last)] = mark
    if is_default:
        policy.default = str(policy.last)


def _of_certificates(state: State) -> Iterator[Write]:
    if len(state.certificates) < CERTIFICATES_MAX:
        yield Write(
            "CreateKeysAndCertificate",
            {"setAsActive": True},
            lambda s, output: s.certificates.update({output["certificateId"]: "ACTIVE"}),
        )
    for each, status in state.certificates.items():
        other = "INACTIVE" if status == "ACTIVE" else "ACTIVE"
        yield Write(
            "UpdateCertificate",
            {"certificateId": each, "newStatus": other},
            lambda s, _, each=each, other=other: s.certificates.update({each: other}),
        )
        if status == "INACTIVE" and not any(each in t.principals for t in state.things.values()):
            yield Write(
                "DeleteCertificate",
                {"certificateId": each, "forceDelete": True},
                lambda s, _, each=each: _delete_certificate(s, each),
            )


def _delete_certificate(state: State, certificate_id: str) -> None:
    del state.certificates[certificate_id]
    for policy in state.policies.values():
        policy.targets.discard(certificate_id)


class Count:
    """What has become of the writes of all writers; tells when so many were acknowledged."""

    def __init__(self, writes: int) -> None:
        self._left = writes
        self._lock = threading.Lock()
        self.acknowledged = self.alone = self.unanswered = 0
        self.kill_at = 0
        self.kill: Callable[[], object] = lambda: None

    def take(self) -> bool:
        """Whether there is one more to be made."""
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def answered(self, *, is_confirmed: bool) -> None:
        with self._lock:
            self.acknowledged += 1
            self.alone += not is_confirmed
            if self.acknowledged == self.kill_at:
                self.kill()

    def lost(self) -> None:
        with self._lock:
            self.unanswered += 1


class Writer:
    """One connection, and what was written on it."""

    def __init__(self, name: str, client: Client, count: Count, chance: random.Random) -> None:
        self.name = name
        self._client = client
        self._count = count
        self._chance = chance
        self._marks = 0
        self.state = State()
        #: What is there if the write that was not answered was carried out nevertheless.
        self.other: State | None = None
        #: What the other region may show instead before this one has returned: from what it has
        #: confirmed last, where this one was alone and said so.
        self.earlier: list[State] = []
        #: Every certificate that there ever was.
        self.certificates: set[str] = set()
        #: Certificates that may have been made, and that nobody was told of.
        self.untold = 0

    def write_on(self) -> None:
        """Write until there is nothing left to write, or one is not answered."""
        while self._count.take():
            if not self._write():
                self._count.lost()
                self._client.close()
                return

    def _write(self) -> bool:
        self._marks += 1
        mark = f"{self.name}-{self._marks}"
        by_operation: dict[str, list[Write]] = {}
        for each in _writes(self.state, self.name, mark):
            by_operation.setdefault(each.operation, []).append(each)
        write = self._chance.choice(by_operation[self._chance.choice(sorted(by_operation))])
        after = copy.deepcopy(self.state)
        try:
            output = self._client.call(write.operation, **write.parameters)
        except (OSError, Refused) as error:
            if isinstance(error, Refused) and error.args[0] != "ServiceUnavailableException":
                raise
            if write.operation == "CreateKeysAndCertificate":
                self.untold += 1
            else:
                write.done(after, {})
                self.other = after
            return False
        write.done(after, output)
        is_confirmed = output["ResponseMetadata"]["HTTPHeaders"]["x-isthmus-replicated"] == "true"
        self.earlier = [] if is_confirmed else [*self.earlier, self.state]
        self.state = after
        self.certificates |= after.certificates.keys()
        self._count.answered(is_confirmed=is_confirmed)
        return True

    def check(self, client: Client, *, is_away: bool = False) -> State:
        """What a region shows of this writer, which must be one of those that it may be.

        ``is_away``: the region that has answered has not returned yet.
        """
        found = Found(client, self).state()
        may_be = [self.state] if self.other is None else [self.state, self.other]
        may_be += self.earlier if is_away else []
        assert any(_same(found, each) for each in may_be), (found, may_be)
        return found

    def settle(self, found: State) -> None:
        """Go on from what has become of the write that was not answered."""
        is_other = self.other is not None and _same(found, self.other)
        self.state = self.other if is_other and self.other is not None else self.state
        self.other, self.earlier = None, []


def _same(found: State, expected: State) -> bool:
    """As a client sees it: the last number of a policy's versions is not among that."""
    found, expected = copy.deepcopy(found), copy.deepcopy(expected)
    for state in (found, expected):
        for policy in state.policies.values():
            policy.last = 0
    return found == expected


class Found:
    """What a region shows of a writer, asked from every end."""

    def __init__(self, client: Client, writer: Writer) -> None:
        self._call = client.call
        self._writer = writer
        self._names = [f"{writer.name}-{n}" for n in range(NAMES)]

    def state(self) -> State:
        state = State()
        for each in sorted(self._writer.certificates):
            described = self._there("DescribeCertificate", certificateId=each)
            if described is not None:
                state.certificates[each] = check_certificate(described)
        for name in self._names:
            if self._is_there("DescribeThingGroup", thingGroupName=name):
                state.groups.add(name)
        for name in self._names:
            if (thing := self._thing(name)) is not None:
                state.things[name] = thing
            if (policy := self._policy(name)) is not None:
                state.policies[name] = policy
        self._check_ends(state)
        return state

    def _there(self, operation: str, **parameters: Any) -> dict[str, Any] | None:
        try:
            return self._call(operation, **parameters)
        except Refused as refused:
            if refused.args[0] != "ResourceNotFoundException":
                raise
            return None

    def _is_there(self, operation: str, **parameters: Any) -> bool:
        return self._there(operation, **parameters) is not None

    def _thing(self, name: str) -> Thing | None:
        described = self._there("DescribeThing", thingName=name)
        if described is None:
            return None
        marks = set(described["attributes"].values())
        assert len(described["attributes"]) == 3, described
        assert len(marks) == 1, described
        groups = self._call("ListThingGroupsForThing", thingName=name)["thingGroups"]
        principals = self._call("ListThingPrincipals", thingName=name)["principals"]
        return Thing(*marks, {each["groupName"] for each in groups}, ids(principals))

    def _policy(self, name: str) -> Policy | None:
        described = self._there("GetPolicy", policyName=name)
        if described is None:
            return None
        listed = self._call("ListPolicyVersions", policyName=name)["policyVersions"]
        (default,) = (each["versionId"] for each in listed if each["isDefaultVersion"])
        assert described["defaultVersionId"] == default
        documents = {
            each["versionId"]: self._call(
                "GetPolicyVersion", policyName=name, policyVersionId=each["versionId"]
            )["policyDocument"]
            for each in listed
        }
        assert described["policyDocument"] == documents[default]
        targets = self._call("ListTargetsForPolicy", policyName=name)["targets"]
        marks = {
            version: json.loads(text)["Statement"][0]["Resource"].removeprefix(f"{_ARN}topic/")
            for version, text in documents.items()
        }
        return Policy(default, marks, targets=ids(targets))

    def _check_ends(self, state: State) -> None:
        """Ask from the other end of everything that has two."""
        for group in state.groups:
            listed = self._call("ListThingsInThingGroup", thingGroupName=group)["things"]
            assert set(listed) == {n for n, t in state.things.items() if group in t.groups}
        for each in state.certificates:
            listed = self._call("ListPrincipalThings", principal=arn(each))["things"]
            assert set(listed) == {n for n, t in state.things.items() if each in t.principals}
            policies = self._call("ListAttachedPolicies", target=arn(each))["policies"]
            names = {policy["policyName"] for policy in policies}
            assert names == {n for n, p in state.policies.items() if each in p.targets}


def check_certificate(described: Mapping[str, Any]) -> str:
    """The status of a certificate that is whole."""
    certificate = described["certificateDescription"]
    der = ssl.PEM_cert_to_DER_cert(certificate["certificatePem"])
    assert hashlib.sha256(der).hexdigest() == certificate["certificateId"]
    assert certificate["validity"]["notBefore"] < certificate["validity"]["notAfter"]
    return str(certificate["status"])


def listed_certificates(client: Client) -> set[str]:
    """The ids of all certificates of a region, each of which is whole."""
    found: set[str] = set()
    marker: dict[str, str] = {}
    while True:
        page = client.call("ListCertificates", pageSize=250, **marker)
        for each in page["certificates"]:
            check_certificate(
                client.call("DescribeCertificate", certificateId=each["certificateId"])
            )
            found.add(each["certificateId"])
        if "nextMarker" not in page:
            return found
        marker = {"marker": page["nextMarker"]}
