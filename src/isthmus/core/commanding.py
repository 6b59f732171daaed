"""Commands on their way to a client, on one connection: sent like messages, and not of the bus.

Nobody reads them again from a stream for a client that returns, so a session tells of each that
its client has it, and of the others it says nothing when it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from isthmus.wire.packets import Publish

if TYPE_CHECKING:
    from isthmus.core.session import Action, Session


class Commanded(NamedTuple):
    """A command that the client has not acknowledged, where others are owed from the bus."""

    execution: str
    #: On another connection it is sent anew.
    packet_id: int = 0


class Has(NamedTuple):
    """The client has a command: it is not to be given it again."""

    execution: str


def granted(session: Session, topic: str) -> int | None:
    """At which QoS a client has what is sent there; None where it has not, or may not."""
    subscribed = session.granted(topic)
    if subscribed is None or not session.permissions.allows("iot:Receive", f"topic/{topic}")[0]:
        return None
    return subscribed.qos


def give(
    session: Session, message: Publish, at_ms: int, now_ms: int, execution: str
) -> list[Action] | None:
    """Send a client a command, at the lesser of both QoS; ``Has`` says when it has it.

    None where it does not subscribe to it, or may not have it.
    """
    qos = granted(session, message.topic)
    if qos is None:
        return None
    copy = message._replace(qos=min(message.qos, qos))
    actions = session.deliver(copy, at_ms, now_ms, Commanded(execution))
    return [*actions, Has(execution)] if actions and not copy.qos else actions
