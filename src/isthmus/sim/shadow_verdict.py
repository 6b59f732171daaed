"""What can be said of shadows only at the end, after healing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from isthmus.core import shadows
from isthmus.core.item import Item
from isthmus.core.shadow_view import view
from isthmus.core.shadows import SHADOW
from isthmus.sim.naive_shadow import DELETES, Naive, says_only_null
from isthmus.sim.shadow_client import ShadowClient
from isthmus.sim.shadow_watch import Heard, tree
from isthmus.sim.verdict import listed
from isthmus.sim.violation import fail

if TYPE_CHECKING:
    from isthmus.sim.system import System

#: What has arrived later than this before the end may still be on its way to whom it is told.
ON_ITS_WAY_S = 1.5
#: For how long regions must have been undisturbed before a change, for all of it to be told.
CALM_S = 1.0
Path = tuple[str, ...]
NOTHING = object()


def at_the_end(system: System) -> None:
    """Shadows are what was written, and who is connected knows. Raises Violation."""
    region = system.regions_named[0]
    conflicts = listed(system, region)
    for key in system.watch.shadows.writes:
        item = system.item(region, SHADOW, key)
        if item is not None:
            _is_its_updates(system, item)
            _what_gave_way_is_listed(system, item, conflicts)
    for client in system.clients.values():
        if isinstance(client, ShadowClient) and client.is_connected:
            _was_told(system, client)


def _is_its_updates(system: System, item: Item) -> None:
    """``a-shadow-is-its-updates``: all of them, in the order of their stamps, and no others."""
    naive, shown = system.watch.shadows.naive(item), view(tree(item))
    updates = [wrote for wrote, _ in system.watch.shadows.writes_in(item) if wrote.state != DELETES]
    pairs = (
        ("state", shown.state, naive.state),
        ("metadata", shown.metadata, naive.metadata),
        ("version", shadows.version(item), len(updates)),
        ("being there", shadows.is_there(item), naive.is_there),
    )
    for what, ours, theirs in pairs:
        if ours != theirs:
            fail("a-shadow-is-its-updates", f"{item.key}: {what} is {ours}, and not {theirs}")


# Conflicts


def _what_gave_way_is_listed(
    system: System, item: Item, conflicts: set[tuple[str, str, str, str]]
) -> None:
    """``conflicts-are-listed``, of every leaf that gave way to what its writer had not seen."""
    made = sorted(system.watch.shadows.writes_in(item), key=lambda each: each[0].mark)
    promised = system.watch.promised
    for wrote, _ in made:
        actor, _, count = wrote.dot.rpartition(":")
        if (SHADOW, item.key, actor, int(count)) not in promised:
            continue
        for path, value in _leaves(wrote.state):
            said = [(other, by, _said(other.state, path)) for other, by in made]
            said = [each for each in said if each[2] is not NOTHING]
            winner, _, instead = said[-1]
            rest = [each for each in said if each[0] is not wrote]
            is_seen = any(each[1].saw(wrote.dot) for each in rest)
            is_same = any(each[2] == value for each in rest)
            if winner is wrote or is_seen or is_same:
                continue
            name = "/".join(("/document", *path))
            if (SHADOW, item.key, name, wrote.dot) not in conflicts:
                text = f"{item.key} {name}: {value} gave way to {instead} of {winner.dot} unseen"
                fail("conflicts-are-listed", text)


def _leaves(state: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """What a write puts somewhere: scalars and arrays."""
    if isinstance(state, dict):
        for name, each in state.items():
            yield from _leaves(each, (*path, name))
    elif state is not None and state != DELETES:
        yield path, state


def _said(state: Any, path: Path) -> Any:
    """What a write says of a path: NOTHING, a value, None, or that an object is there."""
    for name in path:
        if not isinstance(state, dict):
            break
        if name not in state:
            return NOTHING
        state = state[name]
    if isinstance(state, dict):
        return NOTHING if says_only_null(state) else state
    return None if state == DELETES else state


# Being told


def _was_told(system: System, client: ShadowClient) -> None:
    """``changes-are-told-where-they-arrive``: of what came from elsewhere while it was connected.

    The newest is enough; what was before a crash nobody has to tell.
    """
    watch = system.watch.shadows
    heard = watch.heard.get(client.name)
    if heard is None or heard.connection is not client.connection:
        return
    region, now_s = client.region, system.world.now_s
    for key in watch.writes:
        arrived, item = watch.arrived.get((region, key)), system.item(region, SHADOW, key)
        if arrived is None or item is None or arrived.is_own:
            continue
        if not heard.subscribed_s < arrived.at_s < now_s - ON_ITS_WAY_S:
            continue
        naive = watch.naive(item)
        if not naive.is_there:
            continue
        version = len([each for each, _ in watch.writes_in(item) if each.state != DELETES])
        _has_delta(client, heard, key, version, naive)
        if _was_calm(system, region, arrived.at_s):
            _has(client, heard, (key, "documents", version), naive.state)


def _has_delta(client: ShadowClient, heard: Heard, key: str, version: int, naive: Naive) -> None:
    if naive.delta:
        _has(client, heard, (key, "delta", version), naive.delta)


def _has(client: ShadowClient, heard: Heard, at: tuple[str, str, int], state: Any) -> None:
    if state not in heard.told[at]:
        thing, what, version = at
        text = f"{client.name} at {client.region} has heard {heard.told[at]} as {what} of {thing}"
        text = f"{text} in version {version}, and not {state}"
        fail("changes-are-told-where-they-arrive", text)
    client.world.reached[f"told-{at[1]}"] += 1


def _was_calm(system: System, region: str, at_s: float) -> bool:
    """Whether contact and services were undisturbed, so that all of a change is told."""
    reach = system.watch.reach
    since_s = max(reach.serving_since(each) for each in system.regions_named)
    for other in system.regions_named:
        if other != region:
            since_s = max(since_s, reach.link_s(region, other))
    return since_s < at_s - CALM_S
