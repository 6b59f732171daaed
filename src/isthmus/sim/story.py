"""Stories: text files that are read by people, and performed to see that they are true.

A story is comments, and blocks as in Go's ``datadriven``: command lines, ``----``, and what came of
them, up to an empty line.

    # A message is safe when two regions have it.
    publish car-1 hello
    run 0.5 only=car-1
    ----
      0.062  car-1         "hello" is acknowledged

    system regions=eu,us clients=device:car-1,plain:van-1 witness=no gateways=2
                          begin with a system that has settled; witness and gateways may be left out
    run SECONDS           let time pass
    show alone            what each region's disk says of being alone
    show clients          who is connected where, and what is unanswered
    show conflicts        what every region lists
    show items KIND KEY   a thing, certificate, attachment or shadow in every region; KEY may be a
                          client
    show log              incarnations, how long each log is and how much the others have read
    show messages CLIENT  how often each region stores a content, and shows it by default
    show route            what every site holds and its nameserver answers
    check                 see that every promise of ``verdict`` holds and everybody is served; heal
                          and let time pass before it

Every verb of ``verbs`` is a command too. What comes of a command are the lines of the transcript
that it caused, with the seconds since the story began, and what a ``show`` answers. ``only=`` names
the speakers that are heard, apart by commas: ``eu`` is everybody in eu, ``gateway-0`` that gateway
in every region, ``eu/services`` one of them. ``about=`` names texts, of which a line must have one.
``quiet`` before a command hears nobody.
"""

from __future__ import annotations

import inspect
import math
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from isthmus.core import conflicts, registry, shadows
from isthmus.core.item import Item
from isthmus.core.shadow_view import view
from isthmus.errors import BrokenInvariant, InputError
from isthmus.sim import lake, session_verdict, shadow_verdict, verbs, verdict
from isthmus.sim.operators import POLICY
from isthmus.sim.plan import Plan
from isthmus.sim.services import ALONE, INCARNATION
from isthmus.sim.shadow_watch import tree as shadow_of
from isthmus.sim.site import NAME
from isthmus.sim.store import LOG
from isthmus.sim.system import KINDS, SETTLE_S, System, principal_of
from isthmus.sim.verbs import Verbs
from isthmus.sim.violation import Violation

SEPARATOR = "----"
DISKS = ("disk-kept", "power-cut", "restored", "wiped")
COMMANDS = ("system", "run", "show", "check")
FILTERS = ("only", "about")
#: What may be said with ``=``, by command; of all others the filters.
OPTIONS = {"system": ("regions", "clients", "witness", "gateways", "seed"), "show": (), "check": ()}
SPOKEN = re.compile(r" *(?P<at>[0-9.]+)  (?P<who>site \S+|\S+) +(?P<text>.*)")


def perform(text: str, name: str) -> str:
    """Perform a story; answer its text with what really came of every block.

    Raises InputError, with ``name`` and the line, for a story that cannot be understood.
    """
    stage = Stage()
    written: list[str] = []
    for part in _parts(text, name):
        if isinstance(part, str):
            written.append(part)
            continue
        output: list[str] = []
        for number, line in part:
            try:
                output += stage.perform(line)
            except InputError as error:
                message = f"{name}:{number}: {error.args[0]}"
                raise InputError(message, hint=error.hint) from error
        written += [line for _, line in part] + [SEPARATOR, *output]
    return "\n".join(written) + "\n"


Block = list[tuple[int, str]]


def _parts(text: str, name: str) -> Iterator[str | Block]:
    """The lines that stay as they are, and the command lines of each block with their numbers."""
    block: Block = []
    is_output = False
    for number, line in enumerate(text.splitlines(), 1):
        is_comment = line.startswith("#")
        if is_output and is_comment:
            hint = "put an empty line before the comment"
            raise InputError(f"{name}:{number}: {line[:40]!r} stands in the output", hint=hint)
        if block and (is_comment or not line):
            break
        if line == SEPARATOR and not is_output:
            if not block:
                hint = "write what to do above it"
                raise InputError(f"{name}:{number}: {SEPARATOR} without a command", hint=hint)
            yield block
            block, is_output = [], True
        elif not line or is_comment:
            is_output = False
            yield line
        elif not is_output:
            block.append((number, line))
    if block:
        number, line = block[-1]
        hint = f"end the commands with a line {SEPARATOR}"
        raise InputError(f"{name}:{number}: {line!r} has no {SEPARATOR} below it", hint=hint)


@dataclass(slots=True)
class _Command:
    """One command line, taken apart."""

    verb: str
    words: list[str]
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, line: str) -> _Command:
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise InputError(f"{line!r}: {error}", hint="close the quotes") from error
        options = {}
        if words and words[0] == "quiet":
            words = words[1:]
            options["only"] = ""
        if not words:
            raise InputError(f"{line!r} names no command", hint=f"one of {_commands()}")
        made = cls(words[0], [], options)
        for word in words[1:]:
            key, is_option, value = word.partition("=")
            if is_option and key in OPTIONS.get(words[0], FILTERS):
                made.options[key] = value
            else:
                made.words.append(word)
        return made

    def hears(self, who: str, text: str) -> bool:
        """Whether a line of the transcript is told of this command."""
        only, about = self.options.get("only"), self.options.get("about")
        if only is not None and not {who, *re.split("[/ ]", who)} & set(only.split(",")):
            return False
        return about is None or any(each in text for each in about.split(","))

    def exactly(self, *names: str) -> list[str]:
        """The words, one for each name."""
        if len(self.words) != len(names):
            hint = f"write {' '.join((self.verb, *names))}"
            raise InputError(f"{self.verb} was given {' '.join(self.words)!r}", hint=hint)
        return self.words


class Stage:
    """Where a story is performed: nothing at first, and then one system after another."""

    def __init__(self) -> None:
        self._system: System | None = None
        self._verbs: Verbs
        #: The promise that did not hold; after it there is nothing more to be told.
        self._broken = ""

    def perform(self, line: str) -> list[str]:
        """Perform one command line; answer what came of it."""
        command = _Command.read(line)
        if command.verb == "system":
            self._start(command)
            return []
        if self._system is None:
            hint = "begin with: system regions=eu,us clients=device:car-1,plain:van-1"
            raise InputError(f"{command.verb} before there is a system", hint=hint)
        if self._broken:
            return ["not performed: a promise was broken"]
        assert self._system.world.lines is not None
        answered: list[str] = []
        try:
            answered = self._perform(self._system, command)
        except Violation as found:
            self._broken = f"{found.invariant}: {found.text}"
        except BrokenInvariant as error:
            self._broken = str(error)
        spoken, self._system.world.lines[:] = list(self._system.world.lines), []
        if self._broken:
            answered = [*answered, f"BROKEN: {self._broken}"]
        return [*_heard(spoken, command), *answered]

    def _start(self, command: _Command) -> None:
        options = command.options
        command.exactly()
        regions = _list(options.get("regions", "eu,us"))
        if not regions:
            raise InputError("regions names none", hint="as in regions=eu,us")
        pairs = [each.partition(":") for each in _list(options.get("clients", ""))]
        for kind, _, client in pairs:
            _one_of("kind", kind, KINDS)
            if not client:
                raise InputError(f"clients names a {kind} of no name", hint="as in device:car-1")
        plan = Plan(
            seed=int(_number("seed", options.get("seed", "1"))),
            regions=tuple(regions),
            witness=_one_of("witness", options.get("witness", "yes"), ("yes", "no")) == "yes",
            gateways=int(_number("gateways", options.get("gateways", "1"), 1)),
            clients=tuple((client, kind) for kind, _, client in pairs),
            steps=(),
        )
        system = System(plan, transcript=True)
        system.start()
        assert system.world.lines is not None
        system.world.lines.clear()
        self._system, self._verbs, self._broken = system, Verbs(system), ""

    def _perform(self, system: System, command: _Command) -> list[str]:
        match command.verb:
            case "run":
                (seconds,) = command.exactly("SECONDS")
                system.world.run(system.world.now_s + _number("SECONDS", seconds))
            case "show":
                return _show(system, command)
            case "check":
                command.exactly()
                verdict.after_healing(system)
                session_verdict.at_the_end(system)
                shadow_verdict.at_the_end(system)
                unserved = verdict.unserved(system)
                verdict.everybody_is_served(unserved, unserved)
                return ["every promise holds"]
            case verb if verb in verbs.names():
                _check_words(system, command)
                self._verbs.do(verb, tuple(command.words))
            case verb:
                raise InputError(f"{verb!r} is no command", hint=f"one of {_commands()}")
        return []


def _commands() -> str:
    return ", ".join((*COMMANDS, *verbs.names()))


def _list(text: str) -> list[str]:
    return [each for each in text.split(",") if each]


def _number(name: str, text: str, least: float = 0.0) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        from_there = "" if least == -math.inf else f" from {least:g} on"
        raise InputError(f"{name} is {text!r}", hint=f"write a number{from_there}")
    return value


def _one_of(name: str, value: str, known: Iterable[str]) -> str:
    known = list(known)
    if value not in known:
        raise InputError(f"{name} is {value!r}", hint=f"one of {', '.join(known) or 'none'}")
    return value


#: What a word may be, by the name that its verb gives it.
KNOWN: dict[str, Callable[[System], Iterable[str]]] = {
    "region": lambda system: system.regions_named,
    "site": lambda system: system.sites_named,
    "one": lambda system: system.sites_named,
    "other": lambda system: system.sites_named,
    "source": lambda system: system.sites_named,
    "target": lambda system: system.sites_named,
    "disk": lambda system: DISKS,
    "kind": lambda system: KINDS,
}
NUMBERS = ("seconds", "number", "share", "extra", "milliseconds", "rate")


def _check_words(system: System, command: _Command) -> None:
    """See that every word is what its verb expects: a wrong name would be a quiet no-op."""
    method = getattr(Verbs, f"do_{command.verb.replace('-', '_')}")
    parameters = list(inspect.signature(method).parameters.values())[1:]
    least = sum(each.default is inspect.Parameter.empty for each in parameters)
    if not least <= len(command.words) <= len(parameters):
        command.exactly(*(each.name.upper() for each in parameters))
    for parameter, word in zip(parameters, command.words, strict=False):
        known = KNOWN.get(parameter.name)
        if parameter.name == "client" and command.verb != "add":
            _one_of(parameter.name, word, system.clients)
        elif known is not None:
            _one_of(parameter.name, word, known(system))
        elif parameter.name in NUMBERS:
            _number(parameter.name, word, -math.inf if parameter.name == "milliseconds" else 0.0)


def _heard(spoken: Iterable[str], command: _Command) -> Iterator[str]:
    """The lines of the transcript that are told, with the story's own time."""
    for line in spoken:
        found = SPOKEN.fullmatch(line)
        assert found, line
        who, text = found["who"], found["text"]
        if command.hears(who, text):
            yield f"{float(found['at']) - SETTLE_S:7.3f}  {who:<13} {text}"


# What a show answers


def _show(system: System, command: _Command) -> list[str]:
    what = command.words[0] if command.words else ""
    _one_of("what to show", what, SHOWN)
    show, names = SHOWN[what]
    rest = _Command(f"show {what}", command.words[1:]).exactly(*names)
    return list(show(system, *rest))


def _show_route(system: System) -> Iterator[str]:
    for name, site in system.sites.items():
        if not site.process.is_running:
            yield f"{name:<8} is down"
            continue
        route = site.direction.route
        answer = "nothing yet"
        if site.zone is not None:
            records = site.zone.records
            address = next(
                each.data[0] for each in records if (each.name, each.type) == (NAME, "A")
            )
            answer = system.region_at(address)
        yield f"{name:<8} holds epoch {route.epoch}: {route.target}; answers {answer}"


def _show_items(system: System, kind: str, key: str) -> Iterator[str]:
    _one_of("KIND", kind, DESCRIBED)
    if key in system.clients and kind == registry.CERTIFICATE:
        key = principal_of(key)
    elif key in system.clients and kind == registry.ATTACHMENT:
        key = registry.attachment_key(f"{registry.POLICY}:{POLICY}", principal_of(key))
    for region in system.regions_named:
        item = system.item(region, kind, key)
        if item is None:
            yield f"{region}: nothing"
            continue
        yield f"{region}: version {DESCRIBED[kind](system, region, item)}"


def _life(item: Item) -> str:
    """Version and lives."""
    lives = {0: "deleted", 1: "one life"}.get(len(item.lives), f"{len(item.lives)} lives")
    return f"{item.version}, {lives}"


def _describe_thing(system: System, region: str, item: Item) -> str:
    found = registry.attributes(item)
    said = " ".join(f"{name}={value}" for name, value in found.items()) or "no attributes"
    return f"{_life(item)}: {said}"


def _describe_certificate(system: System, region: str, item: Item) -> str:
    return f"{_life(item)}: {registry.certificate_status(item)}"


def _describe_attachment(system: System, region: str, item: Item) -> str:
    held = registry.attaches(item)
    if not held:
        return f"{_life(item)}: detached"
    words = []
    for each in held:
        target = system.item(region, each.target_kind, each.target_key)
        principal = system.item(region, registry.CERTIFICATE, each.principal_key)
        is_void = not each.holds_for(target, principal)
        words.append("void" if is_void else "contested" if each.contested else "attached")
    return f"{_life(item)}: {', '.join(words)}"


def _describe_shadow(system: System, region: str, item: Item) -> str:
    shown = msgspec.json.encode(view(shadow_of(item)).state).decode()
    return f"{shadows.version(item)}: {shown if shadows.is_there(item) else 'deleted'}"


DESCRIBED: dict[str, Callable[[System, str, Item], str]] = {
    registry.THING: _describe_thing,
    registry.CERTIFICATE: _describe_certificate,
    registry.ATTACHMENT: _describe_attachment,
    shadows.SHADOW: _describe_shadow,
}


def _show_log(system: System) -> Iterator[str]:
    for name, region in system.regions.items():
        if not region.machine.is_up:
            yield f"{name}: is down"
            continue
        incarnation = region.store.state.get(INCARNATION, "none")
        links = region.services.links
        pulled = [f"{peer}'s up to {link.pull.log.sequence}" for peer, link in links.items()]
        end = region.store.stream(LOG).synced
        yield f"{name}: incarnation {incarnation}, log up to {end}, has {' and '.join(pulled)}"


def _show_clients(system: System) -> Iterator[str]:
    for name, client in system.clients.items():
        where = f"connected to {client.region}" if client.is_connected else "not connected"
        waits = f", {len(client.outbox)} unanswered" if len(client.outbox) else ""
        yield f"{name}: {where}{waits}"


def _show_alone(system: System) -> Iterator[str]:
    for name, region in system.regions.items():
        state = region.store.state.get(ALONE)
        yield f"{name}: its disk says {'alone' if state and state.alone else 'not alone'}"


def _show_messages(system: System, client: str) -> Iterator[str]:
    _one_of("CLIENT", client, system.clients)
    copies: defaultdict[str, Counter[str]] = defaultdict(Counter)
    shown: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for region in system.regions_named:
        for row in lake.rows(system, region):
            if row.client == client:
                copies[row.payload.decode()][region] += 1
                shown[row.payload.decode()][region] += not row.is_repeat
    if not copies:
        yield "nothing"
    for payload, raw in copies.items():
        counts = [
            f"{region} stores {raw[region]}, shows {shown[payload][region]}"
            for region in system.regions_named
        ]
        yield f'"{payload}": {"; ".join(counts)}'


def _show_conflicts(system: System) -> Iterator[str]:
    for name, region in system.regions.items():
        found = 0
        for entry in region.store.stream(LOG).after(0, limit=10**9):
            if entry.subject[0] == conflicts.CONFLICT:
                found += 1
                conflict = conflicts.read(system.decoded(entry.payload))
                assert conflict is not None
                kept = conflict.kept and conflict.kept.value
                kept = "its deletion" if kept is None else kept
                where = f"{conflict.kind} {conflict.key}{conflict.path}"
                yield f"{name}: {where}: {kept} was kept, {conflict.discarded.value} gave way"
        if not found:
            yield f"{name}: none"


SHOWN: dict[str, tuple[Callable[..., Iterator[str]], tuple[str, ...]]] = {
    "alone": (_show_alone, ()),
    "clients": (_show_clients, ()),
    "conflicts": (_show_conflicts, ()),
    "items": (_show_items, ("KIND", "KEY")),
    "log": (_show_log, ()),
    "messages": (_show_messages, ("CLIENT",)),
    "route": (_show_route, ()),
}
