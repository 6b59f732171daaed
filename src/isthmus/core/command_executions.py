"""Executions of commands: one command, one device, and what that device says of it.

The status is a view of what merges, the same everywhere once regions have exchanged. What a device
reports last of all beats what it reports before; of two such last words, which two regions took in
at once, the earlier one holds. Whether an execution without one has timed out the reader's clock
says, and nobody writes it: so a device may still answer late, as on AWS.

What is sent to a thing group is an execution for each thing, under an id that follows from the
group's, so that who starts it again completes it, in whichever region. The group's own is given to
nobody; what became of it is counted when that is asked.

``delivered`` is the one thing that a gateway says of it, by a batch: the device has the command,
and is never given it again. Where two regions give it at once, as each had a connection of the
device and had not heard of the other's, it is given twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from isthmus.core import command_topics, lists, lives
from isthmus.core.catalogue import Listed
from isthmus.core.command_topics import Device
from isthmus.core.commands import TIMEOUT_MAX_S
from isthmus.core.item import Item
from isthmus.core.lattice import Fields, Flag, Live
from isthmus.core.lives import Reference
from isthmus.core.registry import Writer
from isthmus.core.stamp import Stamp
from isthmus.core.table import Path
from isthmus.errors import InputError

COMMAND_EXECUTION = "command-execution"
#: Paths, followed by a command's id, and by kind and name of a device.
LISTED_BY_COMMAND = "command-execution-by-command"
LISTED_BY_TARGET = "command-execution-by-target"
#: Those of a group's things, followed by the key of the group's.
LISTED_BY_WHOLE = "command-execution-by-whole"
#: All of them, by until when they are kept.
LISTED_ENDING = "command-execution-ending"
#: By target too, what the device has not been given, by when it times out.
LISTED_PENDING = "command-execution-pending"
#: AWS's.
TIMEOUT_S = 10
#: How long an execution is kept, in milliseconds: AWS keeps it for six months.
KEPT_MS = 30 * 24 * 3600 * 1000
#: Executions that wait for one device: it is given all of them as it comes.
PENDING_MAX = 100
_DIGITS = 15

#: AWS's, of what a device may not say.
INVALID_TRANSITION, TERMINAL_STATE = "InvalidStateTransition", "TerminalStateReached"

#: What ARNs call a group.
GROUP = "thinggroup"
#: Of an id, what comes behind the group's, and how much of the thing's: AWS's are that long.
_PART, _PART_CHARACTERS = "_", 27

DELIVERED = "delivered"
#: Of a group's, that each of its things has one.
_COMPLETE = "complete"
_ASKED, _THING, _PROGRESS, _FINALS = "asked", "thing", "progress", "finals"


class ExecutionStatus(StrEnum):
    """As AWS IoT names them."""

    CREATED = "CREATED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    TIMED_OUT = "TIMED_OUT"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, as it was asked for: written once."""

    command: str
    #: ``thing``, ``client`` or ``thinggroup``, as ARNs call them, and its name.
    kind: str
    name: str
    #: The group by which a thing was meant.
    group: str = ""
    #: In base64, and what it is.
    content: str
    content_type: str
    timeout_s: int = TIMEOUT_S

    @property
    def device(self) -> Device:
        return Device(self.kind, self.name)


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a device has said of an execution."""

    status: ExecutionStatus
    reason_code: str | None = None
    reason: str = ""
    #: By name, a value under its type: ``s``, ``b`` or, in base64, ``bin``.
    result: dict[str, dict[str, str | bool]] = {}


class Waiting(NamedTuple):
    """An execution that its device has not been given: the key, and on which topic it will be."""

    key: str
    topic: str


class Execution(NamedTuple):
    """What there is to know of an execution."""

    id: str
    asked: Asked
    #: Sorts executions by when they were created.
    created: Stamp
    is_delivered: bool
    progress: Report | None
    final: Report | None
    #: When the last word came; 0 before.
    completed_ms: int
    #: The thing that was meant, in its lives; None of a client.
    thing: Reference | None = None

    def is_for(self, thing: Item) -> bool:
        """Whether it is for this thing, and not for one that had its name before.

        Of a client's there is none to compare.
        """
        return self.thing is None or self.thing.holds_for(thing)

    @property
    def deadline_ms(self) -> int:
        return self.created.ms + 1000 * self.asked.timeout_s

    @property
    def kept_until_ms(self) -> int:
        return self.created.ms + KEPT_MS

    def is_over(self, now_ms: int) -> bool:
        """Whether nothing may become of it any more: it has ended, or timed out long ago."""
        return self.final is not None or now_ms >= self.deadline_ms + 1000 * TIMEOUT_MAX_S

    @property
    def is_untouched(self) -> bool:
        """Whether nothing says that the device has it."""
        return not self.is_delivered and self.report is None

    @property
    def report(self) -> Report | None:
        """The report that counts."""
        return self.final or self.progress

    def status(self, now_ms: int) -> ExecutionStatus:
        if self.final is not None:
            return self.final.status
        if now_ms >= self.deadline_ms:
            return ExecutionStatus.TIMED_OUT
        return self.progress.status if self.progress else ExecutionStatus.CREATED


def execution_id(caller: str, token: str) -> str:
    """The id of what a caller asks for under a token: sent again, anywhere, it is the same."""
    text = hashlib.sha256("\0".join((COMMAND_EXECUTION, caller, token)).encode()).hexdigest()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))


def part_key(whole: str, thing: str) -> str:
    """The id of what a thing is sent, of a group's."""
    digest = hashlib.sha256(thing.encode()).hexdigest()
    return f"{whole}{_PART}{digest[:_PART_CHARACTERS]}"


# Writing


def start(item: Item, writer: Writer, asked: Asked, thing: Item | None = None) -> Item:
    """Begin an execution; the same item where this one was begun already.

    For a thing it is void in another life of it. Begun in two regions at once it is one, which
    counts from the earlier, and is for what the later one knew of the thing. Raises InputError
    where another one has its id, or it was deleted: it must not be carried out again.
    """
    said = msgspec.to_builtins(asked)
    if item.vv:
        if item.register(_ASKED) == said:
            return item
        raise InputError("another execution was started under this token")
    write = writer.write(item, *([thing] if thing else [])).create().set(_ASKED, said)
    return (write.set(_THING, lives.refer(thing)) if thing else write).done()


def complete(item: Item, writer: Writer) -> Item:
    """Say that every thing of a group has its execution: sent again, nothing more is begun.

    Regions that begin it at once may each know of things that the other does not, and begin all.
    """
    return item if is_complete(item) else writer.write(item).put(_COMPLETE, Flag(True)).done()


def is_complete(item: Item) -> bool:
    return item.fields.get(_COMPLETE) == Flag(True)


def report(item: Item, writer: Writer, said: Report) -> Item:
    """Take in what the device says; the same item where it has said just that.

    Whether it may say so now is for the caller to have looked at, in the same change.
    """
    execution = read(item)
    if execution is None or execution.report == said:
        return item
    write, value = writer.write(item), msgspec.to_builtins(said)
    if said.status is ExecutionStatus.IN_PROGRESS:
        return write.set(_PROGRESS, value).done()
    return write.add(_FINALS, [list(write.stamp), value]).touch().done()


def refuse(execution: Execution, said: Report, now_ms: int) -> str | None:
    """By which of AWS's errors a device may not say so now; None where it may.

    What it has said last it may say again: the answer may have been lost. One that has timed out
    only because nobody answered may still end, and not begin, until it is over. A region whose
    clock is behind may take in a word of what another one deletes then: it is gone with the rest.
    """
    if said == execution.report:
        return None
    if execution.final is None and execution.is_over(now_ms):
        return INVALID_TRANSITION
    is_beginning = said.status is ExecutionStatus.IN_PROGRESS
    if execution.final is None:
        is_late = execution.status(now_ms) is ExecutionStatus.TIMED_OUT
        return INVALID_TRANSITION if is_beginning and is_late else None
    if is_beginning or execution.final.status is ExecutionStatus.TIMED_OUT:
        return INVALID_TRANSITION
    return TERMINAL_STATE


def delete(item: Item, writer: Writer) -> Item:
    """End an execution; of what was asked and said, which may be long, nothing is kept.

    It stays so where another region begins it at once under the same token.
    """
    write = writer.write(item).delete().set(_ASKED, None).set(_PROGRESS, None).kill(_FINALS)
    return write.done(tightens=True)


def delivered(key: str) -> Item:
    """What a batch carries of an execution that its device has got: this, and nothing else."""
    return Item(COMMAND_EXECUTION, key, {}, Fields({DELIVERED: Flag(True)}))


def may_be_carried(item: Item) -> bool:
    """Whether an item says of an execution no more than that."""
    return item == delivered(item.key)


# Reading


def read(item: Item) -> Execution | None:
    """The execution that an item is; None for none, or for what this release cannot read.

    A region may hear that something was delivered before it hears what.
    """
    life, asked = lives.first(item), item.register(_ASKED)
    if life is None or asked is None:
        return None
    finals = item.fields.get(_FINALS)
    words = finals.entries.values() if isinstance(finals, Live) else ()
    try:
        completed_ms, final = _first(words)
        progress = item.register(_PROGRESS)
        return Execution(
            item.key,
            msgspec.convert(asked, Asked),
            life.stamp,
            item.fields.get(DELIVERED) == Flag(True),
            msgspec.convert(progress, Report) if progress else None,
            final,
            completed_ms,
            lives.read(item.register(_THING)),
        )
    except (msgspec.ValidationError, TypeError, ValueError):
        return None


def _first(words: Any) -> tuple[int, Report | None]:
    """When the earliest of these came, and what it says."""
    found = sorted((Stamp(*stamp), msgspec.json.encode(said)) for stamp, said in words)
    if not found:
        return 0, None
    stamp, said = found[0]
    return stamp.ms, msgspec.json.decode(said, type=Report)


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where an execution is listed."""
    execution = read(item)
    if execution is None:
        return
    asked, name = execution.asked, lists.by_creation(item)
    yield (LISTED_ENDING,), f"{lists.at(execution.kept_until_ms)} {item.key}"
    if asked.kind == GROUP:
        return
    yield (LISTED_BY_COMMAND, asked.command), name
    yield (LISTED_BY_TARGET, asked.kind, asked.name), name
    if asked.group:
        yield (LISTED_BY_TARGET, GROUP, asked.group), name
        yield (LISTED_BY_WHOLE, item.key.partition(_PART)[0]), name
    yield from pending(item)


def pending(item: Item) -> Iterator[tuple[Path, str]]:
    """Where it is listed for who has to give it to its device."""
    execution = read(item)
    if execution is not None and execution.asked.kind != GROUP and execution.is_untouched:
        asked, due = execution.asked, due_after(execution.deadline_ms)
        topic = command_topics.request(asked.kind, asked.name, item.key, asked.content_type)
        yield (LISTED_PENDING, asked.kind, asked.name), f"{due} {item.key} {topic}"


def due_after(now_ms: int) -> str:
    """Comes before the name of whatever times out later, in the list of what is pending."""
    return f"{now_ms:0{_DIGITS}d}"


def waiting(name: str) -> Waiting:
    """What stands under a name in that list."""
    return Waiting(*name[_DIGITS + 1 :].split(" ", 1))


#: What a gateway lists.
BY_GATEWAYS: Mapping[str, Listed] = {COMMAND_EXECUTION: pending}
