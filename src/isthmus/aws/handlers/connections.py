"""Connections of clients, in whichever region: describe, end, list what they subscribe to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from isthmus.aws import indexing, paging
from isthmus.aws.context import Context
from isthmus.aws.indexing import AWS_THINGS
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import existing, moment, refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core import dismissals, sessions
from isthmus.core import item as items
from isthmus.core.dismissals import DISMISSAL
from isthmus.core.item import Item
from isthmus.core.presence import Present, Word
from isthmus.core.registry import THING, Writer
from isthmus.core.sessions import SESSION, State
from isthmus.errors import Unavailable

#: Of a client's subscriptions in one page, where the request does not say.
SUBSCRIPTIONS_DEFAULT = 20


@OPERATIONS.handles("GetConnection")
async def get_connection(context: Context, parameters: Parameters) -> Output:
    """Of a client that went, for as long as that is remembered, or its session is."""
    client = parameters["clientId"]
    word, state = await known(context, client), session(context, client)
    if word is None and state is None:
        raise absent(client)
    found: dict[str, Any] = {"clientId": client, "connected": is_connected(word)}
    if word is None:
        return found | (_lasting(state) if state else {})
    if word.has_ended and word.ended_ms:
        found |= {"disconnectedSince": word.ended_ms, "disconnectReason": word.reason}
    elif not word.has_ended:
        found["connectedSince"] = word.present.at_ms
    things = context.items.view.things(word.present.principal)
    found |= {"thingName": client if client in things else None, **_terms(word.present)}
    return found | (_ends(word.present) if parameters.get("includeSocketInformation") else {})


@OPERATIONS.handles("DeleteConnection")
async def delete_connection(context: Context, parameters: Parameters) -> Output:
    """The connection that is known now, and no later one; of a client that is away, its session.

    What this asks for is written, and done by the gateway that has the connection a moment after it
    reads that.
    """
    client = parameters["clientId"]
    cleans = parameters.get("cleanSession", False)
    silences = parameters.get("preventWillMessage", False)
    word, state = await known(context, client), session(context, client)
    if word is not None and not word.has_ended:
        dismiss = partial(_dismissed, word, cleans, silences)
        await context.write(DISMISSAL, client, dismiss)
    elif state is None:
        raise absent(client)
    elif cleans or silences:
        await context.write(SESSION, client, partial(_ended, cleans, silences))
    return {}


def _dismissed(word: Word, cleans: bool, silences: bool, item: Item, _writer: Writer) -> Item:
    return dismissals.dismiss(item, word, cleans=cleans, silences=silences)


def _ended(cleans: bool, silences: bool, item: Item, writer: Writer) -> Item:
    state = sessions.read(item)
    if state.is_over(writer.now_ms):
        return item
    if state.left is None:
        raise Unavailable(f"Client {item.key} comes or goes at this moment")
    expiry_s = 0 if cleans else state.left.expiry_s
    will_at_ms = None if silences else state.left.will_at_ms
    left = msgspec.structs.replace(state.left, expiry_s=expiry_s, will_at_ms=will_at_ms)
    return items.join(item, sessions.end(item, left))


@OPERATIONS.handles("ListSubscriptions")
async def list_subscriptions(context: Context, parameters: Parameters) -> Output:
    """Of a session that lasts, or else of the connection, which only its gateway knows."""
    client = parameters["clientId"]
    word, state = await known(context, client), session(context, client)
    if state is not None:
        filters = {name: granted.qos for name, granted in state.filters.items()}
    elif word is not None and not word.has_ended:
        filters = await context.connectivity.subscriptions(word)
    else:
        raise absent(client)

    def entries(after: str | None) -> Iterator[Entry]:
        for name, qos in sorted(filters.items()):
            if after is None or name > after:
                yield Entry(name, {"topicFilter": name, "qos": qos})

    return paging.page(context.call, entries, size=SUBSCRIPTIONS_DEFAULT)


@OPERATIONS.handles("GetThingConnectivityData")
async def get_thing_connectivity_data(context: Context, parameters: Parameters) -> Output:
    """Of the client that is called like the thing."""
    name = parameters["thingName"]
    if "connectivity" not in indexing.named(context, AWS_THINGS).parts:
        raise refuse(context, f"Connectivity indexing is not enabled for {AWS_THINGS} index")
    existing(context, THING, name)
    word = await known(context, name)
    found: dict[str, Any] = {"thingName": name, "connected": is_connected(word)}
    if word is None:
        return found | {"disconnectReason": "UNKNOWN"}
    found["clientId"] = name
    if not word.has_ended:
        found |= {"timestamp": moment(word.present.at_ms), "disconnectReason": "NONE"}
    else:
        ended = {"timestamp": moment(word.ended_ms)} if word.ended_ms else {}
        found |= {**ended, "disconnectReason": word.reason or "UNKNOWN"}
    found |= _terms(word.present)
    return found | (_ends(word.present) if parameters.get("includeSocketInformation") else {})


async def known(context: Context, client: str) -> Word | None:
    """The newest word of a client; None where nothing is known of it."""
    return next(iter(await context.connectivity.known([client])), None)


def is_connected(word: Word | None) -> bool:
    return word is not None and not word.has_ended


def session(context: Context, client: str) -> State | None:
    """A session that outlives its connection; None where there is none, or none any more."""
    state = sessions.read(context.get(SESSION, client))
    return None if state.is_over(context.now_ms) else state


def absent(client: str) -> ServiceError:
    """Nobody knows of such a client."""
    return ServiceError("ResourceNotFoundException", f"Client {client} has no connection here")


def _lasting(state: State) -> dict[str, Any]:
    expiry_s = state.left.expiry_s if state.left else state.owner.expiry_s if state.owner else 0
    return {"cleanSession": False, "sessionExpiry": expiry_s}


def _terms(present: Present) -> dict[str, Any]:
    """On what a client and its region agreed, as far as its gateway said."""
    expiry_s = present.session_expiry_s
    return {
        "keepAliveDuration": present.keep_alive_s,
        "cleanSession": None if expiry_s is None else not expiry_s,
        "sessionExpiry": expiry_s,
    }


def _ends(present: Present) -> dict[str, Any]:
    return {
        "sourceIp": present.address or None,
        "sourcePort": present.port or None,
        "targetIp": present.target or None,
        "targetPort": present.target_port or None,
    }
