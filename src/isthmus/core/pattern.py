"""Patterns with wildcards and variables, and how they are compared with text.

``*`` is any run of characters, slashes included, ``?`` exactly one; MQTT's ``+`` and ``#`` are
plain characters. The invariant: whatever text a device makes up, comparing it takes at most time
proportional to its length times the pattern's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

#: A longer value is not substituted for a variable.
VARIABLE_CHARACTERS_MAX = 1024
_UNSAFE = frozenset("*$+?#")


class Wildcard(Enum):
    """``*`` is any run of characters, slashes included; ``?`` is exactly one."""

    ANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Variable:
    """A place where the session's own value goes."""

    name: str


#: Text with wildcards and variables; ``+`` and ``#`` are plain characters in policies.
Pattern = tuple[str | Wildcard | Variable, ...]


def wildcards(text: str) -> tuple[str | Wildcard, ...]:
    pieces = (piece for piece in re.split(r"([*?])", text) if piece)
    return tuple(Wildcard(piece) if piece in ("*", "?") else piece for piece in pieces)


@dataclass(frozen=True, slots=True)
class Matcher:
    """Patterns without variables, grouped by how cheaply they are compared."""

    literals: frozenset[str]
    prefixes: tuple[str, ...]
    globs: tuple[re.Pattern[str], ...]

    def matches(self, text: str) -> bool:
        """Whether any of the patterns is the whole of the text."""
        return (
            text in self.literals
            or text.startswith(self.prefixes)
            or (bool(self.globs) and any(glob.fullmatch(text) for glob in self.globs))
        )


def matcher(patterns: Iterable[Sequence[str | Wildcard]]) -> Matcher:
    """A matcher of any of these patterns."""
    literals, prefixes, globs = set(), [], []
    for pattern in patterns:
        text = "".join(token for token in pattern if isinstance(token, str))
        wild = [token for token in pattern if isinstance(token, Wildcard)]
        if not wild:
            literals.add(text)
        elif wild == [Wildcard.ANY] and pattern[-1] is Wildcard.ANY:
            prefixes.append(text)
        else:
            globs.append(_glob(pattern))
    return Matcher(frozenset(literals), tuple(prefixes), tuple(globs))


def _glob(pattern: Sequence[str | Wildcard]) -> re.Pattern[str]:
    """A regular expression that takes the leftmost place for every part and never goes back.

    For globs the leftmost place is always as good as any later one, so the groups are atomic:
    no topic that a device makes up can cost more than its length times the pattern's.
    """
    parts = [""]
    for token in pattern:
        if token is Wildcard.ANY:
            parts.append("")
        else:
            parts[-1] += re.escape(token) if isinstance(token, str) else "."
    middle = "".join(f"(?>.*?{part})" for part in parts[1:-1] if part)
    tail = f".*{parts[-1]}" if len(parts) > 1 else ""
    return re.compile(parts[0] + middle + tail, re.DOTALL)


def resolve(
    pattern: Pattern, value_of: Callable[[str], str | None]
) -> tuple[str | Wildcard, ...] | None:
    """The pattern with its variables replaced; None where one of them cannot be."""
    resolved: list[str | Wildcard] = []
    for token in pattern:
        if isinstance(token, Variable):
            value = value_of(token.name)
            if value is None or len(value) > VARIABLE_CHARACTERS_MAX or _UNSAFE & set(value):
                return None
            token = value
        resolved.append(token)
    return tuple(resolved)
