"""A shadow as AWS keeps it, without any thought of merging: what ours is held against."""

from __future__ import annotations

from typing import Any, NamedTuple

#: The state of a write that is a deletion.
DELETES = "deletes"


class Wrote(NamedTuple):
    """One write, which sorts by its stamp."""

    mark: Any
    dot: str
    #: What was to be merged; DELETES for a deletion.
    state: Any


class Leaf(NamedTuple):
    """A scalar or an array, and when it was written."""

    value: Any
    ms: int


class Naive:
    """A shadow as AWS keeps it: one write after the other merged into one document."""

    def __init__(self, writes: list[Wrote]) -> None:
        self.sections: dict[str, Any] = {}
        self.is_there = False
        for mark, _, state in sorted(writes, key=lambda each: each.mark):
            if state in (None, DELETES):
                self.sections = {}
            else:
                merge(self.sections, state, mark[0])
            self.is_there = state != DELETES

    def shown(self, of: Any) -> dict[str, Any]:
        """The sections in which something is, with what a function says of each leaf."""
        shown = {name: each_leaf(section, of) for name, section in self.sections.items()}
        return {name: section for name, section in shown.items() if section}

    @property
    def state(self) -> dict[str, Any]:
        return self.shown(lambda leaf: leaf.value)

    @property
    def metadata(self) -> dict[str, Any]:
        return self.shown(lambda leaf: stamped(leaf.value, {"timestamp": leaf.ms // 1000}))

    @property
    def delta(self) -> dict[str, Any]:
        """What is desired and not so reported."""
        state = self.state
        return difference(state.get("desired", {}), state.get("reported", {}))


def difference(desired: dict[str, Any], reported: dict[str, Any]) -> dict[str, Any]:
    """By ``==``, to which 1 and true are equal: who compares has none of these."""
    found = {}
    for name, wanted in desired.items():
        there = reported.get(name)
        if isinstance(wanted, dict) and isinstance(there, dict):
            if inner := difference(wanted, there):
                found[name] = inner
        elif wanted != there:
            found[name] = wanted
    return found


def merge(held: dict[str, Any], patch: dict[str, Any], ms: int) -> None:
    for name, value in patch.items():
        if value is None:
            held.pop(name, None)
        elif not isinstance(value, dict):
            held[name] = Leaf(value, ms)
        elif isinstance(held.get(name), dict):
            merge(held[name], value, ms)
        elif not says_only_null(value):
            held[name] = {}
            merge(held[name], value, ms)


def says_only_null(value: Any) -> bool:
    if isinstance(value, dict):
        return value != {} and all(says_only_null(each) for each in value.values())
    return value is None


def each_leaf(value: Any, of: Any) -> Any:
    if isinstance(value, dict):
        return {name: each_leaf(each, of) for name, each in value.items()}
    return of(value)


def stamped(value: Any, time: dict[str, int]) -> Any:
    """The metadata of something that was written at one time."""
    if isinstance(value, list):
        return [stamped(each, time) for each in value]
    if isinstance(value, dict):
        return {name: stamped(each, time) for name, each in value.items()}
    return time
