"""Whether this site's nameserver may say anything yet.

Invariant: an older plan never replaces a newer one, not even by a restart or a pause. Until a
majority of the sites was heard again, or a grace time is over, the nameserver says that it cannot
say, and whoever asks turns to the next site at once.
"""

from __future__ import annotations

from collections.abc import Collection

from isthmus.core.health import majority_of
from isthmus.core.routing import Rules


class Answering:
    """One nameserver's leave to answer, from a start or a pause on."""

    def __init__(self, grace_s: float, now_s: float) -> None:
        #: A majority of the sites was heard since the start or the last pause.
        self.contacted = False
        self._grace_s = grace_s
        self._grace_until_s = now_s + grace_s

    def pause(self, now_s: float) -> None:
        """Begin anew: the world has moved on while this process was asleep."""
        self.contacted = False
        self._grace_until_s = now_s + self._grace_s

    def may_answer(self, sites_heard: Collection[str], rules: Rules, now_s: float) -> bool:
        """Say whether the route that is known now may be served; ``sites_heard`` includes us."""
        if len(set(sites_heard) & set(rules.sites)) >= majority_of(rules.sites):
            self.contacted = True
        return self.contacted or now_s >= self._grace_until_s
