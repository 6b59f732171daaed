"""Sessions whose gateway died: that they ended, and what of them is still to be done.

A gateway tells how a connection of it ended, and publishes its will. When the process or its region
dies, somebody else does both, after a *lease*: who comes back within it has not left. Of the
survivors of a region one acts: the first by name of those that it hears. In a partition each side
takes the other for dead, and wills may be published twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isthmus.core.session_keeper import Given
from isthmus.core.sessions import Left, State

#: A gateway that lives publishes a will that waited by itself, a little after it is due at most.
GRACE_MS = 3_000


def place_of(state: State) -> tuple[str, str] | None:
    """Where the client of a session is connected: at which region's gateway process."""
    if state.owner is None or state.left is not None:
        return None
    return state.owner.region, state.owner.gateway


def ended(state: State, given: Given, now_ms: int) -> Left | None:
    """How the connection of a gateway that died has ended; None if that is known."""
    owner = state.owner
    if owner is None or state.left is not None:
        return None
    will_at_ms = None
    if owner.will is not None:
        will_at_ms = now_ms + min(owner.will.delay_s, owner.expiry_s) * 1000
    places, owed = given
    return Left(
        at_ms=now_ms, expiry_s=owner.expiry_s, places=places, owed=owed, will_at_ms=will_at_ms
    )


def is_will_due(state: State, *, gateway_lives: bool, now_ms: int) -> bool:
    """Whether somebody must publish the will of a client that has left."""
    left, owner = state.left, state.owner
    if left is None or left.will_at_ms is None or owner is None or owner.will is None:
        return False
    return now_ms >= left.will_at_ms + (GRACE_MS if gateway_lives else 0)


def acts_for(own: str, region: str, regions: Sequence[str], hears: Callable[[str], bool]) -> bool:
    """Whether it is this region that ends the sessions of a region's gateways."""
    if region == own:
        return True
    survivors = sorted(each for each in regions if each == own or hears(each))
    return region not in survivors and survivors[0] == own
