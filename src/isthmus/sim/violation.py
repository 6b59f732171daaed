"""A finding: a promise that does not hold."""

from __future__ import annotations

from typing import NoReturn


class Violation(Exception):
    """A promise does not hold."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.text = text


def fail(invariant: str, text: str) -> NoReturn:
    """Say that a promise does not hold."""
    raise Violation(invariant, text)
