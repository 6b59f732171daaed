"""Conditions of policy statements: operators, the keys they are for, and whether one holds.

IAM's operators, as far as AWS IoT has keys for them (IAM user guide, "IAM JSON policy elements:
Condition operators"; IoT developer guide, "Connect policy examples" and "Using X.509 certificate
policy variables"). ForAllValues holds where every value that a key has satisfies the operator, so
also where it has none; ForAnyValue holds where one does. A negated operator holds where the key has
no value. An operator without either is refused for a list, where IAM does not say what it means.

``iot:LastWillTopic`` is an ARN, and compared field by field: the region that a policy names is any
of the system's, as in resources.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple, Protocol

from isthmus.core import policy_fields as fields
from isthmus.core import policy_keys as keys
from isthmus.core.pattern import Pattern, matcher, resolve
from isthmus.core.policy_fields import Resource
from isthmus.errors import InputError

FOR_ALL, FOR_ANY = "ForAllValues", "ForAnyValue"
Network = IPv4Network | IPv6Network


class Operator(NamedTuple):
    """What an operator compares, and how."""

    kind: str
    is_negated: bool = False
    has_wildcards: bool = False
    ignores_case: bool = False


OPERATORS = {
    "StringEquals": Operator("text"),
    "StringNotEquals": Operator("text", is_negated=True),
    "StringEqualsIgnoreCase": Operator("text", ignores_case=True),
    "StringNotEqualsIgnoreCase": Operator("text", is_negated=True, ignores_case=True),
    "StringLike": Operator("text", has_wildcards=True),
    "StringNotLike": Operator("text", is_negated=True, has_wildcards=True),
    # IAM: these two, and their negations, behave identically.
    "ArnEquals": Operator("arn", has_wildcards=True),
    "ArnLike": Operator("arn", has_wildcards=True),
    "ArnNotEquals": Operator("arn", is_negated=True, has_wildcards=True),
    "ArnNotLike": Operator("arn", is_negated=True, has_wildcards=True),
    "Bool": Operator("bool"),
    "Null": Operator("null"),
    "IpAddress": Operator("address"),
    "NotIpAddress": Operator("address", is_negated=True),
}
_ONLY_FOR = {"arn": keys.LAST_WILL_TOPIC, "address": keys.SOURCE_IP}


class Values(Protocol):
    """What is known in a session while it does something."""

    def get(self, key: str) -> str | None:
        """The value of a key that has one."""

    def all(self, key: str) -> tuple[str, ...]:
        """All values of a key."""

    def is_ours(self, resource: Resource) -> bool:
        """Whether the first fields of an ARN are this system's."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key, satisfied by any of its values; if it is negated, by none."""

    operator: Operator
    #: ForAllValues, ForAnyValue, or nothing.
    quantifier: str
    key: str
    #: Of each operator those of its kind.
    patterns: tuple[Pattern, ...] = ()
    arns: tuple[Resource, ...] = ()
    networks: tuple[Network, ...] = ()
    is_true: bool = True

    def holds(self, values: Values, *, is_allow: bool) -> bool:
        """Whether it holds; what it compares with may be unresolved, and then it never grants."""
        if self.operator.kind == "null":
            return (not values.all(self.key)) == self.is_true
        is_negated = self.operator.is_negated
        found = values.all(self.key)
        if not found and not self.quantifier:
            return is_negated
        matches, is_resolved = self._comparison(values)
        if is_negated and is_allow and not is_resolved:
            return False
        satisfied = (matches(each) != is_negated for each in found)
        return any(satisfied) if self.quantifier == FOR_ANY else all(satisfied)

    def _comparison(self, values: Values) -> tuple[Callable[[str], bool], bool]:
        """What compares a value with all of ours, and whether all of them could be resolved."""
        if self.operator.kind == "address":
            return self._is_in_network, True
        patterns = [*self.patterns, *(each.suffix for each in self.arns if values.is_ours(each))]
        resolved = [resolve(each, values.get) for each in patterns]
        known = [each for each in resolved if each is not None]
        if self.operator.ignores_case:
            lowered = [[t.lower() if isinstance(t, str) else t for t in each] for each in known]
            matches = matcher(lowered).matches
            return lambda value: matches(value.lower()), None not in resolved
        return matcher(known).matches, None not in resolved

    def _is_in_network(self, value: str) -> bool:
        try:
            address = ip_address(value)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in each for each in self.networks)


def read(value: Any, where: str) -> tuple[Condition, ...]:
    """The conditions of a statement; raises InputError where one would not be evaluated."""
    found: list[Condition] = []
    for written, by_key in fields.object_of(value, where, None).items():
        quantifier, _, name = written.rpartition(":")
        operator = OPERATORS.get(name)
        if operator is None or quantifier not in ("", FOR_ALL, FOR_ANY):
            raise InputError(
                f"{where} has {fields.show(written)}, which is not evaluated here",
                hint=f"only {', '.join(OPERATORS)}, {FOR_ALL}:..., {FOR_ANY}:...",
            )
        for key_name, values in fields.object_of(by_key, f"{where}.{written}", None).items():
            place = f"{where}.{written}.{key_name}"
            key = fields.key(key_name, place)
            _check_fits(operator, quantifier, key, place)
            found.append(_condition(operator, quantifier, key, values, place))
    return tuple(found)


def _check_fits(operator: Operator, quantifier: str, key: str, where: str) -> None:
    is_null = operator.kind == "null"
    if is_null and quantifier:
        raise InputError(f"{where}: Null is for a key as a whole", hint="without a quantifier")
    if keys.is_list(key) and not quantifier and not is_null:
        hint = f"{FOR_ALL}: or {FOR_ANY}: before the operator"
        raise InputError(f"{where}: the key has any number of values", hint=hint)
    only_for = _ONLY_FOR.get(operator.kind)
    if only_for not in (None, key):
        raise InputError(f"{where}: the operator is not for this key", hint=f"for {only_for} only")
    is_arn = key == keys.LAST_WILL_TOPIC
    if is_arn and not is_null and (operator.kind not in ("arn", "text") or operator.ignores_case):
        raise InputError(f"{where}: the key is an ARN", hint="ArnEquals, ArnLike or StringLike")


def _condition(operator: Operator, quantifier: str, key: str, value: Any, where: str) -> Condition:
    if operator.kind in ("bool", "null"):
        given = _booleans(value, where)
        if operator.kind == "null":
            if len(given) != 1:
                raise InputError(f"{where} is {fields.show(value)}", hint="one of true and false")
            return Condition(operator, quantifier, key, is_true=given == ["true"])
        return Condition(operator, quantifier, key, patterns=tuple((each,) for each in given))
    # An empty list is documented for what a CONNECT may not ask for.
    given = [] if value == [] and quantifier else fields.texts(value, where)
    if operator.kind == "address":
        return Condition(operator, quantifier, key, networks=_networks(given, where))
    wild = operator.has_wildcards
    if key == keys.LAST_WILL_TOPIC:
        arns = tuple(fields.resource(each, where, wild) for each in given)
        return Condition(operator, quantifier, key, arns=arns)
    patterns = tuple(fields.pattern(each, where, wild) for each in given)
    return Condition(operator, quantifier, key, patterns=patterns)


def _booleans(value: Any, where: str) -> list[str]:
    values = [str(each).lower() for each in (value if isinstance(value, list) else [value])]
    if not values or not set(values) <= {"true", "false"}:
        raise InputError(f"{where} is {fields.show(value)}", hint='"true" or "false"')
    return values


def _networks(given: Sequence[str], where: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(each, strict=False) for each in given)
    except ValueError:
        hint = "addresses or ranges, as 192.0.2.0/24"
        raise InputError(f"{where} is {fields.show(list(given))}", hint=hint) from None
