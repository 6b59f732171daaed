"""What is doubtful about a policy document: what would mean something else in another region, what
would be refused, and what says something other than its writer may have meant.

A document is looked at by itself: whatever other policies a client has, they are not known here.
What each action is on is in the developer guide, "AWS IoT Core action resources".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from isthmus.core import policy_keys
from isthmus.core.pattern import Matcher, Pattern, Variable, Wildcard, matcher, wildcards
from isthmus.core.policy_document import DOCUMENT_RAW_CHARACTERS_MAX, Statement, parse
from isthmus.core.policy_fields import Resource, System, resource
from isthmus.errors import InputError

CONNECT, PUBLISH, RETAIN = "iot:connect", "iot:publish", "iot:retainpublish"
SUBSCRIBE, RECEIVE = "iot:subscribe", "iot:receive"
#: What a device's actions are on; nothing where only ``*`` will do.
KINDS = {
    **dict.fromkeys((CONNECT, "iot:deleteconnection"), "client/"),
    **dict.fromkeys((PUBLISH, RETAIN, RECEIVE, "iot:getretainedmessage"), "topic/"),
    SUBSCRIBE: "topicfilter/",
    **dict.fromkeys(
        (
            *("iot:getthingshadow", "iot:updatethingshadow", "iot:deletethingshadow"),
            # AWS documents it with a thing, and with ``*``, which is one too.
            "iot:listnamedshadowsforthing",
            *("iot:describejobexecution", "iot:getpendingjobexecutions"),
            *("iot:updatejobexecution", "iot:startnextpendingjobexecution"),
        ),
        "thing/",
    ),
    "iot:assumerolewithcertificate": "rolealias/",
    "iot:listretainedmessages": "",
}


class Severity(StrEnum):
    """How bad a finding is: worth knowing, doubtful, or refused."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is found, where, why that matters, and what to do about it."""

    severity: Severity
    #: The statement's Sid, else its number; nothing for the document as a whole.
    statement: str
    value: str
    why: str
    instead: str


class _Read(NamedTuple):
    """A statement as it is written and as it is evaluated."""

    name: str
    fields: dict[str, Any]
    parsed: Statement

    @property
    def resources(self) -> list[tuple[str, Resource]]:
        """Each with its text; of NotResource none, as that is what is left out."""
        return [(each, resource(each, "")) for each in _many(self.fields.get("Resource", []))]

    def is_about(self, action: str) -> bool:
        return self.parsed.actions.matches(action) != self.parsed.is_not_action


def lint(document: str, system: System | None = None) -> list[Finding]:
    """Everything that is found in a document, those of one statement together.

    ``system`` has the names that ARNs may say, where they are known.
    """
    try:
        parse(document)
    except InputError as error:
        return _refusals(document, error)
    read = list(_statements(document))
    found = [
        finding
        for each in read
        for look in (_other_systems, _addresses, _take_overs, _never_matching, _mqtt_wildcards)
        for finding in look(each, system)
    ]
    return [*found, *_half_denied(read), *_half_allowed(read)]


def _statements(document: str) -> Iterator[_Read]:
    statements = _many(json.loads(document)["Statement"])
    for number, (fields, parsed) in enumerate(
        zip(statements, parse(document).statements, strict=True)
    ):
        yield _Read(fields.get("Sid") or str(number), fields, parsed)


def _refusals(document: str, error: InputError) -> list[Finding]:
    """Why it is refused: each statement's own mistake, or that of the document."""
    found: list[Finding] = []
    for number, fields in enumerate(_written(document)):
        alone = json.dumps({"Version": "2012-10-17", "Statement": [fields]})
        try:
            parse(alone)
        except InputError as own:
            name = str(fields.get("Sid") or number) if isinstance(fields, dict) else str(number)
            found.append(_refusal(name, own))
    return found or [_refusal("", error)]


def _written(document: str) -> list[Any]:
    try:
        if len(document) > DOCUMENT_RAW_CHARACTERS_MAX:
            return []
        root = json.loads(document)
    except (ValueError, RecursionError):
        return []
    return _many(root.get("Statement", [])) if isinstance(root, dict) else []


def _refusal(statement: str, error: InputError) -> Finding:
    what = str(error).partition("\nTry: ")[0].replace("Statement[0]", "the statement")
    why = "it is not evaluated here, so CreatePolicy refuses the document"
    return Finding(Severity.ERROR, statement, what, why, error.hint or "correct it")


# Of one statement


def _other_systems(read: _Read, system: System | None) -> Iterator[Finding]:
    for text, found in read.resources:
        region = _shown(found.system[2])
        if system is not None and not found.is_of(system):
            why = "the partition, service, region or account is none of this system's"
            instead = (
                f"account {system.account}, region {' or '.join(sorted(system.regions))}, or *"
            )
            yield Finding(Severity.WARNING, read.name, text, f"{why}: it matches nothing", instead)
        elif not any(isinstance(each, Wildcard) for each in found.system[2]):
            why = f"{region!r} is one region, and here it holds in all regions of the system"
            instead = "write * for the region, if that is what you mean"
            yield Finding(Severity.NOTE, read.name, text, why, instead)


def _addresses(read: _Read, _system: System | None) -> Iterator[Finding]:
    variables = [found.suffix for _, found in read.resources]
    variables += [pattern for each in read.parsed.conditions for pattern in each.patterns]
    is_used = Variable(policy_keys.SOURCE_IP) in (token for each in variables for token in each)
    if is_used or any(each.key == policy_keys.SOURCE_IP for each in read.parsed.conditions):
        why = (
            "a region sees the address of its own NAT or proxy: after a failover a client may "
            "have another one"
        )
        instead = "list what clients have in every region, or go by certificate, thing or client"
        yield Finding(Severity.WARNING, read.name, policy_keys.SOURCE_IP, why, instead)


def _take_overs(read: _Read, _system: System | None) -> Iterator[Finding]:
    if not (read.parsed.is_allow and read.is_about(CONNECT)) or read.parsed.conditions:
        return
    for text, found in read.resources:
        rest = _shown(found.suffix).removeprefix("client/")
        if set(rest) == {"*"}:
            why = "any client may connect under the id of every other one, which ends that one's"
            instead = "client/${iot:Connection.Thing.ThingName}"
            yield Finding(Severity.WARNING, read.name, text, why, instead)


def _never_matching(read: _Read, _system: System | None) -> Iterator[Finding]:
    if read.parsed.is_not_action:
        return
    for text in _many(read.fields["Action"]):
        pattern = matcher([wildcards(text.lower())])
        kinds = {kind for action, kind in KINDS.items() if pattern.matches(action)}
        if not kinds:
            why = "it is none of the actions of devices, so the statement never matches by it"
            yield Finding(Severity.WARNING, read.name, text, why, "iot:Publish, iot:Connect, ...")
        elif not read.parsed.is_not_resource and not any(
            _may_be(found.suffix, kind) for _, found in read.resources for kind in kinds
        ):
            wanted = " or ".join(f"{kind}..." if kind else "*" for kind in sorted(kinds))
            why = f"it is asked of {wanted}, which no resource of the statement is"
            yield Finding(Severity.WARNING, read.name, text, why, _arn_of(min(kinds)))


def _mqtt_wildcards(read: _Read, _system: System | None) -> Iterator[Finding]:
    for text, found in read.resources:
        literal = "".join(token for token in found.suffix if isinstance(token, str))
        if literal.startswith("topic/") and ("+" in literal or "#" in literal):
            why = "+ and # are plain characters here, and no topic has them: it matches nothing"
            yield Finding(Severity.WARNING, read.name, text, why, "* for any run of characters")


# Of statements beside each other


def _half_denied(read: Sequence[_Read]) -> Iterator[Finding]:
    """Filters that are denied, while what they match may be received by a wider one."""
    denied = _denied_topics(read)
    for each in read:
        if each.parsed.is_allow or not each.is_about(SUBSCRIBE) or each.parsed.is_not_resource:
            continue
        for text, found in each.resources:
            topic = _example(found.suffix)
            if topic is not None and not denied.matches(topic):
                why = (
                    "a wider filter, as #, is not denied by it, and messages on these topics "
                    "arrive by that"
                )
                instead = "deny iot:Receive on the topics as well"
                yield Finding(Severity.WARNING, each.name, text, why, instead)


def _denied_topics(read: Sequence[_Read]) -> Matcher:
    """What is denied to be received, with variables as texts."""
    patterns = (
        found.suffix
        for each in read
        if not each.parsed.is_allow and each.is_about(RECEIVE)
        for _, found in each.resources
    )
    return matcher([[_plain(token) for token in each] for each in patterns])


def _half_allowed(read: Sequence[_Read]) -> Iterator[Finding]:
    allowed = [each for each in read if each.parsed.is_allow]

    def first(action: str) -> _Read | None:
        return next((each for each in allowed if each.is_about(action)), None)

    by, other = first(SUBSCRIBE), "unless another policy of the client has it"
    if by is not None and first(RECEIVE) is None:
        why = f"iot:Receive is asked for each message: nothing is delivered, {other}"
        instead = "allow iot:Receive on topic/..."
        yield Finding(Severity.WARNING, by.name, "iot:Subscribe", why, instead)
    by = first(PUBLISH)
    if by is not None and first(RETAIN) is None:
        why = f"a message that is to be retained ends the connection, {other}"
        instead = "allow iot:RetainPublish, if devices retain messages"
        yield Finding(Severity.NOTE, by.name, "iot:Publish", why, instead)


# Patterns


def _may_be(pattern: Pattern, kind: str) -> bool:
    """Whether what a pattern matches may begin so; if with nothing, it is all that will do."""
    head = ""
    for token in pattern:
        if not isinstance(token, str):
            return bool(kind.startswith(head) or head.startswith(kind)) if kind else not head
        head += token
    return bool(kind) and head.startswith(kind)


def _example(suffix: Pattern) -> str | None:
    """A topic that a pattern of filters is about; None where it is not about filters."""
    tokens = [_plain(token) for token in suffix]
    text = "".join(token if isinstance(token, str) else "x" for token in tokens)
    kind, is_filter, rest = text.partition("/")
    if kind != "topicfilter" or not is_filter:
        return None
    return f"topic/{rest.replace('+', 'x').replace('#', 'x')}"


def _plain(token: str | Wildcard | Variable) -> str | Wildcard:
    return f"<{token.name}>" if isinstance(token, Variable) else token


def _shown(pattern: Pattern) -> str:
    return "".join(
        each
        if isinstance(each, str)
        else each.value
        if isinstance(each, Wildcard)
        else f"${{{each.name}}}"
        for each in pattern
    )


def _arn_of(kind: str) -> str:
    return f"arn:aws:iot:*:ACCOUNT:{kind}..." if kind else "*"


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
