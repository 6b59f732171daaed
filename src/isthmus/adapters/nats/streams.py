"""The streams of a region, and the subjects of everything that goes through its NATS.

    LOG            log.<kind>.<key>             the change log: newest version of each item
    STATE          state.<name>...              what this region must remember of itself
    BUS_<origin>   bus.<origin>.<writer>        batches of messages that were accepted in <origin>

Beside the streams, at most once: ``peer.<region>.*`` is what another region says here,
``region.*`` what the services of this region say to each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote, unquote

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

LOG = "LOG"
STATE = "STATE"

#: Seconds within which JetStream itself refuses a batch id that it has; our watermarks go further.
DUPLICATE_WINDOW_S = 120
#: Major and minor version of the first nats-server whose batches are worth it.
BATCHES_FROM = (2, 15)
#: Characters of a key that may stand in a subject as they are.
_SAFE = "/:=+@,~!$&;()"


def bus(origin: str) -> str:
    return f"BUS_{origin}"


def bus_subject(origin: str, writer: str) -> str:
    return f"bus.{origin}.{writer}"


def log_subject(kind: str, key: str) -> str:
    """The subject of an item; injective, and free of what means something in subjects."""
    return f"log.{kind}.{quote(key, safe=_SAFE).replace('.', '%2E')}"


def log_filter(kind: str) -> str:
    """What the subjects of all items of a kind match."""
    return f"log.{kind}.>"


def log_name(subject: str) -> tuple[str, str]:
    """Kind and key of a subject."""
    _, kind, key = subject.split(".", 2)
    return kind, unquote(key)


def has_batches(client: Client) -> bool:
    """Whether a server syncs its disk once for an atomic batch; others do it for each message."""
    version = client.connected_server_version
    return (version.major, version.minor) >= BATCHES_FROM


async def ensure_streams(client: Client, regions: Iterable[str], bus_max_bytes: int) -> None:
    """Create what is missing. Existing streams are left as they are, but for the log.

    Where the server has them that takes atomic batches from then on, whoever has made it.
    """
    js = client.jetstream()
    await _ensure(js, LOG, "log.>", per_subject=1)
    if has_batches(client):
        config = (await js.stream_info(LOG)).config
        if not config.allow_atomic:
            config.allow_atomic = True
            await js.update_stream(config)
    await _ensure(js, STATE, "state.>", per_subject=1)
    for region in regions:
        await _ensure(js, bus(region), f"bus.{region}.*", max_bytes=bus_max_bytes)


async def _ensure(
    js: JetStreamContext, name: str, subject: str, *, per_subject: int = -1, max_bytes: int = -1
) -> None:
    try:
        await js.stream_info(name)
    except NotFoundError:
        await js.add_stream(
            StreamConfig(
                name=name,
                subjects=[subject],
                storage=StorageType.FILE,
                max_msgs_per_subject=per_subject,
                max_bytes=max_bytes,
                # A full disk stops acknowledgements; it never drops the only copy.
                discard=DiscardPolicy.NEW if max_bytes > 0 else DiscardPolicy.OLD,
                duplicate_window=DUPLICATE_WINDOW_S,
                allow_direct=True,
            )
        )
