"""A plan: who is there, and what is done to them when. Made from a seed, or written by hand.

A step is a verb with words behind it, as a transcript shows it and a story is written
(``verbs`` has them all). Taking steps out of a plan leaves the others as they were, which is what
minimising does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

REGIONS = ("eu", "us", "ap")
#: In turn; every fifth client has a session that lasts.
KINDS = ("device", "plain", "device", "subscriber", "plain")
#: Faults strike, and people act, from here to there; what follows is healing.
BEGIN_S, END_S = 3.5, 20.0
#: After the end every fault is undone; by then everybody must be served and all be level.
HEALED_S = 10.0
#: Whoever has a session that lasts, and came or was given something later than so long before that,
#: is waited for: gateways tell of it. Nobody is waited for longer than the second of these.
SETTLED_S, SETTLED_MAX_S = 3.0, 8.0
#: And then nobody may write anything any more.
QUIET_S = 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens at a time, in seconds from the beginning of the world."""

    at_s: float
    verb: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((f"{self.at_s:.3f}", self.verb, *self.words))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run follows from."""

    seed: int
    regions: tuple[str, ...]
    witness: bool
    gateways: int
    #: Name and kind, ``device``, ``plain`` or ``subscriber``.
    clients: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]


#: Topics that several publish to, and that keep the newest.
STATES = ("state/0", "state/1")
Make = Callable[["_Maker"], tuple[str, ...]]


class _Maker:
    """Draws the words of steps."""

    def __init__(self, chance: random.Random, regions: tuple[str, ...], sites: list[str]) -> None:
        self.chance = chance
        self.regions = regions
        self.sites = sites
        self.clients: list[str] = []
        self.subscribers: list[str] = []

    def region(self) -> str:
        return self.chance.choice(self.regions)

    def two(self) -> tuple[str, str]:
        first, second = self.chance.sample(self.sites, 2)
        return first, second

    def two_regions(self) -> tuple[str, str]:
        first, second = self.chance.sample(self.regions, 2)
        return first, second

    def seconds(self, least: float = 0.3, most: float = 6.0) -> str:
        return f"{self.chance.uniform(least, most):.2f}"

    def client(self) -> str:
        return self.chance.choice(self.clients)

    def subscriber(self) -> str:
        return self.chance.choice(self.subscribers)

    def path(self) -> str:
        return self.chance.choice(("light", "light", "room.lamp", "room.door", "room"))

    def value(self) -> str:
        """One that no other write has, with few exceptions; an array, or nothing at times."""
        number = self.chance.randrange(10_000)
        return self.chance.choice((f"v{number}", f"v{number}", f"v{number},on", "nothing"))

    def filter(self) -> str:
        one = f"fleet/{self.client()}"
        return self.chance.choice((one, one, one, "fleet/+", *STATES))


#: Verb, how often beside the others, and what it is given.
FAULTS: tuple[tuple[str, int, Make], ...] = (
    (
        "kill",
        11,
        lambda m: (
            m.region(),
            m.chance.choice(("disk-kept", "power-cut", "restored", "restored", "wiped")),
            m.seconds(0.5, 8.0),
        ),
    ),
    ("steal", 3, lambda m: (m.client(), *m.chance.sample(m.regions, 2), m.seconds(0.8, 3.0))),
    ("freeze", 3, lambda m: (m.region(), m.seconds(0.4, 7.0))),
    ("kill-gateway", 4, lambda m: (m.region(), str(m.chance.randrange(2)))),
    ("kill-services", 4, lambda m: (m.region(),)),
    ("kill-site", 2, lambda m: (m.chance.choice(m.sites), m.seconds())),
    ("restart-store", 2, lambda m: (m.region(),)),
    ("pause-services", 2, lambda m: (m.region(), m.seconds())),
    ("pause-gateway", 3, lambda m: (m.region(), str(m.chance.randrange(2)), m.seconds())),
    ("pause-site", 2, lambda m: (m.chance.choice(m.sites), m.seconds())),
    ("cut", 7, lambda m: (*m.two(), m.seconds(0.5, 9.0))),
    ("cut-one-way", 4, lambda m: (*m.two(), m.seconds(0.5, 6.0))),
    ("isolate", 4, lambda m: (m.chance.choice(m.sites), m.seconds(0.5, 9.0))),
    ("lossy", 3, lambda m: (*m.two(), f"{m.chance.uniform(0.05, 0.6):.2f}", m.seconds(2, 9))),
    ("double", 2, lambda m: (*m.two(), f"{m.chance.uniform(0.1, 0.9):.2f}", m.seconds(2, 9))),
    ("slow", 3, lambda m: (*m.two(), f"{m.chance.uniform(0.05, 0.8):.2f}", m.seconds(2, 9))),
    ("cut-client", 3, lambda m: (m.client(), m.region(), m.seconds())),
    ("fill-disk", 2, lambda m: (m.region(), m.seconds(0.3, 5.0))),
    ("slow-disk", 2, lambda m: (m.region(), f"{m.chance.uniform(0.01, 0.4):.2f}", m.seconds())),
    ("jump-clock", 3, lambda m: (m.region(), str(m.chance.randint(-7_200_000, 7_200_000)))),
    ("drift-clock", 2, lambda m: (m.region(), f"{m.chance.uniform(0.99, 1.01):.4f}")),
    ("back-up", 8, lambda m: (m.region(),)),
)
ACTS: tuple[tuple[str, int, Make], ...] = (
    ("publish", 60, lambda m: (m.client(),)),
    ("publish-same", 8, lambda m: (m.client(),)),
    ("publish-local", 6, lambda m: (m.client(),)),
    ("publish-many", 1, lambda m: (m.client(), str(m.chance.randint(40, 150)))),
    ("retain", 7, lambda m: (m.client(), str(m.chance.randrange(len(STATES))))),
    ("subscribe", 5, lambda m: (m.subscriber(), m.filter())),
    ("unsubscribe", 1, lambda m: (m.subscriber(), m.filter())),
    ("leave", 4, lambda m: (m.subscriber(), m.seconds(0.3, 5.0))),
    ("wander", 4, lambda m: (m.subscriber(), m.region())),
    ("begin-anew", 1, lambda m: (m.subscriber(),)),
    ("cut-client", 3, lambda m: (m.subscriber(), m.region(), m.seconds())),
    (
        "set",
        12,
        lambda m: (
            m.client(),
            f"a{m.chance.randrange(2)}",
            f"v{m.chance.randrange(9)}",
            m.region(),
        ),
    ),
    ("set-everywhere", 5, lambda m: (m.client(), "a0", f"w{m.chance.randrange(9)}")),
    ("delete", 2, lambda m: (m.client(), m.region())),
    ("revoke", 5, lambda m: (m.client(), m.region())),
    ("deactivate", 2, lambda m: (m.client(), m.region())),
    ("activate", 4, lambda m: (m.client(), m.region())),
    ("detach", 1, lambda m: (m.client(), m.region())),
    ("attach", 2, lambda m: (m.client(), m.region())),
    ("contest", 2, lambda m: (m.client(), *m.chance.sample(m.regions, 2))),
    ("move", 2, lambda m: (m.region(), m.chance.choice(m.sites))),
    ("pin", 1, lambda m: (m.region(), m.chance.choice(m.sites), m.seconds(1.0, 6.0))),
    ("hold", 1, lambda m: (m.chance.choice(m.sites), m.seconds(1.0, 6.0))),
)


#: What is done to shadows, drawn apart: who has none does not notice them.
SHADOW_ACTS: tuple[tuple[str, int, Make], ...] = (
    ("want", 10, lambda m: (m.client(), m.path(), m.value(), m.region())),
    ("want-everywhere", 4, lambda m: (m.client(), m.path(), m.value())),
    (
        "want-and-kill",
        8,
        lambda m: (m.client(), m.path(), m.value(), *m.two_regions(), m.seconds(0.1, 0.9)),
    ),
    ("report", 6, lambda m: (m.client(), m.path(), m.value())),
    ("report-checked", 2, lambda m: (m.client(), m.path(), m.value())),
    ("get-shadow", 2, lambda m: (m.client(),)),
    ("forget", 1, lambda m: (m.client(),)),
    ("delete-shadow", 1, lambda m: (m.client(), m.region())),
    ("cut-client", 2, lambda m: (m.client(), m.region(), m.seconds())),
)
SHADOW_CLIENTS = ("shadow-0", "shadow-1")


def make_plan(seed: int, *, regions: int = 3, clients: int = 10) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"plan {seed}")
    names = REGIONS[:regions]
    sites = [*names, "witness"]
    maker = _Maker(chance, names, sites)
    kinds = [KINDS[number % len(KINDS)] for number in range(clients)]
    made = tuple((f"{kind}-{number}", kind) for number, kind in enumerate(kinds))
    maker.clients = [name for name, _ in made]
    maker.subscribers = [name for name, kind in made if kind == "subscriber"]
    faults = chance.randint(3, 14)
    steps = _draw(maker, FAULTS, faults) + _draw(maker, ACTS, chance.randint(90, 180))
    for client in maker.subscribers:
        steps += [Step(BEGIN_S, "subscribe", (client, maker.filter())) for _ in range(2)]
    steps += _shadow_steps(seed, names, sites)
    made += tuple((name, "shadow") for name in SHADOW_CLIENTS)
    return Plan(seed, names, True, 2, made, tuple(sorted(steps, key=lambda each: each.at_s)))


def _shadow_steps(seed: int, regions: tuple[str, ...], sites: list[str]) -> list[Step]:
    maker = _Maker(random.Random(f"shadows {seed}"), regions, sites)
    maker.clients = list(SHADOW_CLIENTS)
    return _draw(maker, SHADOW_ACTS, maker.chance.randint(6, 14))


def _draw(maker: _Maker, verbs: tuple[tuple[str, int, Make], ...], count: int) -> list[Step]:
    chance = maker.chance
    weights = [weight for _, weight, _ in verbs]
    steps = []
    for verb, _, make in chance.choices(verbs, weights, k=count):
        at_s = round(chance.uniform(BEGIN_S, END_S), 3)
        steps.append(Step(at_s, verb, make(maker)))
    return steps
