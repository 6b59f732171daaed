"""The fields of a policy document, each read or refused by name.

What is raised is an InputError that names the field and its value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from isthmus.core import policy_keys
from isthmus.core.pattern import Matcher, Pattern, Variable, Wildcard, matcher, wildcards
from isthmus.core.policy_keys import ATTRIBUTE, KEYS
from isthmus.errors import InputError

PARTITIONS = ("aws", "aws-cn", "aws-us-gov")
#: ``${*}`` and the like stand for the character itself.
_ESCAPES = ("*", "?", "$")
_VARIABLE = re.compile(r"\$\{([^}]*)(\}?)")


class System(NamedTuple):
    """The names that this system goes by in ARNs.

    ``regions`` holds every region's name and aliases: a policy that names one region holds in all,
    or a failover would deny the whole fleet.
    """

    account: str
    regions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Resource:
    """One ARN: partition, service, region and account, then the pattern of what follows them."""

    system: tuple[Pattern, Pattern, Pattern, Pattern]
    suffix: Pattern

    def is_of(self, system: System) -> bool:
        """Whether the fields before the last are those of a system."""
        candidates = (PARTITIONS, ("iot",), system.regions, (system.account,))
        return all(
            any(map(_system_matcher(pattern).matches, names))
            for pattern, names in zip(self.system, candidates, strict=True)
        )


@lru_cache(256)
def _system_matcher(pattern: Pattern) -> Matcher:
    """The first fields of an ARN hold no variables."""
    return matcher([[token for token in pattern if not isinstance(token, Variable)]])


def object_of(value: Any, where: str, names: tuple[str, ...] | None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} is {show(value)}", hint="a JSON object")
    for name in value:
        if names is not None and name not in names:
            raise InputError(
                f"{where} has {show(name)}, which is not evaluated here",
                hint=f"only {', '.join(names)}",
            )
    return value


def texts(value: Any, where: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise InputError(f"{where} is an empty list", hint="a string or a list of strings")
    return [text_of(each, where) for each in values]


def text_of(value: Any, where: str) -> str:
    # A lone surrogate would pass here and break the log line that names it.
    if not isinstance(value, str) or any("\ud800" <= each <= "\udfff" for each in value):
        raise InputError(f"{where} is {show(value)}", hint="a string")
    return value


def key(name: str, where: str) -> str:
    """The key's own spelling; a key that we do not evaluate is refused."""
    found = policy_keys.spelled(name)
    if found is None:
        raise InputError(
            f"{where}: {show(name)} is not a key that is evaluated here",
            hint=f"one of {', '.join(KEYS)}, {ATTRIBUTE}NAME], or of a certificate or a CONNECT",
        )
    return found


def pattern(text: str, where: str, has_wildcards: bool = True) -> Pattern:
    """Text with wildcards and variables; the latter only of what has one value."""
    tokens: list[str | Wildcard | Variable] = []
    position = 0
    for match in _VARIABLE.finditer(text):
        before = text[position : match.start()]
        tokens += wildcards(before) if has_wildcards else [before]
        name, closing = match.groups()
        if not closing:
            raise InputError(f"{where} is {show(text)}: a variable without its closing brace")
        tokens.append(name if name in _ESCAPES else Variable(_variable(name, where)))
        position = match.end()
    rest = text[position:]
    tokens += wildcards(rest) if has_wildcards else [rest]
    return tuple(tokens)


def _variable(name: str, where: str) -> str:
    found = key(name, where)
    if not policy_keys.is_variable(found):
        raise InputError(f"{where}: {show(name)} is no text", hint="use it as a condition's key")
    return found


def resource(text: str, where: str, has_wildcards: bool = True) -> Resource:
    if text == "*" and has_wildcards:
        anything = (Wildcard.ANY,)
        return Resource((anything, anything, anything, anything), anything)
    arn, *system = text.split(":", 5)
    if arn != "arn" or len(system) != 5 or not system[4] or "$" in "".join(system[:4]):
        raise InputError(
            f"{where} is {show(text)}",
            hint='"*" or "arn:aws:iot:REGION:ACCOUNT:topic/...", variables only after the account',
        )
    partition, service, region, account = (
        wildcards(each) if has_wildcards else (each,) for each in system[:4]
    )
    suffix = pattern(system[4], where, has_wildcards)
    return Resource((partition, service, region, account), suffix)


def show(value: Any) -> str:
    text = "missing or null" if value is None else ascii(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
