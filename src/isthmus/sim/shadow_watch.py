"""What the watch knows of shadows: every write, who was told what, and what arrived where.

What a shadow is to show the naive one says (``naive_shadow``), of the writes that are in its
version vector.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from isthmus.core import shadows
from isthmus.core.item import Item
from isthmus.core.shadow_tree import Mark, ShadowTree
from isthmus.sim.naive_shadow import DELETES, Naive, Wrote
from isthmus.sim.shadow_client import ShadowClient, parts
from isthmus.sim.violation import fail
from isthmus.wire.packets import Publish

if TYPE_CHECKING:
    from isthmus.sim.connection import Connection
    from isthmus.sim.system import System


class Proposed(NamedTuple):
    """A version that a region's API wants to write."""

    item: Item
    #: Of the request: what it merges in, or DELETES; and how it is told apart.
    state: Any
    token: str


class Arrived(NamedTuple):
    """How a region's disk came to the version that it has."""

    at_s: float
    #: By a write there, and not by a join.
    is_own: bool


@dataclass(slots=True)
class Heard:
    """What one connection was told of shadows."""

    connection: Connection
    #: True time; never until the client knows that it is subscribed.
    subscribed_s: float = math.inf
    #: By thing, "delta" or "documents", and version: every state that was told.
    told: defaultdict[tuple[str, str, int], list[Any]] = field(
        default_factory=lambda: defaultdict(list)
    )


class ShadowWatch:
    """Follows the shadows of one run; what can be said only at the end is in the verdict."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._world = system.world
        self._proposed: dict[Mark, Proposed] = {}
        #: By key and dot: what is on a disk, or was.
        self.writes: defaultdict[str, dict[str, tuple[Wrote, Item]]] = defaultdict(dict)
        #: By region and key.
        self.arrived: dict[tuple[str, str], Arrived] = {}
        #: Tokens of updates and deletions that an API has answered.
        self._answered: set[str] = set()
        #: By region, key and version: the token of the update that was answered so.
        self._versions: dict[tuple[str, str, int], str] = {}
        #: By client, of its newest connection.
        self.heard: dict[str, Heard] = {}

    # Regions

    def proposed(self, before: Item, item: Item, payload: bytes, *, is_deletion: bool) -> None:
        """``versions-are-said-once``: an API writes, and a version that it was given is checked."""
        asked = json.loads(payload)
        version = asked.get("version")
        if version is not None and not is_deletion and version != shadows.version(before):
            text = f"{item.key} is version {shadows.version(before)}, and {version} was asked for"
            fail("versions-are-said-once", text)
        state = DELETES if is_deletion else asked["state"]
        self._proposed[_newest(item)] = Proposed(item, state, asked.get("clientToken", ""))

    def synced(self, region: str, before: Item | None, item: Item) -> None:
        """A version has reached a disk."""
        if before is not None and before.vv == item.vv:
            return
        mark = _newest(item)
        found = self._proposed.get(mark)
        is_own = found is not None and mark[2] == region and found.item.vv == item.vv
        self.arrived[region, item.key] = Arrived(self._world.now_s, is_own)
        if is_own and found is not None:
            dot = _dot(mark)
            self.writes[item.key][dot] = Wrote(mark, dot, found.state), item

    def destroyed(self, region: str) -> None:
        """A disk was replaced: which versions were said there nobody knows any more."""
        for at in [at for at in self.arrived if at[0] == region]:
            del self.arrived[at]
        for said in [said for said in self._versions if said[0] == region]:
            del self._versions[said]

    def answered(self, region: str, item: Item, payload: bytes) -> None:
        """``versions-are-said-once``: a region answers two updates with two versions."""
        asked = json.loads(payload)
        token = asked.get("clientToken", "")
        self._answered.add(token)
        if "state" not in asked:
            return
        said = (region, item.key, shadows.version(item))
        if self._versions.setdefault(said, token) != token:
            fail(
                "versions-are-said-once",
                f"{region} answers two updates of {item.key} with {said[2]}",
            )

    # Clients

    def subscribed(self, client: ShadowClient, connection: Connection) -> None:
        """The client knows that it hears of every shadow from now on."""
        self._of(client, connection).subscribed_s = self._world.now_s

    def given(self, client: ShadowClient, connection: Connection, message: Publish) -> None:
        """``no-answer-before-its-promise``, of what is told to be accepted."""
        thing, what, last = parts(message.topic)
        body = json.loads(message.payload)
        self._world.reached[f"shadow-{what}-{last}"] += 1
        token = body.get("clientToken", "")
        if last == "accepted" and what != "get" and token not in self._answered:
            fail(
                "no-answer-before-its-promise", f"{client.name} hears of {token}, which nobody kept"
            )
        if last == "delta":
            at = (thing, last, body["version"])
            self._of(client, connection).told[at].append(body["state"])
        if last == "documents":
            at = (thing, last, body["current"]["version"])
            self._of(client, connection).told[at].append(body["current"]["state"])

    def _of(self, client: ShadowClient, connection: Connection) -> Heard:
        heard = self.heard.get(client.name)
        if heard is None or heard.connection is not connection:
            heard = self.heard[client.name] = Heard(connection)
        return heard

    # At the end

    def naive(self, item: Item) -> Naive:
        """What a region would hold that had taken the writes of a version in order."""
        return Naive([wrote for wrote, _ in self.writes_in(item)])

    def writes_in(self, item: Item) -> Iterator[tuple[Wrote, Item]]:
        """Every write that a version has in it, and the version that it made."""
        known = self.writes[item.key]
        for actor, count in sorted(item.vv.items()):
            for number in range(1, count + 1):
                dot = f"{actor}:{number}"
                if dot not in known:
                    fail("a-dot-is-one-write", f"{item.key} has {dot}, which nobody wrote")
                yield known[dot]


def tree(item: Item) -> ShadowTree:
    """The bare document."""
    found = item.fields.get("document")
    assert isinstance(found, ShadowTree)
    return found


def _newest(item: Item) -> Mark:
    """Of a version as it is written: of the write itself."""
    return tree(item).root.newest


def _dot(mark: Mark) -> str:
    _, _, region, incarnation, count = mark
    return f"{region}.{incarnation}:{count}"
