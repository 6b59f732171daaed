"""The clients that most devices use, each a program that is told what to do.

What it is told, and what it tells, stands in ``programs/lines.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
JS = HERE / "js"
ANSWER_S = 30.0
SHOWN_BYTES = 4_000

#: Makes what a program needs, in this directory, and returns how it is started.
Prepare = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Program:
    """One client library. ``missing`` answers why it cannot run here, or nothing."""

    name: str
    versions: tuple[str, ...]
    missing: Callable[[], str]
    prepare: Prepare
    #: What follows its client id where it listens by a connection of its own.
    listener: str = ""
    #: The version is ours to choose, by requirements.lock or package-lock.json.
    is_locked: bool = True
    #: It gives up when a connection ends without a word of TLS, as where a process is killed.
    needs_goodbye: bool = False


def _python(name: str, file: str, *versions: str, module: str) -> Program:
    def missing() -> str:
        found = importlib.util.find_spec(module)
        return "" if found else f"{module} is not installed (./dev installs it)"

    return Program(name, versions, missing, lambda _: [sys.executable, str(PROGRAMS / file)])


def _mosquitto() -> Program:
    def missing() -> str:
        has_them = shutil.which("mosquitto_pub") and shutil.which("mosquitto_sub")
        why = "mosquitto_pub and mosquitto_sub are not installed (apt install mosquitto-clients)"
        return "" if has_them else why

    command = [sys.executable, str(PROGRAMS / "mosquitto.py")]
    return Program(
        "mosquitto",
        ("3.1.1", "5"),
        missing,
        lambda _: command,
        listener="-sub",
        is_locked=False,
        needs_goodbye=True,
    )


def _c(name: str, file: str, header: str, library: str, package: str) -> Program:
    def missing() -> str:
        if not shutil.which("cc"):
            return "there is no C compiler (apt install gcc libc6-dev)"
        check = ["cc", "-fsyntax-only", "-xc", "-include", header, os.devnull]
        found = subprocess.run(check, capture_output=True).returncode == 0
        return "" if found else f"{header} is not installed (apt install {package})"

    def prepare(directory: Path) -> list[str]:
        target = directory / Path(file).stem
        if not target.exists():
            source = str(PROGRAMS / file)
            # Beside its place first: another test may be about to start it.
            part = target.with_suffix(f".{os.getpid()}")
            command = ["cc", "-O1", "-Wall", "-Werror", "-o", str(part), source, f"-l{library}"]
            subprocess.run(command, check=True)
            part.replace(target)
        return [str(target)]

    gives_up = library == "mosquitto"
    versions = ("3.1.1", "5")
    return Program(name, versions, missing, prepare, is_locked=False, needs_goodbye=gives_up)


def _js() -> Program:
    def missing() -> str:
        if not shutil.which("node"):
            return "node is not installed (apt install nodejs npm)"
        has_it = (JS / "node_modules" / "mqtt").is_dir()
        return "" if has_it else "MQTT.js is not installed (npm ci --prefix tests/clients/js)"

    return Program("MQTT.js", ("3.1.1", "5"), missing, lambda _: ["node", str(JS / "mqtt_js.js")])


ALL = (
    _python("AWS SDK", "aws_3.py", "3.1.1", module="awsiot"),
    _python("AWS SDK", "aws_5.py", "5", module="awsiot"),
    _python("paho", "paho_python.py", "3.1.1", "5", module="paho"),
    _python("aiomqtt", "aiomqtt_loop.py", "3.1.1", "5", module="aiomqtt"),
    _mosquitto(),
    _c("libmosquitto", "libmosquitto.c", "mosquitto.h", "mosquitto", "libmosquitto-dev"),
    _c("paho C", "paho_c.c", "MQTTAsync.h", "paho-mqtt3as", "libpaho-mqtt-dev"),
    _js(),
)
#: A program and the version of MQTT that it is to speak.
CLIENTS = [(program, version) for program in ALL for version in program.versions]


class Instead(AssertionError):
    """A client told something else."""


class Place(NamedTuple):
    """Where a client connects to, and with what."""

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path


class Client:
    """A running program."""

    def __init__(
        self, name: str, client_id: str, process: asyncio.subprocess.Process, errors: Path
    ) -> None:
        self.name = name
        self.id = client_id
        self.process = process
        self._errors = errors
        #: Everything that it told, in words.
        self.told: list[list[str]] = []
        self._heard: dict[str, int] = {}
        self._news = asyncio.Event()
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            self.told.append(line.decode().split())
            self._news.set()
        self._ended = True
        self._news.set()

    async def hears(self, kind: str, *instead: str) -> list[str]:
        """What it tells next of this kind; raises Instead if it tells that from now on."""
        begin = len(self.told)
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    told = [words[1:] for words in self.told if words[0] == kind]
                    heard = self._heard.get(kind, 0)
                    if len(told) > heard:
                        self._heard[kind] = heard + 1
                        return told[heard]
                    wrong = [words for words in self.told[begin:] if words[0] in instead]
                    if wrong:
                        raise Instead(self._story(f"{kind!r} was expected, not {wrong[0]}"))
                    assert not self._ended, self._story(f"it ended before it told {kind!r}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(self._story(f"it did not tell {kind!r}")) from None

    def _story(self, what: str) -> str:
        told = "\n".join(" ".join(words) for words in self.told)
        errors = self._errors.read_text(errors="replace")[-SHOWN_BYTES:]
        return f"{self.name}: {what}; it told:\n{told}\nand wrote:\n{errors}"

    def _tell(self, *words: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(" ".join(str(word) for word in words).encode() + b"\n")

    def publish(self, topic: str, payload: str, qos: int = 1, *, retain: bool = False) -> None:
        self._tell("publish", qos, int(retain), topic, payload)

    async def acknowledged(self, payload: str) -> None:
        """Wait for the acknowledgement of the next publish."""
        assert await self.hears("acknowledged", "disconnected", "failed") == [payload]

    def subscribe_later(self, topic_filter: str, qos: int = 1) -> None:
        """Begin to subscribe."""
        self._tell("subscribe", qos, topic_filter)

    async def subscribe(self, topic_filter: str, qos: int = 1) -> None:
        self.subscribe_later(topic_filter, qos)
        assert await self.hears("subscribed", "disconnected") == [str(qos)]

    async def connected(self) -> list[str]:
        return await self.hears("connected", "refused")

    async def kill(self) -> None:
        """SIGKILL, to its own processes too."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await self._reading


@asynccontextmanager
async def running(
    program: Program,
    version: str,
    directory: Path,
    place: Place,
    client_id: str,
    topic: str,
    *,
    session: str = "clean",
    will: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
) -> AsyncIterator[Client]:
    """A program that has begun to connect; skips the test where it cannot run."""
    if reason := program.missing():
        pytest.skip(reason)
    names = ("host", "port", "cafile", "cert", "key")
    said = dict(zip(names, place, strict=True), id=client_id, version=version, topic=topic)
    said |= {"session": session, **dict(zip(("will-topic", "will-payload"), will, strict=False))}
    said |= more or {}
    options = [word for name, value in said.items() for word in (f"--{name}", str(value))]
    errors = directory / f"{client_id}.err"
    with errors.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *program.prepare(directory),
            *options,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            # Some have children of their own.
            start_new_session=True,
        )
    client = Client(f"{program.name} {version}", client_id, process, errors)
    try:
        yield client
    finally:
        await client.kill()
