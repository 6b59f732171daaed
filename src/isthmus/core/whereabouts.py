"""Which gateway process has which clients: what is to be done for them when it dies."""

from __future__ import annotations


class Whereabouts:
    """Which clients are connected at which gateway process, as far as is known."""

    def __init__(self) -> None:
        #: By region and gateway; none of them is empty.
        self.clients: dict[tuple[str, str], set[str]] = {}
        self._place: dict[str, tuple[str, str]] = {}

    def note(self, client: str, place: tuple[str, str] | None) -> None:
        """A client is connected at a region's gateway now, or nowhere."""
        before = self._place.pop(client, None)
        if before is not None:
            self.clients[before].discard(client)
            if not self.clients[before]:
                del self.clients[before]
        if place is not None:
            self._place[client] = place
            self.clients.setdefault(place, set()).add(client)
