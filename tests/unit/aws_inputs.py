"""Input and output that the models allow, input that they do not, and botocore's requests of both.

Everything is drawn from the shapes, so a new botocore brings its own tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from aws_patterns import MATCHING, OTHERS
from aws_toy import TOY
from botocore.awsrequest import prepare_request_dict
from botocore.model import OperationModel, Shape
from botocore.serialize import create_serializer
from botocore.utils import is_json_value_header
from hypothesis import assume
from hypothesis import strategies as st

from isthmus.aws import models, patterns
from isthmus.aws.models import Service
from isthmus.aws.requests import HttpRequest

ENDPOINT = "https://iot.example.com"
SERVICES = [models.service(name) for name in models.SERVICES] + [TOY]
CALLS = [(service, name) for service in SERVICES for name in service.operations]
every_operation = pytest.mark.parametrize(
    ("service", "name"), [pytest.param(s, n, id=f"{s.name}-{n}") for s, n in CALLS]
)
#: What is drawn is short: that lengths are kept is seen as well from small ones.
SIZE_MAX = 5
LENGTH_MAX = 24
_CHARACTERS = "".join(map(chr, range(32, 127))) + "\t\n\x7fäß€Ω\u0661\u00a0\u200b\u2028😀"
#: What a header can have between other characters.
_VISIBLE = "".join(map(chr, range(33, 127)))
_OPTIONAL_MAX = 6
_BITS = {"integer": 31, "long": 63}


# What the models allow


@cache
def valid(shape: Shape) -> st.SearchStrategy[Any]:
    """Values of a shape that keep to everything that it says."""
    location = shape.serialization.get("location")
    if is_json_value_header(shape):
        values = st.recursive(
            st.none() | st.booleans() | st.integers(-9, 9) | st.text('a"ä\\', max_size=3),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner),
            max_leaves=4,
        )
        # Nothing is not sent.
        return values.filter(lambda value: value is not None)
    metadata = shape.metadata
    least, most = metadata.get("min"), metadata.get("max")
    match shape.type_name:
        case "structure":
            return _structures(shape)
        case "list":
            size = max(least or 0, min(most or SIZE_MAX, 2))
            return st.lists(valid(shape.member), min_size=least or 0, max_size=size)
        case "map":
            size = max(least or 0, min(most or SIZE_MAX, 2))
            keys = valid(shape.key)
            if location == "headers":
                keys = keys.map(str.lower)
            values = valid(shape.value)
            if location == "headers":
                values = _strings(shape.value, "header")
            return st.dictionaries(keys, values, min_size=least or 0, max_size=size)
        case "string":
            return _strings(shape, location)
        case "boolean":
            return st.booleans()
        case "integer" | "long":
            if location == "statusCode":
                return st.integers(200, 299)
            bound = 1 << _BITS[shape.type_name]
            return st.integers(
                -bound if least is None else int(least), bound - 1 if most is None else int(most)
            )
        case "float" | "double":
            return st.floats(least, most, allow_nan=False)
        case "blob":
            size = max(least or 0, min(most or LENGTH_MAX, LENGTH_MAX))
            return st.binary(min_size=least or 0, max_size=size)
        case "timestamp":
            moments = st.datetimes(
                datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)
            )
            # One of the three forms has no parts of seconds, and botocore sends none in a header.
            is_whole = (
                location == "header" or shape.serialization.get("timestampFormat") == "rfc822"
            )
            return moments.map(lambda m: m.replace(microsecond=0)) if is_whole else moments
    raise AssertionError(shape)


def _structures(shape: Shape) -> st.SearchStrategy[dict[str, Any]]:
    # An empty payload cannot be told from none.
    members = {
        name: valid(member).filter(bool)
        if name == shape.serialization.get("payload")
        else valid(member)
        for name, member in shape.members.items()
    }
    required = {name: members[name] for name in shape.required_members}
    optional = [name for name in members if name not in required]

    @st.composite
    def drawn(draw: st.DrawFn) -> dict[str, Any]:
        value = {name: draw(each) for name, each in required.items()}
        if optional:
            names = draw(st.lists(st.sampled_from(optional), max_size=_OPTIONAL_MAX, unique=True))
            value |= {name: draw(members[name]) for name in names}
        return value

    return drawn()


def _strings(shape: Shape, location: str | None) -> st.SearchStrategy[str]:
    metadata = shape.metadata
    if "enum" in metadata:
        return st.sampled_from(metadata["enum"])
    # A label is never empty, whatever its shape says: what it stands in is another path then.
    least = max(metadata.get("min") or 0, 1 if location == "uri" else 0)
    most = max(least, min(metadata.get("max", LENGTH_MAX), LENGTH_MAX))
    characters = _VISIBLE if location == "header" else _CHARACTERS
    pattern = metadata.get("pattern")
    if pattern is None:
        return st.text(characters, min_size=least, max_size=most)
    found = []
    if alphabet := _alphabet(pattern, characters, least):
        texts = st.text(alphabet, min_size=least, max_size=most)
        matches = patterns.compiled(pattern).fullmatch
        # Of a pattern's own method hypothesis makes something else, which takes a minute.
        found.append(texts.filter(lambda text: matches(text) is not None))
    longest = metadata.get("max", LENGTH_MAX)
    if examples := [each for each in MATCHING[pattern] if least <= len(each) <= longest]:
        found.append(st.sampled_from(examples))
    return st.one_of(found)


@cache
def _alphabet(pattern: str, characters: str, least: int) -> str:
    """The characters that may stand everywhere."""
    matches = patterns.compiled(pattern).fullmatch
    return "".join(each for each in characters if matches(each * max(least, 2)))


def request_of(
    operation: OperationModel, parameters: dict[str, Any], *, is_checked: bool = True
) -> HttpRequest:
    """What botocore sends for an input, which it checks for what it knows of."""
    serializer = create_serializer("rest-json", include_validation=is_checked)
    made = serializer.serialize_to_request(parameters, operation)
    prepare_request_dict(made, ENDPOINT)
    body = made["body"] if isinstance(made["body"], bytes) else made["body"].encode()
    target = made["url"].removeprefix(ENDPOINT)
    headers = tuple((name, str(value)) for name, value in made["headers"].items())
    return HttpRequest(made["method"], target, headers, body)


# What they do not allow


@dataclass(frozen=True)
class Break:
    """A constraint, where it is, and what is told of who does not keep to it."""

    #: From the input: names of members, and shapes of lists and maps to go into.
    steps: tuple[str | Shape, ...]
    shape: Shape
    kind: str
    location: str | None = field(default=None)

    def __str__(self) -> str:
        names = (each if isinstance(each, str) else each.type_name for each in self.steps)
        return f"{'.'.join(names)} {self.kind}"

    @property
    def text(self) -> str:
        metadata = self.shape.metadata
        what = "value" if self.shape.type_name in ("integer", "long", "double") else "length"
        return {
            "required": "Member must not be null",
            "most": f"Member must have {what} less than or equal to {metadata.get('max')}",
            "least": f"Member must have {what} greater than or equal to {metadata.get('min')}",
            "enum": f"Member must satisfy enum value set: [{', '.join(metadata.get('enum', ()))}]",
            "pattern": f"Member must satisfy regular expression pattern: {metadata.get('pattern')}",
        }[self.kind]


def breaks(
    shape: Shape, steps: tuple[str | Shape, ...] = (), where: str | None = None
) -> Iterator[Break]:
    """Everything that a value of this shape can do wrong, and can be seen to."""
    metadata = shape.metadata
    location = shape.serialization.get("location", where)
    for key, kind in (("max", "most"), ("min", "least"), ("enum", "enum"), ("pattern", "pattern")):
        is_zero = kind == "least" and shape.type_name not in ("integer", "long", "double")
        if key not in metadata or (is_zero and not metadata["min"]):
            continue
        # An empty label is another path, and an empty list or map in a query is nothing.
        is_nothing = kind == "least" and (
            location == "uri" or location in ("querystring", "headers")
        )
        if not (is_nothing and shape.type_name in ("string", "list", "map")):
            yield Break(steps, shape, kind, location)
    match shape.type_name:
        case "structure":
            payload = shape.serialization.get("payload")
            for name, member in shape.members.items():
                # Without a label it is another path, and a structure that is the body is never not.
                is_there = member.serialization.get("location") == "uri" or (
                    name == payload and member.type_name == "structure"
                )
                if name in shape.required_members and not is_there:
                    yield Break((*steps, name), member, "required")
                yield from breaks(member, (*steps, name))
        case "list":
            yield from breaks(shape.member, (*steps, shape), location)
        case "map":
            yield from breaks(shape.value, (*steps, shape), location)


def broken(shape: Shape, wrong: Break) -> st.SearchStrategy[tuple[dict[str, Any], str]]:
    """Input that breaks one constraint, and the path that has to be told."""

    @st.composite
    def drawn(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
        path: list[str] = []
        value = _placed(draw, shape, wrong, wrong.steps, path)
        is_part = isinstance(wrong.steps[-1], Shape)
        is_simple = wrong.shape.type_name not in ("structure", "list", "map")
        # AWS tells of a list or a map where its parts have no parts themselves.
        told = path[:-2] if is_part and is_simple else path
        return value, ".".join(told)

    return drawn()


def _placed(
    draw: st.DrawFn, shape: Shape, wrong: Break, steps: tuple[str | Shape, ...], path: list[str]
) -> Any:
    if not steps:
        return draw(_wrong(wrong))
    value = draw(valid(shape))
    step = steps[0]
    if isinstance(step, str):
        path.append(step)
        if wrong.kind == "required" and len(steps) == 1:
            value.pop(step, None)
        else:
            value[step] = _placed(draw, shape.members[step], wrong, steps[1:], path)
    elif shape.type_name == "list":
        path += ["1", "member"]
        value[:1] = [_placed(draw, shape.member, wrong, steps[1:], path)]
    else:
        key = next(iter(value), None) or draw(valid(shape.key))
        path += [key, "member"]
        value[key] = _placed(draw, shape.value, wrong, steps[1:], path)
    return value


def _wrong(wrong: Break) -> st.SearchStrategy[Any]:
    """Values that break one constraint and, as far as that can be, no other one."""
    shape, metadata = wrong.shape, wrong.shape.metadata
    match wrong.kind, shape.type_name:
        case "enum", _:
            return st.sampled_from(["", "x", metadata["enum"][0].swapcase()])
        case "pattern", _:
            return _unmatched(shape, wrong.location)
        case "most", "integer" | "long" | "double":
            return st.sampled_from([metadata["max"] + 1, metadata["max"] + 1000])
        case "least", "integer" | "long" | "double":
            return st.just(metadata["min"] - 1)
        case "most", "string":
            return st.just("a" * (metadata["max"] + 1))
        case "least", "string":
            return st.just("a" * (metadata["min"] - 1))
        case "most", "blob":
            return st.just(b"a" * (metadata["max"] + 1))
        case "least", "blob":
            return st.just(b"a" * (metadata["min"] - 1))
        case "most", "list":
            return valid(shape.member).map(lambda each: [each] * (metadata["max"] + 1))
        case "most", "map":
            keys = [f"k{''.join(chr(97 + n // 26**i % 26) for i in range(3))}" for n in range(999)]
            used = keys[: metadata["max"] + 1]
            return valid(shape.value).map(lambda each: dict.fromkeys(used, each))
        case "least", "list":
            return st.just([])
        case "least", "map":
            return st.just({})
    raise AssertionError(wrong)


def _unmatched(shape: Shape, location: str | None) -> st.SearchStrategy[str]:
    pattern = shape.metadata["pattern"]
    matches = patterns.compiled(pattern).fullmatch
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", LENGTH_MAX)
    others = [
        each for each in OTHERS[pattern] if max(least, location == "uri") <= len(each) <= most
    ]
    characters = _VISIBLE if location == "header" else _CHARACTERS

    @st.composite
    def drawn(draw: st.DrawFn) -> str:
        text = draw(_strings(shape, location))
        assume(text)
        place = draw(st.integers(0, len(text) - 1))
        changed = (f"{text[:place]}{each}{text[place + 1 :]}" for each in characters)
        found = [each for each in changed if not matches(each)]
        assume(found)
        return draw(st.sampled_from(found))

    return st.one_of(drawn(), *([st.sampled_from(others)] if others else []))


@cache
def breaks_of(service: Service, name: str) -> tuple[Break, ...]:
    shape = service.operations[name].input_shape
    found = breaks(shape) if shape else ()
    # Of some patterns nothing is not a match.
    return tuple(e for e in found if e.kind != "pattern" or OTHERS[e.shape.metadata["pattern"]])
