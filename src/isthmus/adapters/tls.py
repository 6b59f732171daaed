"""TLS between sites, operators and gateways, where both sides show a certificate, and for clients
that prove otherwise who they are.

Who somebody is stands in the subject of a verified certificate, read as a structure: a common name
that merely looks like ``OU=operator`` is a common name.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.config import ServerFiles, TlsFiles
from isthmus.errors import ConfigError


@dataclass(frozen=True)
class Identity:
    """Who a certificate speaks for; empty where it has not exactly one such field."""

    common_name: str
    unit: str


def identity_of(certificate: Mapping[str, Any] | None) -> Identity:
    """Read a certificate in the form of ``SSLObject.getpeercert``."""
    subject = (certificate or {}).get("subject", ())
    fields = [pair for relative_name in subject for pair in relative_name]
    return Identity(_only(fields, "commonName"), _only(fields, "organizationalUnitName"))


def _only(fields: list[tuple[str, str]], key: str) -> str:
    # Two units in one subject are ambiguous, and what is ambiguous grants nothing.
    found = [value for name, value in fields if name == key]
    return found[0] if len(found) == 1 else ""


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that refuses whoever has no certificate of our CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _load(context, files)


def public_context(files: ServerFiles) -> ssl.SSLContext:
    """A context of a server that asks for no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_own(context, files)
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that verifies certificate and host name, and shows its own certificate."""
    return _load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


def _load(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    _check_there(files.ca)
    try:
        context.load_verify_locations(files.ca)
    except ssl.SSLError as error:
        raise ConfigError(f"{files.ca}: {error}") from None
    _load_own(context, files)
    return context


def _load_own(context: ssl.SSLContext, files: TlsFiles | ServerFiles) -> None:
    """Load what this side shows."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in (files.certificate, files.key):
        _check_there(path)
    try:
        if Path(files.key).stat().st_mode & 0o077:
            raise ConfigError(f"{files.key} is readable by others", hint=f"chmod 600 {files.key}")
        # Without a password, OpenSSL would stop the process to ask a terminal for that of a key.
        context.load_cert_chain(files.certificate, files.key, password="")
    except OSError as error:
        # Those of OpenSSL, and what may befall files that were there a moment ago.
        raise ConfigError(f"{files.certificate} or {files.key}: {error}") from None


def _check_there(path: str) -> None:
    if not Path(path).is_file():
        raise ConfigError(f"{path}: no such file", hint="make its PKI first")
