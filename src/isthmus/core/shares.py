"""Shared subscriptions: of each group one member gets a message, chosen by whoever takes it in.

The choice is stored with the message (``core.batch.Message``). So nobody chooses twice: every
gateway, of any region, and whoever reads the bus later for a member that returns, finds there whose
the message is. Whoever sees that the member it was chosen for is gone for good *hands it over*: the
message is stored once more, for another member of that group and nobody else.

A group is ``$share/NAME/FILTER``, of the clients of one dialect. Its members are known from their
sessions, which are items (``core.sessions``): a client that shares has one even if its session ends
with its connection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from isthmus.core.batch import Share
from isthmus.core.dialect import DIALECTS
from isthmus.core.sessions import State
from isthmus.wire.topics import Dialect, TopicTree, is_shared, shared_filter

#: A random index below the number that it is given.
Pick = Callable[[int], int]


class Groups:
    """The members of every group, as far as this process knows of sessions."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._trees: dict[Dialect, TopicTree[str]] = {
            name: TopicTree(dialect=name) for name in DIALECTS
        }
        #: By dialect and filter: the members' sessions by client.
        self._members: dict[tuple[Dialect, str], dict[str, State]] = {}
        self._groups_of: dict[str, tuple[tuple[Dialect, str], ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._members)

    def knows(self, client: str) -> bool:
        """Whether a client is a member of any group."""
        return client in self._groups_of

    def note(self, client: str, state: State) -> None:
        """A session as it is now."""
        for group in self._groups_of.pop(client, ()):
            members = self._members[group]
            del members[client]
            if not members:
                del self._members[group]
                self._trees[group[0]].remove(shared_filter(group[1]), group[1])
        owner = state.owner
        if owner is None or (state.left is not None and not state.left.expiry_s):
            return
        groups = tuple((owner.dialect, each) for each in state.filters if is_shared(each))
        for group in groups:
            self._members.setdefault(group, {})[client] = state
            self._trees[group[0]].add(shared_filter(group[1]), group[1])
        if groups:
            self._groups_of[client] = groups

    def choose(
        self, topic: str, *, is_everywhere: bool, now_ms: int, pick: Pick
    ) -> tuple[Share, ...]:
        """Whose a message is, of every group that wants it."""
        found = []
        for dialect, tree in self._trees.items():
            for topic_filter in tree.match(topic) if tree else ():
                group = (dialect, topic_filter)
                chosen = self._choose(group, (), is_everywhere, now_ms, pick)
                found += [chosen] if chosen else []
        return tuple(found)

    def choose_again(
        self, share: Share, *, is_everywhere: bool, now_ms: int, pick: Pick
    ) -> Share | None:
        """Whose a message is in place of a member that is gone; None if nobody is left."""
        for dialect in DIALECTS:
            group = (dialect, share.topic_filter)
            chosen = self._choose(group, (share.client,), is_everywhere, now_ms, pick)
            if chosen is not None:
                return chosen
        return None

    def _choose(
        self,
        group: tuple[Dialect, str],
        without: Collection[str],
        is_everywhere: bool,
        now_ms: int,
        pick: Pick,
    ) -> Share | None:
        """Of those who are connected here; or elsewhere, if messages go there; or will return."""
        members = self._members.get(group, {})
        here, elsewhere, away = [], [], []
        for client, state in members.items():
            if client in without or state.owner is None:
                continue
            if state.left is not None:
                away += [] if state.is_over(now_ms) else [client]
            elif state.owner.region == self._region:
                here.append(client)
            elif is_everywhere:
                elsewhere.append(client)
        candidates = here or elsewhere or away
        return Share(candidates[pick(len(candidates))], group[1]) if candidates else None
