"""Which operation a request is for: by method and path and, where the model says so, by query.

The path is taken apart as it was sent and decoded only then: an ARN or a topic has slashes of its
own, encoded ones, and a decoded path cannot tell them from those between the labels. What is left
open by the models is decided the same way for every operation: literal text is preferred to a
label, and a label to one that takes several segments.

A label at the end that may be any text takes all that is left, slashes and all, as the greedy
ones of the models do: of ``/topics/{topic}`` people send topics as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from botocore.model import OperationModel, ServiceModel

from isthmus.aws.service_error import ServiceError
from isthmus.core import request_targets
from isthmus.core.request_targets import Query
from isthmus.errors import BrokenInvariant

SHOWN_MAX = 128
_LABEL = re.compile(r"\{(\w+)(\+?)\}")


class Route(NamedTuple):
    """An operation, the names of its labels in their order, and the query it is told by."""

    operation: OperationModel
    labels: tuple[str, ...]
    literals: Mapping[str, list[str]]


class Match(NamedTuple):
    """What a request is for, with the text of the labels in its path."""

    operation: OperationModel
    labels: dict[str, str]
    #: What of the query is the operation's name and none of its input.
    literals: Mapping[str, list[str]]


@dataclass(slots=True)
class _Node:
    """What may follow the segments that lead here."""

    literals: dict[str, _Node] = field(default_factory=dict)
    label: _Node | None = None
    #: Routes that end here, and those whose last label takes all that is left.
    ends: list[Route] = field(default_factory=list)
    rest: list[Route] = field(default_factory=list)


class Router:
    """The operations of one service by their paths."""

    def __init__(self, model: ServiceModel) -> None:
        self._root = _Node()
        for name in model.operation_names:
            self._add(model.operation_model(name))

    def match(self, method: str, path: str, query: Query) -> Match:
        """The operation, or a ServiceError that says what there is none of."""
        before, *segments = [_decoded(each) for each in path.split("/")]
        found = [
            (route, values)
            for route, values in _walk(self._root, segments, 0, ())
            if all(query.get(name) == value for name, value in route.literals.items())
        ]
        if before or not found:
            message = f"There is no operation at {path[:SHOWN_MAX]}"
            raise ServiceError("UnknownOperationException", message)
        for route, values in found:
            if route.operation.http["method"] == method:
                labels = dict(zip(route.labels, values, strict=True))
                return Match(route.operation, labels, route.literals)
        methods = sorted({route.operation.http["method"] for route, _ in found})
        message = f"{method[:SHOWN_MAX]} is not allowed at {path[:SHOWN_MAX]}: {', '.join(methods)}"
        raise ServiceError("MethodNotAllowedException", message)

    def _add(self, operation: OperationModel) -> None:
        path, _, query = operation.http["requestUri"].partition("?")
        node, labels, takes_rest = self._root, [], False
        for segment in path.split("/")[1:]:
            if takes_rest:
                raise BrokenInvariant(f"{path}: a label that takes several segments is the last")
            label = _LABEL.fullmatch(segment)
            if label is None:
                node = node.literals.setdefault(segment, _Node())
                continue
            labels.append(label[1])
            if label[2]:
                takes_rest = True
            else:
                node.label = node.label or _Node()
                parent, node = node, node.label
        route = Route(operation, tuple(labels), parameters(query))
        if takes_rest:
            node.rest.append(route)
            return
        # Of two routes to one place the one that says more is found first.
        node.ends.append(route)
        node.ends.sort(key=lambda each: -len(each.literals))
        if path.endswith("}") and _may_be_any_text(operation, labels[-1]):
            parent.rest.append(route)


def _may_be_any_text(operation: OperationModel, label: str) -> bool:
    """Whether the models say nothing of the text of a label."""
    for member, shape in operation.input_shape.members.items():
        serialization = shape.serialization
        if serialization.get("location") == "uri" and serialization.get("name", member) == label:
            return shape.type_name == "string" and not {"pattern", "enum"} & shape.metadata.keys()
    raise BrokenInvariant(f"{operation.name}: no member is for the label {label}")


def _walk(
    node: _Node, segments: list[str], at: int, values: tuple[str, ...]
) -> Iterator[tuple[Route, tuple[str, ...]]]:
    """Every route of a path, the most literal one first. As deep as the models' paths, at most."""
    if at == len(segments):
        yield from ((route, values) for route in node.ends)
        return
    segment = segments[at]
    if (literal := node.literals.get(segment)) is not None:
        yield from _walk(literal, segments, at + 1, values)
    # A label is never empty: /things/ is not a thing without a name.
    if segment and node.label is not None:
        yield from _walk(node.label, segments, at + 1, (*values, segment))
    if node.rest and (rest := "/".join(segments[at:])):
        yield from ((route, (*values, rest)) for route in node.rest)


# What is encoded in an address


def parameters(query: str) -> dict[str, list[str]]:
    """The values of each name."""
    try:
        return request_targets.parameters(query)
    except ValueError:
        raise _not_encoded("query") from None


def _decoded(text: str) -> str:
    try:
        return request_targets.decoded(text)
    except ValueError:
        raise _not_encoded("path") from None


def _not_encoded(what: str) -> ServiceError:
    message = f"The {what} is not UTF-8 that is percent-encoded"
    return ServiceError("InvalidRequestException", message)
