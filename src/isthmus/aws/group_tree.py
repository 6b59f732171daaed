"""Groups and things by their way down from a group, in an order that a page can go on in.

A way is the names of the groups that are passed, and a group comes before those under it. So it is
enough to know the way at which a page ended: nothing that comes before is read again.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.aws.context import Context
from isthmus.core import memberships, thing_groups
from isthmus.core.item import Item
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.registry import THING
from isthmus.core.thing_groups import THING_GROUP

Way = tuple[str, ...]


def children(
    context: Context, group: Item, after: str | None = None, prefix: str = ""
) -> Iterator[str]:
    """The groups right under a group, by name."""
    return context.of_lives(thing_groups.LISTED_BY_PARENT, group, after=after, prefix=prefix)


def below(
    context: Context, group: Item, after: Way = (), passed: frozenset[str] = frozenset()
) -> Iterator[Way]:
    """The ways to all groups under a group that come behind this one."""
    # Like thing_groups.above, not to be led round by items of another make.
    passed |= {group.key}
    if after and _is_child(context, group, after[0]):
        for way in below(context, context.get(THING_GROUP, after[0]), after[1:], passed):
            yield (after[0], *way)
    for name in children(context, group, after[0] if after else None):
        if name not in passed:
            yield (name,)
            for way in below(context, context.get(THING_GROUP, name), (), passed):
                yield (name, *way)


def _is_child(context: Context, group: Item, name: str) -> bool:
    named = thing_groups.parent(context.get(THING_GROUP, name))
    return named is not None and named.holds_for(group)


def above(context: Context, group: Item) -> list[Item]:
    """The groups that a group is in, from the root to its parent."""
    return thing_groups.above(group, lambda name: context.get(THING_GROUP, name))


def groups_of(context: Context, thing: Item) -> list[Item]:
    """The groups that a thing is in, by name."""
    held = memberships.groups(context.get(MEMBERSHIPS, thing.key), thing)
    found = ((each, context.get(THING_GROUP, each.name)) for each in held)
    return [group for each, group in found if each.holds_for(group)]


def things(context: Context, group: Item, after: str | None = None) -> Iterator[str]:
    """The things right in a group, by name."""
    for name in context.of_lives(memberships.LISTED_BY_GROUP, group, after=after):
        if group.key in (each.key for each in groups_of(context, context.get(THING, name))):
            yield name


def things_below(
    context: Context, group: Item, after: tuple[Way, str] | None = None
) -> Iterator[tuple[Way, str]]:
    """The things in a group and in all under it, each once, behind one of them."""
    behind, name = after or ((), None)
    yield from _first_met(context, group, behind, name)
    for way in below(context, group, behind):
        yield from _first_met(context, group, way, None)


def _last(context: Context, group: Item, way: Way) -> Item:
    return context.get(THING_GROUP, way[-1]) if way else group


def _first_met(
    context: Context, group: Item, way: Way, after: str | None
) -> Iterator[tuple[Way, str]]:
    """The things at the end of a way that are not met on an earlier one.

    No thing is in two groups of a hierarchy unless two regions put it there at once.
    """
    for name in things(context, _last(context, group, way), after):
        held = groups_of(context, context.get(THING, name))
        ways = [found for each in held if (found := way_to(context, group, each)) is not None]
        if ways and way == min(ways):
            yield way, name


def way_to(context: Context, group: Item, other: Item) -> Way | None:
    """The way from a group to another one; None where there is none."""
    names = [each.key for each in (*above(context, other), other)]
    return tuple(names[names.index(group.key) + 1 :]) if group.key in names else None
