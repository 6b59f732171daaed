"""Whether input keeps to the models: all that it breaks, told at once and in AWS's words.

botocore's own validator checks what a client can put right without the server: that required
members are there, types, and minimal lengths. Patterns, maximal lengths and enums are the server's.

No input can make this slow. A length is checked before a pattern is tried, a pattern that has no
length in the models gets one here, and what is told is bounded too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from botocore.model import OperationModel, Shape

from isthmus.aws import patterns
from isthmus.aws.service_error import invalid

#: Of text that has a pattern and no length of its own. Matching may take the square of it.
PATTERN_CHARACTERS_MAX = 2048
VALUE_SHOWN_MAX = 128
#: What is told of one input; it may break something with every byte.
VIOLATIONS_MAX = 100
_NUMBERS = {"integer", "long", "float", "double"}


class Constraint(NamedTuple):
    """One of the things that a value must be."""

    text: str
    is_met: Callable[[Any], bool]
    #: Whether what breaks it is not looked at any further.
    is_bound: bool = False


class Violation(NamedTuple):
    """A value that is not as it must be."""

    where: str
    #: Nothing where it must not be shown.
    value: str | None
    constraint: str

    def __str__(self) -> str:
        value = "Value" if self.value is None else f"Value {self.value}"
        return f"{value} at '{self.where}' failed to satisfy constraint: {self.constraint}"


def check(operation: OperationModel, parameters: dict[str, Any]) -> None:
    """Raise ServiceError where the input of an operation breaks anything."""
    if operation.input_shape is None:
        return
    found = list(islice(violations(operation.input_shape, parameters), VIOLATIONS_MAX + 1))
    if not found:
        return
    shown = "; ".join(map(str, found[:VIOLATIONS_MAX]))
    count = f"More than {VIOLATIONS_MAX}" if len(found) > VIOLATIONS_MAX else f"{len(found)}"
    errors = "error" if len(found) == 1 else "errors"
    raise invalid(operation, f"{count} validation {errors} detected: {shown}")


def violations(shape: Shape, value: Any, where: str = "") -> Iterator[Violation]:
    """Everything that a value breaks, itself and in its parts."""
    for broken in _broken(shape, value):
        yield Violation(where, _shown(shape, value), broken)
    match shape.type_name:
        case "structure":
            prefix = f"{where}." if where else ""
            for name in shape.required_members:
                if value.get(name) is None:
                    yield Violation(f"{prefix}{name}", "null", "Member must not be null")
            members = shape.members
            for name, each in value.items():
                yield from violations(members[name], each, f"{prefix}{name}")
        case "list":
            parts = ((f"{where}.{n}.member", each) for n, each in enumerate(value, 1))
            yield from _in_parts(shape, shape.member, value, parts, where, "Member")
        case "map":
            keys = ((where, each) for each in value)
            yield from _in_parts(shape, shape.key, value, keys, where, "Map keys")
            values = ((f"{where}.{key[:VALUE_SHOWN_MAX]}.member", value[key]) for key in value)
            yield from _in_parts(shape, shape.value, value, values, where, "Map value")


def _in_parts(
    shape: Shape,
    member: Shape,
    value: Any,
    parts: Iterator[tuple[str, Any]],
    where: str,
    role: str,
) -> Iterator[Violation]:
    """Of the parts of a list or a map: AWS tells once of those that have no parts themselves."""
    has_parts = member.type_name in ("structure", "list", "map")
    is_told = False
    for path, each in parts:
        if each is None:
            yield Violation(path, "null", "Member must not be null")
        elif has_parts:
            yield from violations(member, each, path)
        elif not is_told and any(_broken(member, each)):
            is_told = True
            wanted = ", ".join(constraint.text for constraint in constraints(member))
            told = f"{role} must satisfy constraint: [{wanted}]"
            yield Violation(where, _shown(shape, value), told)


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The constraints that a value itself breaks."""
    for constraint in constraints(shape):
        if not constraint.is_met(value):
            yield constraint.text
            if constraint.is_bound:
                return


@cache
def constraints(shape: Shape) -> tuple[Constraint, ...]:
    """What a value of this shape must be, a maximal length first and a pattern last."""
    metadata = shape.metadata
    found = []
    measure, what = (_itself, "value") if shape.type_name in _NUMBERS else (len, "length")
    least, most = metadata.get("min"), metadata.get("max")
    if "pattern" in metadata and most is None:
        most = PATTERN_CHARACTERS_MAX
    if most is not None:
        text = f"Member must have {what} less than or equal to {most}"
        found.append(Constraint(text, lambda value: measure(value) <= most, is_bound=True))
    if least is not None:
        text = f"Member must have {what} greater than or equal to {least}"
        found.append(Constraint(text, lambda value: measure(value) >= least))
    if (allowed := metadata.get("enum")) is not None:
        text = f"Member must satisfy enum value set: [{', '.join(allowed)}]"
        found.append(Constraint(text, frozenset(allowed).__contains__))
    if (pattern := metadata.get("pattern")) is not None:
        is_match = patterns.compiled(pattern).fullmatch
        text = f"Member must satisfy regular expression pattern: {pattern}"
        found.append(Constraint(text, lambda value: is_match(value) is not None))
    return tuple(found)


def _itself(value: Any) -> Any:
    return value


# How a value is shown


def _shown(shape: Shape, value: Any) -> str | None:
    """The value as AWS shows it, cut; None where it is nobody's to see."""
    if _is_sensitive(shape):
        return None
    shown = _text(value)
    return f"'{shown if len(shown) <= VALUE_SHOWN_MAX else f'{shown[:VALUE_SHOWN_MAX]}...'}'"


@cache
def _is_sensitive(shape: Shape, within: frozenset[str] = frozenset()) -> bool:
    """Whether a shape, or any part of it, is nobody's to see."""
    if shape.metadata.get("sensitive"):
        return True
    parts: list[Shape] = []
    match shape.type_name:
        case "structure" if shape.name not in within:
            parts = list(shape.members.values())
        case "list":
            parts = [shape.member]
        case "map":
            parts = [shape.key, shape.value]
    return any(_is_sensitive(each, within | {shape.name}) for each in parts)


def _text(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case bytes():
            return f"{len(value)} bytes"
        case list():
            parts = (_text(each) for each in value[:VALUE_SHOWN_MAX])
            return f"[{', '.join(parts)}]"
        case dict():
            items = list(value.items())[:VALUE_SHOWN_MAX]
            return f"{{{', '.join(f'{name}={_text(each)}' for name, each in items)}}}"
    return str(value)[: VALUE_SHOWN_MAX + 1]
