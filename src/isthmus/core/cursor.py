"""Where a region stands in a peer's stream, and whether that place still exists.

A cursor is (incarnation of the source, sequence, id of the message there). Sequences alone prove
nothing: a stream restored from an older disk has the same name and re-uses them
(docs/correctness.md, section 2). The source checks a cursor before anybody pulls by it, so *no
cursor skips*.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last message of a peer's stream that is applied here; sequence 0 for none."""

    incarnation: str = ""
    sequence: int = 0
    message_id: str = ""


def message_id(subject: str, payload: bytes) -> str:
    """A short id of a stream message, derived from its content."""
    digest = hashlib.blake2b(subject.encode() + b"\0", digest_size=8)
    digest.update(payload)
    return digest.hexdigest()


def still_holds(cursor: Cursor, incarnation: str, found_id: str | None) -> bool:
    """Whether the source still is where the cursor left it.

    ``found_id`` is the id of the message at the cursor's sequence, None where there is none. In
    a compacted log a newer version may have replaced it; that cannot be told from a restored disk,
    so the source starts such a peer from the beginning: joins make that safe, if not free.
    """
    if cursor.incarnation != incarnation:
        return False
    return cursor.sequence == 0 or found_id == cursor.message_id


def resume_after(cursor: Cursor, incarnation: str, found_id: str | None) -> int:
    """The sequence after which a peer continues: its cursor's, or 0."""
    return cursor.sequence if still_holds(cursor, incarnation, found_id) else 0


def keeps_incarnation(
    held: str, cursors: list[tuple[Cursor, str | None]], *, all_answered: bool
) -> bool:
    """Whether a region that starts goes on under its old incarnation.

    Only if every peer answered, and every cursor that they hold on it still holds. One peer's word
    is not enough: another one may have pulled what this region's disk has forgotten since.
    """
    if not held or not all_answered:
        return False
    return all(
        cursor.sequence == 0 or still_holds(cursor, held, found) for cursor, found in cursors
    )
