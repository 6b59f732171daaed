"""Topic names and topic filters: what is valid, what matches, and a tree that matches many.

Two dialects: in ``standard`` MQTT the filter ``a/#`` matches ``a`` too, on AWS IoT Core it does
not. In both, a filter that begins with a wildcard never matches a topic that begins with ``$``.
``TopicTree.match`` always answers the same as ``matches`` asked of every filter in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

from isthmus.errors import MalformedPacket

Dialect = Literal["aws", "standard"]
T = TypeVar("T")

#: What a length prefix of two bytes has room for, section 1.5.3 of the standard.
TOPIC_BYTES_MAX = 65_535
#: AWS IoT Core's quotas, which do not count the prefixes below.
AWS_TOPIC_BYTES_MAX = 256
AWS_TOPIC_SLASHES_MAX = 7
_AWS_UNCOUNTED = re.compile(r"\$aws/rules/[^/]+/|\$aws/commands/|\$share/[^/]+/")

SHARED_PREFIX = "$share/"
_NOT_IN_TOPIC = re.compile("[\0+#]")


def validate_topic(topic: str) -> None:
    """Raise MalformedPacket unless one can publish to ``topic``."""
    _validate_text(topic)
    found = _NOT_IN_TOPIC.search(topic)
    if found:
        raise MalformedPacket(f"topic {topic[:80]!r} holds {found[0]!r} [MQTT-3.3.2-2]")


def validate_filter(topic_filter: str) -> None:
    """Raise MalformedPacket unless one can subscribe to ``topic_filter``."""
    _validate_text(topic_filter)
    if "\0" in topic_filter:
        raise MalformedPacket("a filter holds U+0000 [MQTT-4.7.3-2]")
    if "#" not in topic_filter and "+" not in topic_filter:
        return
    shown = repr(topic_filter[:80])
    levels = topic_filter.split("/")
    for position, level in enumerate(levels):
        if "#" in level and (level != "#" or position < len(levels) - 1):
            raise MalformedPacket(f"filter {shown}: '#' is not its whole last level [MQTT-4.7.1-2]")
        if "+" in level and level != "+":
            raise MalformedPacket(f"filter {shown}: '+' is not a whole level [MQTT-4.7.1-3]")


def _validate_text(text: str) -> None:
    if not text:
        raise MalformedPacket("a topic or filter is empty [MQTT-4.7.3-1]")
    # An ASCII text has as many bytes as characters: the usual case costs no encoding.
    if text.isascii():
        size = len(text)
    else:
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise MalformedPacket("a topic or filter is not UTF-8 [MQTT-1.5.3-1]") from None
    if size > TOPIC_BYTES_MAX:
        raise MalformedPacket(f"a topic or filter of {size} bytes [MQTT-4.7.3-3]")


def is_shared(topic_filter: str) -> bool:
    """Whether a filter is a shared subscription's, ``$share/NAME/FILTER``."""
    return topic_filter.startswith(SHARED_PREFIX)


def shared_filter(topic_filter: str) -> str:
    """What a shared subscription matches by; empty if it is not one [MQTT-4.8.2-1]."""
    _, name, wanted = [*topic_filter.split("/", 2), "", ""][:3]
    return wanted if is_shared(topic_filter) and name and not _NOT_IN_TOPIC.search(name) else ""


def within_aws_limits(topic: str) -> bool:
    """Tell whether AWS IoT Core would take this valid topic or filter."""
    prefix = _AWS_UNCOUNTED.match(topic)
    counted = topic[prefix.end() :] if prefix else topic
    return (
        counted.count("/") <= AWS_TOPIC_SLASHES_MAX and len(counted.encode()) <= AWS_TOPIC_BYTES_MAX
    )


def matches(topic_filter: str, topic: str, *, dialect: Dialect = "aws") -> bool:
    """Tell whether a valid filter matches a valid topic."""
    if topic[0] == "$" and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for position, level in enumerate(wanted):
        if level == "#":
            return position < len(levels) or dialect == "standard"
        if position == len(levels) or level not in ("+", levels[position]):
            return False
    return len(wanted) == len(levels)


class _Branch(Generic[T]):
    """The filters that share their levels up to here, and the values of the one that ends here."""

    __slots__ = ("children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Branch[T]] = {}
        # A dict is a set that keeps its order: equal runs deliver in equal order.
        self.values: dict[T, None] = {}


class TopicTree(Generic[T]):
    """Values under topic filters; a match walks the topic's levels, not the filters.

    Invariant: every branch leads to a value, so what was removed takes no room. Filters are valid
    ones; no recursion, so the depth of a filter is no danger.
    """

    __slots__ = ("_dialect", "_root")

    def __init__(self, *, dialect: Dialect = "aws") -> None:
        self._dialect = dialect
        self._root: _Branch[T] = _Branch()

    def add(self, topic_filter: str, value: T) -> None:
        """Put ``value`` under the filter; once there, adding it again changes nothing."""
        branch = self._root
        for level in topic_filter.split("/"):
            child = branch.children.get(level)
            if child is None:
                child = branch.children[level] = _Branch()
            branch = child
        branch.values[value] = None

    def remove(self, topic_filter: str, value: T) -> None:
        """Take ``value`` from under the filter; nothing happens if it is not there."""
        levels = topic_filter.split("/")
        path = [self._root]
        for level in levels:
            child = path[-1].children.get(level)
            if child is None:
                return
            path.append(child)
        path[-1].values.pop(value, None)
        for parent, level in zip(reversed(path[:-1]), reversed(levels), strict=True):
            child = parent.children[level]
            if child.values or child.children:
                return
            del parent.children[level]

    def match(self, topic: str) -> Iterator[T]:
        """Answer the values of every filter that matches; a value under two of them comes twice."""
        at_root = True
        frontier = [self._root]
        for level in topic.split("/"):
            reached: list[_Branch[T]] = []
            wildcards = not (at_root and topic[0] == "$")
            for branch in frontier:
                children = branch.children
                if wildcards and "#" in children:
                    yield from children["#"].values
                if level in children:
                    reached.append(children[level])
                if wildcards and "+" in children:
                    reached.append(children["+"])
            at_root = False
            frontier = reached
            if not frontier:
                return
        for branch in frontier:
            yield from branch.values
            if self._dialect == "standard" and "#" in branch.children:
                yield from branch.children["#"].values

    def __bool__(self) -> bool:
        return bool(self._root.children)
