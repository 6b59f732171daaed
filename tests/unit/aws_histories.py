"""A naive account of what regions were asked, which knows nothing of lattices.

It keeps every write with what its region had seen, and says from these sets alone what a region is
to answer. Times are unique, so that of two writes one is the later.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Name = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Done:
    """One write."""

    at: Name
    time: int
    seen: frozenset[Done]
    #: "create" begins a life, "delete" ends those that were seen; anything else only writes.
    what: str = "write"
    values: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Named:
    """What is said of another item: its name, and those of its lives that were seen."""

    at: Name
    lives: frozenset[Done]


class Account:
    """What follows from what one region has seen."""

    def __init__(self, seen: frozenset[Done] = frozenset()) -> None:
        self.seen = seen

    def here(self, at: Name) -> list[Done]:
        return [each for each in self.seen if each.at == at]

    def lives(self, at: Name) -> frozenset[Done]:
        here = self.here(at)
        ends = [each for each in here if each.what == "delete"]
        begun = [each for each in here if each.what == "create"]
        return frozenset(each for each in begun if not any(each in end.seen for end in ends))

    def named(self, at: Name) -> Named:
        return Named(at, self.lives(at))

    def holds(self, named: Named | None) -> bool:
        return named is not None and bool(named.lives & self.lives(named.at))

    def registers(self, at: Name) -> dict:
        """The latest of each register since the earliest life, void references left out."""
        alive = self.lives(at)
        found: dict = {}
        for each in sorted(self.here(at), key=lambda each: each.time):
            if alive and each.time >= min(life.time for life in alive):
                found |= each.values
        return {
            name: value.at[1] if isinstance(value, Named) else value
            for name, value in found.items()
            if (self.holds(value) if isinstance(value, Named) else value is not None)
        }

    def attributes(self, thing: str) -> dict[str, str]:
        found = self.registers(("thing", thing))
        return {name[2:]: value for name, value in found.items() if name.startswith("a:")}

    # Sets of entries, of which those that are seen can be removed

    def entries(self, at: Name, path: str) -> list[Done]:
        """Additions that no later write of the same path has seen."""
        here = [each for each in self.here(at) if path in each.values]
        return [
            each
            for each in here
            if each.values[path] and not any(each in later.seen for later in here)
        ]

    def holding(self, at: Name, path: str) -> list[Done]:
        """Those whose ends all live still."""
        return [each for each in self.entries(at, path) if all(map(self.holds, each.values[path]))]

    def is_member(self, thing: str, group: str) -> bool:
        return bool(self.holding(("memberships", thing), group))

    def is_attached(self, thing: str, certificate: str) -> bool:
        at = ("attachment", f"{thing} {certificate}")
        detaches = [each for each in self.here(at) if not each.values["ends"]]
        return any(
            all(each in attach.seen for each in detaches) for attach in self.holding(at, "ends")
        )

    # Groups

    def above(self, group: str) -> list[str]:
        """From the root to the parent, as the earliest life says."""
        alive = self.lives(("group", group))
        if not alive:
            return []
        parent = min(alive, key=lambda each: each.time).values.get("parent")
        if not self.holds(parent):
            return []
        return [*self.above(parent.at[1]), parent.at[1]]
