"""Policy documents in the grammar of AWS IoT: text in, statements or a named mistake out.

The invariant: whatever we would not evaluate (an operator, a key, a variable, a field) is refused
when the document is stored. Nothing that might be a restriction is ever ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from isthmus.core import policy_conditions
from isthmus.core.pattern import Matcher, Pattern, matcher, resolve, wildcards
from isthmus.core.policy_conditions import Condition
from isthmus.core.policy_fields import Resource, System, object_of, resource, show, text_of, texts
from isthmus.errors import InputError

#: AWS's limit for one document; whitespace does not count.
DOCUMENT_CHARACTERS_MAX = 2048
#: With whitespace: what the AWS API takes, so that counting is bounded too.
DOCUMENT_RAW_CHARACTERS_MAX = 404_600
#: Actions that a policy is remembered to be about; there are as many as there are operations.
ACTIONS_MAX = 512

VERSION = "2012-10-17"
_ACTION = re.compile(r"\*|[A-Za-z0-9_-]+:[A-Za-z0-9_*?]+")


class Ours(NamedTuple):
    """What a statement names in one system."""

    suffixes: tuple[Pattern, ...]
    #: Where none of them has a variable: the same for every session.
    fixed: Matcher | None


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
    _ours: dict[System, Ours] = field(default_factory=dict, compare=False)

    def ours(self, system: System) -> Ours:
        """Those of its resources that are a system's; a process knows of one."""
        found = self._ours.get(system)
        if found is None:
            suffixes = tuple(each.suffix for each in self.resources if each.is_of(system))
            resolved = [resolve(each, _no_value) for each in suffixes]
            known = [each for each in resolved if each is not None]
            fixed = matcher(known) if len(known) == len(suffixes) else None
            found = self._ours[system] = Ours(suffixes, fixed)
        return found


@dataclass(frozen=True, slots=True)
class Policy:
    """One parsed policy version; whoever has it attached shares what is found out about it."""

    statements: tuple[Statement, ...]
    _about: dict[str, tuple[Statement, ...]] = field(default_factory=dict, compare=False)

    def about(self, action: str) -> tuple[Statement, ...]:
        """Those statements that are about an action, which is in lower case."""
        found = self._about.get(action)
        if found is None:
            if len(self._about) >= ACTIONS_MAX:
                self._about.clear()
            found = self._about[action] = tuple(
                each
                for each in self.statements
                if each.actions.matches(action) != each.is_not_action
            )
        return found


def _no_value(_variable: str) -> None:
    return None


def parse(document: str | bytes) -> Policy:
    """Read one policy document; raises InputError that names the field and the value."""
    root = object_of(_json(document), "the policy", ("Version", "Id", "Statement"))
    if root.get("Version") != VERSION:
        raise InputError(f"Version is {show(root.get('Version'))}", hint=f'"{VERSION}"')
    if "Id" in root:
        text_of(root["Id"], "Id")
    statements = root.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise InputError(f"Statement is {show(statements)}", hint="one statement or a list")
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
            raise InputError(f"the policy has {show(name)} twice in one object")
        found[name] = value
    return found


def _statement(value: Any, index: int) -> Statement:
    where = f"Statement[{index}]"
    allowed = ("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")
    fields = object_of(value, where, allowed)
    effect = fields.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise InputError(f"{where}.Effect is {show(effect)}", hint='"Allow" or "Deny"')
    action = _either(fields, where, "Action", "NotAction")
    named = _either(fields, where, "Resource", "NotResource")
    actions = texts(fields[action], f"{where}.{action}")
    for each in actions:
        if not _ACTION.fullmatch(each):
            raise InputError(f"{where}.{action} is {show(each)}", hint='"iot:Publish" or "iot:*"')
    sid = text_of(fields["Sid"], f"{where}.Sid") if "Sid" in fields else ""
    return Statement(
        label=f"statement {sid!r}" if sid else f"statement {index}",
        is_allow=effect == "Allow",
        actions=matcher([wildcards(each.lower()) for each in actions]),
        is_not_action=action == "NotAction",
        resources=tuple(
            resource(each, f"{where}.{named}") for each in texts(fields[named], f"{where}.{named}")
        ),
        is_not_resource=named == "NotResource",
        conditions=policy_conditions.read(fields.get("Condition", {}), f"{where}.Condition"),
    )


def _either(fields: Mapping[str, Any], where: str, name: str, negated: str) -> str:
    if (name in fields) == (negated in fields):
        count = "both" if name in fields else "neither"
        raise InputError(f"{where} has {count} of {name} and {negated}", hint="exactly one of them")
    return name if name in fields else negated
