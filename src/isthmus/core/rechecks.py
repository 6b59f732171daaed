"""Whom a gateway has to ask again what they may do, as items change under them.

A change that names its principals is about those few, and they come first. Of a group, or a policy
of many, nobody counts who has it: it may be a fleet, of which few are here. Then everybody who is
here is asked, at whatever pace the gateway takes them.

Who is here and not due was asked after the last change that may be about him was applied. Changes
that come meanwhile put back at the end who was asked already, and leave the others in their places:
however many come, each is asked within one round.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from isthmus.core.view import Concerned

T = TypeVar("T", bound=Hashable)


class Rechecks(Generic[T]):
    """Connections by principal, and those of them that are due."""

    def __init__(self) -> None:
        self._here: dict[str, dict[T, None]] = {}
        self._due: OrderedDict[T, None] = OrderedDict()

    def __len__(self) -> int:
        """How many are due."""
        return len(self._due)

    def came(self, principal: str, connection: T) -> None:
        """One is here that was let in by the view as it is now."""
        self._here.setdefault(principal, {})[connection] = None

    def went(self, principal: str, connection: T) -> None:
        here = self._here.get(principal)
        if here is None or connection not in here:
            return
        del here[connection]
        if not here:
            del self._here[principal]
        self._due.pop(connection, None)

    def changed(self, concerned: Concerned) -> None:
        """Have those asked whose rights may be others by what the view has applied."""
        if concerned.is_anybody:
            for here in self._here.values():
                for connection in here:
                    self._due[connection] = None
        for principal in reversed(concerned.principals):
            for connection in self._here.get(principal, ()):
                self._due[connection] = None
                self._due.move_to_end(connection, last=False)

    def next(self) -> T:
        """Take the next one that is due: it is to be asked before anything else is applied."""
        return self._due.popitem(last=False)[0]
