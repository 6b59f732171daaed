"""TLS between a stream of the gateway and a client of the standard library, in memory."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from isthmus.adapters.pki import Identity, Pki
from isthmus.config import TlsFiles
from isthmus.gateway.stream import Stream

HOSTNAME = "eu.iot.example.com"
FLIGHTS = 4


class Authority:
    """Certificates of one gateway and its devices."""

    def __init__(self, directory: Path) -> None:
        self.pki = Pki(directory)
        self.device = self.pki.device("car-1")
        gateway = self.pki.gateway("eu", [HOSTNAME], ["127.0.0.1"])
        self.files = TlsFiles(
            certificate=str(gateway.chain),
            key=str(gateway.key),
            ca=str(self.pki.devices_ca_file),
        )

    def client(self, identity: Identity | None = None, *alpn: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.pki.ca_file))
        if identity:
            context.load_cert_chain(str(identity.chain), str(identity.key))
        if alpn:
            context.set_alpn_protocols(alpn)
        return context


class Client:
    """One connection's other end."""

    def __init__(
        self,
        context: ssl.SSLContext,
        stream: Stream,
        name: str | None = HOSTNAME,
        session: ssl.SSLSession | None = None,
    ) -> None:
        if name is None:
            context.check_hostname = False
        self.stream = stream
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)

    def shake_hands(self) -> Client:
        """Raises ssl.SSLError where the gateway refuses."""
        for _ in range(FLIGHTS):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.exchange()
        self.exchange()
        return self

    def exchange(self) -> bytes:
        """Hand the stream what was written here; returns the plaintext that it found."""
        plaintext = b""
        if data := self._out.read():
            plaintext, answer = self.stream.feed(data)
            self._in.write(answer)
        return plaintext

    def says(self, data: bytes) -> bytes:
        """Send some plaintext; returns what the stream made of it."""
        self.tls.write(data)
        return self.exchange()

    def hears(self, data: bytes = b"") -> bytes:
        """Take bytes of the network; returns the plaintext in all that came."""
        self._in.write(data)
        heard = b""
        try:
            while chunk := self.tls.read(2**16):
                heard += chunk
        except ssl.SSLWantReadError:
            pass
        return heard

    def session(self) -> Any:
        """What a later connection may be resumed from."""
        self.hears()
        return self.tls.session
