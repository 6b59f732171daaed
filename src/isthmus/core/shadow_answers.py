"""What clients are told of a shadow, as payloads of the topics that AWS tells it on.

Developer guide, "Device Shadow service documents": each with its members in the order of AWS's.
"""

from __future__ import annotations

from typing import Any

from isthmus.core.shadow_request import ShadowRefused, UpdateRequest
from isthmus.core.shadow_view import View, encode, written


def _payload(members: dict[str, Any], client_token: str | None) -> bytes:
    if client_token is not None:
        members["clientToken"] = client_token
    return encode(members)


def accepted(request: UpdateRequest, version: int, at_s: int) -> bytes:
    """What of an update was carried out: of the document, what the request named."""
    members = {
        "state": request.state,
        "metadata": written(request.state, {"timestamp": at_s}),
        "version": version,
        "timestamp": at_s,
    }
    return _payload(members, request.client_token)


def delta(shown: View, version: int, at_s: int, client_token: str | None = None) -> bytes | None:
    """What the device is to change; None where it is as desired."""
    state, metadata = shown.delta()
    if not state:
        return None
    members = {"version": version, "timestamp": at_s, "state": state, "metadata": metadata}
    return _payload(members, client_token)


def document(shown: View, version: int) -> dict[str, Any]:
    """One side of ``documents``."""
    return {"state": shown.state, "metadata": shown.metadata, "version": version}


def documents(
    previous: dict[str, Any] | None,
    current: dict[str, Any],
    at_s: int,
    client_token: str | None = None,
) -> bytes:
    """The document before and after; nothing is before it where there was no shadow."""
    members: dict[str, Any] = {} if previous is None else {"previous": previous}
    return _payload(members | {"current": current, "timestamp": at_s}, client_token)


def got(shown: View, version: int, at_s: int, client_token: str | None = None) -> bytes:
    """The whole document, and the delta of it."""
    state, metadata = shown.delta()
    members = {
        "state": shown.state | ({"delta": state} if state else {}),
        "metadata": shown.metadata | ({"delta": metadata} if state else {}),
        "version": version,
        "timestamp": at_s,
    }
    return _payload(members, client_token)


def deleted(version: int, at_s: int, client_token: str | None = None) -> bytes:
    """The version that was deleted."""
    return _payload({"version": version, "timestamp": at_s}, client_token)


def rejected(error: ShadowRefused) -> bytes:
    """Why a request was refused."""
    return _payload({"code": error.code, "message": error.message}, error.client_token)
