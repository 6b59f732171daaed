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
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import InvalidVersion
from OpenSSL import SSL, crypto

from isthmus.clock import now_ms
from isthmus.config import TlsFiles
from isthmus.errors import ConfigError
from isthmus.gateway.stream import Ended

READ_BYTES = 65_536
#: What AWS calls MQTT with client certificates in ALPN.
MQTT = b"x-amzn-mqtt-ca"
HTTP = b"http/1.1"
#: And what it calls HTTP with them.
DEVICE_HTTP = b"x-amzn-http-ca"
#: The record of a fatal alert before any key is agreed: unrecognized_name, RFC 6066, section 3.
#: OpenSSL would send it for a callback that fails, whose traceback pyOpenSSL prints.
UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
#: Of one ticket. Who resumes gets a new one, until the context is made anew (``adapters.renewal``).
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


class Contexts(NamedTuple):
    """One for each listener that speaks TLS."""

    mqtt: SSL.Context
    https: SSL.Context


def contexts(files: TlsFiles) -> Contexts:
    """Raises ConfigError that names the file which cannot be used."""
    return Contexts(mqtt_context(files), https_context(files))


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


def https_context(files: TlsFiles) -> SSL.Context:
    """For MQTT and HTTP, by ALPN; HTTP without it. Only devices' protocols need a certificate."""
    context = _context(files)
    context.set_verify(SSL.VERIFY_PEER, _accept)
    context.set_alpn_select_callback(_mqtt_or_http)
    return context


def _mqtt_or_http(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    """Raises where a client offers only what is not spoken: OpenSSL then tells it so."""
    for protocol in (MQTT, DEVICE_HTTP):
        if protocol in offered:
            # The context's callback stays.
            connection.set_verify(_CERTIFICATE_REQUIRED)
            return protocol
    if HTTP in offered:
        return HTTP
    raise SSL.Error(f"no protocol of ours among {offered}")


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


class TlsStream:
    """One connection's TLS."""

    def __init__(
        self,
        context: SSL.Context,
        server_names: frozenset[bytes] = frozenset(),
        anonymous: Container[bytes] = (),
    ) -> None:
        """``server_names``: what a client may take us for, in lower case; empty for anything.

        ``anonymous``: the protocols, by ALPN, that need no client certificate.
        """
        self._server_names = server_names
        self._anonymous = anonymous
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()
        #: Whether the handshake is done; then it is known who is there, and by which ALPN.
        self.is_open = False
        #: The SHA-256 of the client's certificate in DER.
        self.principal = ""
        self.protocol = b""
        self.ended: Ended | None = None

    def certificate(self) -> str:
        # OpenSSL has it as long as the connection lasts: nobody else keeps it for the few who ask.
        shown = self._connection.get_peer_certificate(as_cryptography=True)
        return "" if shown is None else shown.public_bytes(Encoding.PEM).decode()

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        answer = b""
        if not self.is_open:
            answer = self.shake_hands(data)
            if not self.is_open:
                return b"", answer
        elif data:
            self._connection.bio_write(data)
        chunks = []
        try:
            while True:
                chunks.append(self._connection.recv(READ_BYTES))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            # Not a goodbye in MQTT's words: its will is published.
            self.ended = Ended("the client ended TLS")
        except SSL.Error as error:
            self._break(error)
        return b"".join(chunks), answer + self._pending()

    def shake_hands(self, data: bytes) -> bytes:
        """As ``feed``, but what follows the handshake waits for that."""
        self._connection.bio_write(data)
        try:
            self._shake_hands()
        except SSL.WantReadError:
            if self._is_for_another():
                self._pending()  # our ServerHello, which nobody is to get
                return UNRECOGNIZED_NAME
        except SSL.Error as error:
            self._break(error)
        return self._pending()

    def _shake_hands(self) -> None:
        connection = self._connection
        connection.do_handshake()
        self.protocol = connection.get_alpn_proto_negotiated()
        try:
            certificate = connection.get_peer_certificate(as_cryptography=True)
            ends = None if certificate is None else certificate.not_valid_after_utc
        except (ValueError, InvalidVersion) as error:
            # OpenSSL is content with some that nobody else could read.
            raise SSL.Error(f"the certificate cannot be read: {error}") from None
        if ends is not None and ends.timestamp() * 1000 < now_ms():
            raise SSL.Error("the certificate has expired since it was proven")
        if certificate is not None:
            self.principal = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
        elif self.protocol not in self._anonymous:
            # A session that was begun without one, for another protocol.
            raise SSL.Error("no client certificate")
        self.is_open = True

    def _is_for_another(self) -> bool:
        name = self._connection.get_servername() if self._server_names else None
        if name is None or name.lower() in self._server_names:
            return False
        self.ended = Ended(f"the client takes us for {name[:80]!r}")
        return True

    def _break(self, error: SSL.Error) -> None:
        self.ended = Ended(f"TLS: {error!r}"[:200])

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
                chunk = self._connection.bio_read(READ_BYTES)
                chunks.append(chunk)
                if len(chunk) < READ_BYTES:
                    # To ask again, and be told that there is nothing, costs as much as a write.
                    break
        except SSL.WantReadError:
            pass
        return b"".join(chunks)
