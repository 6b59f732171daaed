"""Items that batches carry: what follows from what clients do, and is promised with their messages.

A gateway writes no item of the log by itself. What its clients change, the retained message of a
topic or a session, goes as an item beside the messages of a batch: stored with them, confirmed with
them, and joined into its own log by every region that has the batch. All of them join the same
bytes, so nobody writes twice.
"""

from __future__ import annotations

from isthmus.core import command_executions
from isthmus.core import item as items
from isthmus.core.command_executions import COMMAND_EXECUTION
from isthmus.core.item import Item
from isthmus.core.retained import RETAINED
from isthmus.core.sessions import PROGRESS, SESSION
from isthmus.errors import InputError

#: Whoever may write batches may write these kinds and no other: rights are never among them.
CARRIED = frozenset({RETAINED, SESSION, PROGRESS, COMMAND_EXECUTION})


def read(raw: bytes) -> Item:
    """Read an item of a batch; raises InputError for one that no batch may carry."""
    item = items.decode(raw)
    if item.kind not in CARRIED:
        raise InputError(f"a batch must not carry a {item.kind[:80]!r}")
    if item.kind == COMMAND_EXECUTION and not command_executions.may_be_carried(item):
        raise InputError("a batch says of an execution that it was delivered, and nothing else")
    return item
