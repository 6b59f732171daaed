"""What a shadow's tree shows: its sections, when each leaf of them was written, and the delta.

A section in which nothing is left is not shown; an empty object below a section is. Metadata has
the shape of what it is about, and seconds since 1970 in place of every scalar, in arrays too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from isthmus.core.shadow_request import DESIRED, REPORTED
from isthmus.core.shadow_tree import Node, ShadowTree

_SECTIONS = (DESIRED, REPORTED)
_MS_PER_S = 1000
encode = msgspec.json.Encoder().encode

Object = dict[str, Any]


class View(NamedTuple):
    """The sections of a document that are there, and the metadata of each."""

    state: dict[str, Object]
    metadata: dict[str, Object]

    def delta(self) -> tuple[Object, Object]:
        """What is desired and not so reported, all of it, with its metadata."""
        if DESIRED not in self.state:
            return {}, {}
        reported = self.state.get(REPORTED, {})
        return _difference(self.state[DESIRED], self.metadata[DESIRED], reported)


def view(tree: ShadowTree) -> View:
    """What a tree shows to AWS's clients."""
    shown = View({}, {})
    times: dict[int, dict[str, int]] = {}
    for name in _SECTIONS:
        section = tree.root.nodes.get(name)
        if section is not None:
            state, metadata = _object(section, times)
            if state:
                shown.state[name], shown.metadata[name] = state, metadata
    return shown


def size(shown: View) -> int:
    """Bytes of a document, as AWS's quota counts them: without metadata."""
    return sum(len(encode(section)) for section in shown.state.values())


def seconds(ms: int) -> int:
    """A time as AWS's documents have it."""
    return ms // _MS_PER_S


def written(value: Any, time: dict[str, int]) -> Any:
    """The metadata of a value all of which was written at one time."""
    if type(value) is dict:
        return {name: written(each, time) for name, each in value.items()}
    if type(value) is list:
        return [written(each, time) for each in value]
    return time


def _object(node: Node, times: dict[int, dict[str, int]]) -> tuple[Object, Object]:
    state: Object = {}
    metadata: Object = {}
    for name, each in node.nodes.items():
        value = each.value
        if value is not None:
            ms = each.cut[0]
            time = times.get(ms)
            if time is None:
                time = times[ms] = {"timestamp": seconds(ms)}
            state[name] = value
            metadata[name] = written(value, time) if type(value) is list else time
        elif each.is_object:
            state[name], metadata[name] = _object(each, times)
    return state, metadata


def _difference(
    desired: Mapping[str, Any], metadata: Mapping[str, Any], reported: Mapping[str, Any]
) -> tuple[Object, Object]:
    state: Object = {}
    about: Object = {}
    for name, wanted in desired.items():
        found = reported.get(name)
        if type(wanted) is dict and type(found) is dict:
            inner, inner_about = _difference(wanted, metadata[name], found)
            if inner:
                state[name], about[name] = inner, inner_about
        elif not is_same(wanted, found):
            state[name], about[name] = wanted, metadata[name]
    return state, about


def is_same(one: Any, other: Any) -> bool:
    """Whether two values of JSON are equal: numbers by what they are worth, 1 and 1.0 alike.

    Not by ``==``: to Python, 1 and true are equal.
    """
    if type(one) is list and type(other) is list:
        return len(one) == len(other) and all(map(is_same, one, other))
    if type(one) is dict and type(other) is dict:
        return one.keys() == other.keys() and all(
            is_same(each, other[name]) for name, each in one.items()
        )
    return bool(one == other) and (type(one) is bool) == (type(other) is bool)
