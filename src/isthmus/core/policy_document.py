"""Policy documents in the grammar of AWS IoT: text in, statements or a named mistake out.

The invariant: whatever we would not evaluate (an operator, a key, a variable, a field) is refused
when the document is stored. Nothing that might be a restriction is ever ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.core.pattern import Matcher, Pattern, Variable, Wildcard, matcher, wildcards
from isthmus.errors import InputError

#: AWS's limit for one document; whitespace does not count.
DOCUMENT_CHARACTERS_MAX = 2048
#: With whitespace: what the AWS API takes, so that counting is bounded too.
DOCUMENT_RAW_CHARACTERS_MAX = 404_600

VERSION = "2012-10-17"
OPERATORS = ("StringEquals", "StringNotEquals", "StringLike", "Bool")
#: Condition keys and variables that are evaluated, beside the thing's attributes.
KEYS = (
    "iot:ClientId",
    "aws:SourceIp",
    "iot:CertificateId",
    "iot:Connection.Thing.ThingName",
    "iot:Connection.Thing.ThingTypeName",
    "iot:Connection.Thing.IsAttached",
)
ATTRIBUTE = "iot:Connection.Thing.Attributes["
#: Names of keys are compared without case, as IAM does.
_KEY_BY_LOWER = {key.lower(): key for key in KEYS}
#: ``${*}`` and the like stand for the character itself.
_ESCAPES = ("*", "?", "$")
_ACTION = re.compile(r"\*|[A-Za-z0-9_-]+:[A-Za-z0-9_*?]+")
_VARIABLE = re.compile(r"\$\{([^}]*)(\}?)")


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key, satisfied by any of its values (StringNotEquals: by none)."""

    operator: str
    key: str
    values: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """One ARN: partition, service, region and account, then the pattern of what follows them."""

    system: tuple[Pattern, Pattern, Pattern, Pattern]
    suffix: Pattern


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement as written; ``label`` is how reasons name it."""

    label: str
    is_allow: bool
    actions: Matcher
    is_not_action: bool
    resources: tuple[Resource, ...]
    is_not_resource: bool
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """One parsed policy version."""

    statements: tuple[Statement, ...]


def parse(document: str | bytes) -> Policy:
    """Read one policy document; raises InputError that names the field and the value."""
    root = _object(_json(document), "the policy", ("Version", "Id", "Statement"))
    if root.get("Version") != VERSION:
        raise InputError(f"Version is {_show(root.get('Version'))}", hint=f'"{VERSION}"')
    if "Id" in root:
        _text(root["Id"], "Id")
    statements = root.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise InputError(f"Statement is {_show(statements)}", hint="one statement or a list")
    return Policy(tuple(_statement(value, index) for index, value in enumerate(statements)))


def _json(document: str | bytes) -> Any:
    try:
        text = document.decode() if isinstance(document, bytes) else document
        if len(text) > DOCUMENT_RAW_CHARACTERS_MAX:
            raise InputError(f"the policy has {len(text)} characters, whitespace included")
        count = len("".join(text.split()))
        if count > DOCUMENT_CHARACTERS_MAX:
            raise InputError(
                f"the policy has {count} characters without whitespace",
                hint=f"at most {DOCUMENT_CHARACTERS_MAX}; split it into several policies",
            )
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the policy is not JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name given twice would hide its first value, which may be the Deny."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InputError(f"the policy has {_show(name)} twice in one object")
        found[name] = value
    return found


def _statement(value: Any, index: int) -> Statement:
    where = f"Statement[{index}]"
    allowed = ("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")
    fields = _object(value, where, allowed)
    effect = fields.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise InputError(f"{where}.Effect is {_show(effect)}", hint='"Allow" or "Deny"')
    action = _either(fields, where, "Action", "NotAction")
    resource = _either(fields, where, "Resource", "NotResource")
    actions = _texts(fields[action], f"{where}.{action}")
    for each in actions:
        if not _ACTION.fullmatch(each):
            raise InputError(f"{where}.{action} is {_show(each)}", hint='"iot:Publish" or "iot:*"')
    sid = _text(fields["Sid"], f"{where}.Sid") if "Sid" in fields else ""
    return Statement(
        label=f"statement {sid!r}" if sid else f"statement {index}",
        is_allow=effect == "Allow",
        actions=matcher([wildcards(each.lower()) for each in actions]),
        is_not_action=action == "NotAction",
        resources=tuple(
            _resource(each, f"{where}.{resource}")
            for each in _texts(fields[resource], f"{where}.{resource}")
        ),
        is_not_resource=resource == "NotResource",
        conditions=_conditions(fields.get("Condition", {}), f"{where}.Condition"),
    )


def _either(fields: Mapping[str, Any], where: str, name: str, negated: str) -> str:
    if (name in fields) == (negated in fields):
        count = "both" if name in fields else "neither"
        raise InputError(f"{where} has {count} of {name} and {negated}", hint="exactly one of them")
    return name if name in fields else negated


def _resource(text: str, where: str) -> Resource:
    if text == "*":
        anything = (Wildcard.ANY,)
        return Resource((anything, anything, anything, anything), anything)
    arn, *system = text.split(":", 5)
    if arn != "arn" or len(system) != 5 or not system[4] or "$" in "".join(system[:4]):
        raise InputError(
            f"{where} is {_show(text)}",
            hint='"*" or "arn:aws:iot:REGION:ACCOUNT:topic/...", variables only after the account',
        )
    partition, service, region, account = (wildcards(each) for each in system[:4])
    return Resource((partition, service, region, account), _pattern(system[4], where))


def _conditions(value: Any, where: str) -> tuple[Condition, ...]:
    found: list[Condition] = []
    for operator, keys in _object(value, where, OPERATORS).items():
        for name, values in _object(keys, f"{where}.{operator}", None).items():
            place = f"{where}.{operator}.{name}"
            key = _key(name, place)
            if operator == "Bool":
                patterns: list[Pattern] = [(each,) for each in _booleans(values, place)]
            else:
                has_wildcards = operator == "StringLike"
                patterns = [_pattern(v, place, has_wildcards) for v in _texts(values, place)]
            found.append(Condition(operator, key, tuple(patterns)))
    return tuple(found)


def _booleans(value: Any, where: str) -> list[str]:
    values = [str(each).lower() for each in (value if isinstance(value, list) else [value])]
    if not values or not set(values) <= {"true", "false"}:
        raise InputError(f"{where} is {_show(value)}", hint='"true" or "false"')
    return values


def _key(name: str, where: str) -> str:
    """The key's own spelling; a key that we do not evaluate is refused."""
    lower, prefix = name.lower(), ATTRIBUTE.lower()
    if lower.startswith(prefix) and name.endswith("]") and len(name) > len(prefix) + 1:
        return f"{ATTRIBUTE}{name[len(prefix) :]}"
    if lower not in _KEY_BY_LOWER:
        raise InputError(
            f"{where}: {_show(name)} is not a key that is evaluated here",
            hint=f"one of {', '.join(KEYS)}, {ATTRIBUTE}NAME]",
        )
    return _KEY_BY_LOWER[lower]


def _pattern(text: str, where: str, has_wildcards: bool = True) -> Pattern:
    tokens: list[str | Wildcard | Variable] = []
    position = 0
    for match in _VARIABLE.finditer(text):
        before = text[position : match.start()]
        tokens += wildcards(before) if has_wildcards else [before]
        name, closing = match.groups()
        if not closing:
            raise InputError(f"{where} is {_show(text)}: a variable without its closing brace")
        tokens.append(name if name in _ESCAPES else Variable(_key(name, where)))
        position = match.end()
    rest = text[position:]
    tokens += wildcards(rest) if has_wildcards else [rest]
    return tuple(tokens)


def _object(value: Any, where: str, names: tuple[str, ...] | None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} is {_show(value)}", hint="a JSON object")
    for name in value:
        if names is not None and name not in names:
            raise InputError(
                f"{where} has {_show(name)}, which is not evaluated here",
                hint=f"only {', '.join(names)}",
            )
    return value


def _texts(value: Any, where: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise InputError(f"{where} is an empty list", hint="a string or a list of strings")
    return [_text(each, where) for each in values]


def _text(value: Any, where: str) -> str:
    # A lone surrogate would pass here and break the log line that names it.
    if not isinstance(value, str) or any("\ud800" <= each <= "\udfff" for each in value):
        raise InputError(f"{where} is {_show(value)}", hint="a string")
    return value


def _show(value: Any) -> str:
    text = "missing or null" if value is None else ascii(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
