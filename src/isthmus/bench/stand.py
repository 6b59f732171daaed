"""What is measured: servers that were started for one turn, and clients that they know.

Each turn has servers of its own, alone on the machine and with an empty disk, so that nothing of
the turn before is left to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from isthmus import plan_file
from isthmus.adapters.pki import Identity, Pki
from isthmus.bench.plan import AccessKey, Client, Load, LoadPlan, Outcome, read_outcome
from isthmus.errors import Unavailable
from isthmus.local import bring_up
from isthmus.local.child import Child
from isthmus.local.system import LAUNCHER

#: Devices that publish, each as one client under its own name.
DEVICES = tuple(f"bench-{number}" for number in range(1, 51))
#: Devices that may each be many clients: those that only wait, or listen.
CROWD = tuple(f"crowd-{number}" for number in range(1, 51))
#: Far from what regions take.
SOURCES = tuple(f"127.251.{number}.1" for number in range(1, 33))


#: Adds to an outcome what is only known of the servers.
Complete = Callable[[Outcome], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is ready for clients."""

    host: str
    port: int
    hostname: str
    ca_file: Path
    #: Who publishes, and who shares certificates in a crowd.
    clients: tuple[Client, ...]
    crowd: tuple[Client, ...]
    servers: dict[str, int]
    sources: tuple[str, ...]
    #: Compares what clients were told with what the server says of itself.
    check: Callable[[Outcome], Awaitable[None]]
    #: Adds what is only known of the servers, once clients are done.
    complete: Complete | None = None
    #: Who calls the AWS-compatible API, where that is what is loaded.
    access_key: AccessKey | None = None
    #: What the server warned of, for an error message.
    complaints: Callable[[], str] = lambda: ""


@dataclass(frozen=True, slots=True)
class Tools:
    """How processes are started, and who hears what takes long."""

    nats_binary: Path | None = None
    launcher: Sequence[str] = LAUNCHER
    doing: Callable[[str], None] = lambda _: None


#: Starts servers under a directory, for as long as the context lasts.
Stand = Callable[[Path, Tools], AbstractAsyncContextManager[Target]]


class Ended:
    """Servers that ended though nobody stopped them: what was measured then counts for nothing."""

    def __init__(self) -> None:
        self._said: list[str] = []

    def child(self, child: Child, code: int) -> None:
        """As a child tells of its end."""
        self.say(f"{child.name} ended with code {code}")

    def say(self, what: str) -> None:
        self._said.append(what)

    async def check(self, _: Outcome) -> None:
        """Raise Unavailable if any has."""
        if self._said:
            raise Unavailable(f"a server ended while it was measured: {self._said[0]}")


@asynccontextmanager
async def serving(child: Child) -> AsyncIterator[int]:
    """The pid of a server that runs, for as long as the context lasts."""
    try:
        await child.start()
        assert child.pid is not None
        yield child.pid
    finally:
        await child.stop()


def clients(pki: Pki, names: Iterable[str]) -> tuple[Client, ...]:
    """Devices as the generator knows them."""
    return tuple(_client(name, pki.device(name)) for name in names)


def _client(name: str, identity: Identity) -> Client:
    topic = f"{bring_up.TOPIC_ROOT}/{name}/telemetry"
    return Client(
        client_id=name, certificate=str(identity.chain), key=str(identity.key), topic=topic
    )


async def generate(
    target: Target, load: Load, seconds: float, directory: Path, tools: Tools
) -> Outcome:
    """Run a load in a process of its own."""
    file, outcome_file = directory / "plan.json", directory / "outcome.json"
    plan = LoadPlan(
        host=target.host,
        port=target.port,
        hostname=target.hostname,
        ca_file=str(target.ca_file),
        clients=target.clients,
        crowd_clients=target.crowd,
        access_key=target.access_key,
        load=load,
        seconds=seconds,
        warm_up_s=min(1.0, seconds),
        servers=target.servers,
        sources=target.sources,
        outcome_file=str(outcome_file),
    )
    # What an earlier generator saw is not taken for what this one did.
    outcome_file.unlink(missing_ok=True)
    plan_file.dump(file, plan)
    command = [*tools.launcher, "bench", "load", "--plan", str(file), "--leash"]
    child = Child("generator", command, directory / "generator.log")
    try:
        await child.start()
        await child.ended()
        if not outcome_file.exists():
            raise Unavailable(f"the generator failed{child.log_tail()}")
        outcome = read_outcome(outcome_file)
        await target.check(outcome)
        if target.complete:
            outcome = await target.complete(outcome)
    except Unavailable as error:
        reason = f"{error.args[0]}{target.complaints()}"
        raise Unavailable(reason, hint=error.hint) from error
    finally:
        await child.stop()
    return outcome
