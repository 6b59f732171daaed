"""mTLS without a socket: bytes from the network in, plaintext out, and back.

The handshake proves that the client holds the key of the certificate it shows, and that the
certificate is within its dates and meant for clients. Whether that certificate may connect is the
region's items' to say, by its fingerprint: a device's CA need not be known here, as AWS's own
certificates come without theirs. Never decide anything on a connection by its chain.

A client may resume a session by a ticket, which spares both sides the proof. The ticket brings the
certificate along, so who resumes is known by it exactly as who proves it, and is asked for as much:
the fingerprint is looked up at CONNECT, and the dates, which OpenSSL has judged before, again here.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from isthmus.clock import now_ms
from isthmus.config import TlsFiles
from isthmus.errors import ConfigError
from isthmus.gateway.stream import Ended

READ_BYTES = 65_536
#: What AWS calls MQTT with client certificates in ALPN.
MQTT = b"x-amzn-mqtt-ca"
#: The record of a fatal alert before any key is agreed: unrecognized_name, RFC 6066, section 3.
#: OpenSSL would send it for a callback that fails, whose traceback pyOpenSSL prints.
UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
#: Of one ticket. Who resumes gets a new one, until the context is made anew (``renewal``).
TICKET_LIFETIME_S = 2 * 3600
#: OpenSSL resumes no session with a client certificate that has no name of this kind.
SESSION_CONTEXT = b"isthmus"

#: What OpenSSL says of a chain that it cannot follow to a root. Anything else refuses: expired,
#: not yet valid, wrong purpose, bad signature.
_CHAIN_IS_NOT_OURS_TO_JUDGE = frozenset(
    {
        2,  # unable to get issuer certificate
        18,  # self-signed
        19,  # self-signed in the chain
        20,  # unable to get the local issuer
        21,  # unable to verify the leaf: nobody above it
        27,  # not trusted
    }
)


_CERTIFICATE_REQUIRED = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT


def _accept(_: SSL.Connection, __: crypto.X509, error: int, depth: int, ok: int) -> bool:
    return bool(ok) or error in _CHAIN_IS_NOT_OURS_TO_JUDGE


def mqtt_context(files: TlsFiles) -> SSL.Context:
    """For MQTT and nothing else: a certificate from everybody."""
    context = _context(files)
    context.set_verify(_CERTIFICATE_REQUIRED, _accept)
    context.set_alpn_select_callback(_mqtt_or_nothing)
    return context


def _mqtt_or_nothing(
    _: SSL.Connection, offered: list[bytes]
) -> bytes | SSL._NoOverlappingProtocols:
    """Whatever else a client offers, it is answered as if it had offered nothing."""
    return MQTT if MQTT in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _context(files: TlsFiles) -> SSL.Context:
    """TLS 1.2 and up. The key of its tickets is its own, is random, and never leaves it."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    # Nothing is kept here for those who may come back: their tickets have all of it.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(SESSION_CONTEXT)
    context.set_timeout(TICKET_LIFETIME_S)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    _load(context, files)
    return context


def _load(context: SSL.Context, files: TlsFiles) -> None:
    file = files.key
    try:
        if Path(file).stat().st_mode & 0o077:
            raise ConfigError(f"{file} is readable by others", hint=f"chmod 600 {file}")
        file = files.certificate
        context.use_certificate_chain_file(file)
        file = files.key
        context.use_privatekey_file(file)
        context.check_privatekey()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except SSL.Error as error:
        reason = error.args[0][-1][-1] if error.args and error.args[0] else "not readable"
        hint = f"PEM files, and the key must be that of {files.certificate}"
        raise ConfigError(f"{file}: {reason}", hint=hint) from None


class _WrongName(Exception):
    """The client wants to speak with somebody else."""


class TlsStream:
    """One connection's TLS."""

    def __init__(self, context: SSL.Context, server_names: frozenset[bytes] = frozenset()) -> None:
        """``server_names``: what a client may take us for, in lower case; empty for anything."""
        self._server_names = server_names
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()
        #: The SHA-256 of the client's certificate in DER, once the handshake is done.
        self.principal = ""
        self.ended: Ended | None = None

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        connection = self._connection
        connection.bio_write(data)
        chunks = []
        try:
            if not self.principal and not self._shake_hands():
                return b"", self._pending()
            while True:
                chunks.append(connection.recv(READ_BYTES))
        except (SSL.WantReadError, SSL.ZeroReturnError):
            pass
        except _WrongName as error:
            self._pending()  # our ServerHello, which nobody is to get
            self.ended = Ended(str(error))
            return b"", UNRECOGNIZED_NAME
        except SSL.Error as error:
            self.ended = Ended(f"TLS: {error!r}"[:200])
        return b"".join(chunks), self._pending()

    def _shake_hands(self) -> bool:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._check_name()
            return False
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise SSL.Error("no client certificate")
        if certificate.not_valid_after_utc.timestamp() * 1000 < now_ms():
            raise SSL.Error("the certificate has expired since it was proven")
        self.principal = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
        return True

    def _check_name(self) -> None:
        name = self._connection.get_servername() if self._server_names else None
        if name is not None and name.lower() not in self._server_names:
            raise _WrongName(f"the client takes us for {name[:80]!r}")

    def wrap(self, plaintext: bytes) -> bytes:
        try:
            self._connection.sendall(plaintext)
        except SSL.Error:
            # A client whose TLS has failed cannot be told.
            return b""
        return self._pending()

    def close(self) -> bytes:
        with contextlib.suppress(SSL.Error):
            self._connection.shutdown()
        return self._pending()

    def _pending(self) -> bytes:
        """What OpenSSL wants to say; after an error too, its alert."""
        chunks = []
        try:
            while True:
                chunks.append(self._connection.bio_read(READ_BYTES))
        except SSL.WantReadError:
            return b"".join(chunks)
