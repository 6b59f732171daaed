"""What regions that are cut off from each other do to the same shadows, from the seed alone.

Pure: a region's updates come from the seed and its name, so every run of a plan asks for the same
ones in the same order. How many of them are accepted in the time is for the machine to say.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from isthmus.core.shadow_request import DESIRED, REPORTED
from isthmus.core.shadows import key
from isthmus.drill.scenario import Shadows

#: A leaf's names, from its section on.
Leaf = tuple[str, ...]
#: Every leaf before the cut.
FIRST = "first"
#: Of the leaves that are updated, those that are taken away.
TAKEN_AWAY = 0.15
#: Of a shadow's leaves, those that one update says something of, at most.
SHARE_OF_LEAVES = 0.5


class Update(NamedTuple):
    """What one request says; None takes a leaf away."""

    #: Of the shadow, as items have it: its thing and its name.
    key: str
    leaves: Mapping[Leaf, Any]

    def state(self) -> dict[str, Any]:
        """As the request has it."""
        state: dict[str, Any] = {}
        for (*above, name), value in self.leaves.items():
            section = state
            for each in above:
                section = section.setdefault(each, {})
            section[name] = value
        return state


def things(shadows: Shadows) -> list[str]:
    """Whose shadows are updated; nobody has registered them, and each has its client."""
    return [f"split-{number:02}" for number in range(shadows.writers)]


def keys(shadows: Shadows) -> list[str]:
    """Of all shadows: named ones, shared out among the things."""
    of = things(shadows)
    return [key(of[number % len(of)], f"s{number:04}") for number in range(shadows.count)]


def leaves(shadows: Shadows) -> list[Leaf]:
    """The leaves of every shadow: in both sections, and half of them in an object there."""
    return [
        (
            DESIRED if number % 2 else REPORTED,
            *(("part",) if number % 4 > 1 else ()),
            f"leaf-{number:02}",
        )
        for number in range(shadows.leaves)
    ]


def first(shadows: Shadows) -> Iterator[Update]:
    """What makes the shadows, with all their leaves."""
    said = dict.fromkeys(leaves(shadows), FIRST)
    return (Update(each, said) for each in keys(shadows))


def updates(shadows: Shadows, seed: int, region: str) -> Iterator[Update]:
    """A region's updates, without end: shadow by shadow in an order of its own, round by round."""
    rng = random.Random(f"{seed}/{region}")
    order, of_each, number = keys(shadows), leaves(shadows), 0
    most = max(1, round(shadows.leaves * SHARE_OF_LEAVES))
    while True:
        rng.shuffle(order)
        for shadow in order:
            number += 1
            chosen = rng.sample(of_each, rng.randint(1, most))
            # No two writes say the same, but for those that take away.
            value = f"{region}-{number}"
            yield Update(
                shadow, {leaf: None if rng.random() < TAKEN_AWAY else value for leaf in chosen}
            )
