"""Certificates are replaced under a running gateway and a running API, well and badly."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tls_clients import HOSTNAME, Authority, Client

from isthmus.adapters.pki import Identity, load_certificate
from isthmus.adapters.renewal import CONTEXT_LIFETIME_S, Renewed, RenewedContext
from isthmus.adapters.tls import public_context
from isthmus.clock import monotonic_s
from isthmus.config import ServerFiles, TlsFiles
from isthmus.errors import ConfigError
from isthmus.gateway.tls import TlsStream, mqtt_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


class Replaced:
    """A context of files that the test replaces, each time by a certificate of its own."""

    def __init__(self, authority: Authority, directory: Path) -> None:
        self.authority = authority
        self.certificate, self.key = directory / "gateway.pem", directory / "gateway.key"
        self._made = 0
        self.put(self.made())
        files = TlsFiles(
            certificate=str(self.certificate), key=str(self.key), ca=authority.files.ca
        )
        self.renewed = Renewed(files, mqtt_context, monotonic_s())
        own = ServerFiles(certificate=files.certificate, key=files.key)
        #: The same files, as the API has them.
        self.api = Renewed(own, public_context, monotonic_s())

    def made(self) -> Identity:
        self._made += 1
        return self.authority.pki.gateway(f"eu-{self._made}", [HOSTNAME], [])

    def put(self, found: Identity) -> None:
        for source, target in ((found.chain, self.certificate), (found.key, self.key)):
            part = target.with_suffix(".part")
            shutil.copy(source, part)
            part.replace(target)

    def look(self, times: int = 2) -> None:
        for _ in range(times):
            self.renewed.look(monotonic_s())

    def look_as_api(self, times: int = 2) -> None:
        for _ in range(times):
            self.api.look(monotonic_s())

    def client(self) -> Client:
        context = self.authority.client(self.authority.device)
        return Client(context, TlsStream(self.renewed.current)).shake_hands()

    def serves(self, found: Identity) -> bool:
        shown = self.client().tls.getpeercert(binary_form=True)
        pem = ssl.DER_cert_to_PEM_cert(shown or b"")
        return load_certificate(pem) == load_certificate(found.certificate.read_bytes())


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Replaced:
    return Replaced(authority, tmp_path)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(each)["reason"] for each in caplog.records if each.levelno == logging.ERROR]


def test_new_connections_get_the_new_certificate_and_old_ones_stay(files: Replaced) -> None:
    older, new = files.client(), files.made()
    files.put(new)
    assert not files.serves(new)
    files.look()
    assert files.serves(new)
    assert older.says(b"still here") == b"still here"
    assert older.hears(older.stream.wrap(b"so are we")) == b"so are we"


def test_files_that_did_not_change_are_not_read_again(files: Replaced) -> None:
    before = files.renewed.current
    files.look(times=5)
    assert files.renewed.current is before


def test_tickets_are_good_for_no_longer_than_a_day(files: Replaced) -> None:
    client, context = files.client(), files.authority.client(files.authority.device)

    def resumes() -> bool:
        stream = TlsStream(files.renewed.current)
        again = Client(context, stream, session=ticket).shake_hands()
        return bool(again.tls.session_reused) and stream.ended is None

    ticket = Client(context, TlsStream(files.renewed.current)).shake_hands().session()
    assert resumes()
    now_s = monotonic_s()
    files.renewed.look(now_s + CONTEXT_LIFETIME_S - 60)
    assert resumes()
    files.renewed.look(now_s + CONTEXT_LIFETIME_S + 60)
    assert not resumes()
    assert client.says(b"still here") == b"still here"


def test_files_that_stay_broken_are_named_once_a_day(
    files: Replaced, caplog: pytest.LogCaptureFixture
) -> None:
    files.key.unlink()
    files.look()
    now_s = monotonic_s()
    for day in range(1, 4):
        for _ in range(3):
            files.renewed.look(now_s + day * (CONTEXT_LIFETIME_S + 60))
    assert len(errors(caplog)) == 4


def test_nothing_is_read_while_files_are_being_replaced(
    files: Replaced, caplog: pytest.LogCaptureFixture
) -> None:
    new = files.made()
    files.certificate.write_bytes(new.chain.read_bytes())
    files.look(times=1)
    files.key.write_bytes(new.key.read_bytes())
    files.look()
    assert files.serves(new)
    assert errors(caplog) == []


def another_kind_of_key() -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


BROKEN = {
    "a certificate that is none": (lambda files: files.certificate.write_text("x"), "gateway.pem"),
    "a key that is none": (lambda files: files.key.write_text("x"), "gateway.key"),
    "no certificate": (lambda files: files.certificate.unlink(), "gateway.pem"),
    "no key": (lambda files: files.key.unlink(), "gateway.key"),
    "a key of another certificate": (
        lambda files: files.key.write_bytes(files.made().key.read_bytes()),
        "gateway.key",
    ),
    "a key of another kind": (
        lambda files: files.key.write_bytes(another_kind_of_key()),
        "gateway.key",
    ),
    "a key for everybody": (
        lambda files: (files.key.write_bytes(files.key.read_bytes()), files.key.chmod(0o644)),
        "gateway.key",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_files_are_named_once_and_the_old_ones_stay_until_they_are_mended(
    files: Replaced, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    breaks, name = BROKEN[how]
    breaks(files)
    files.look(times=5)
    assert files.client().says(b"served") == b"served"
    (error,) = errors(caplog)
    assert name in error
    new = files.made()
    files.put(new)
    files.look()
    assert files.serves(new)


@pytest.mark.parametrize("how", BROKEN)
def test_a_gateway_does_not_begin_with_broken_files(files: Replaced, how: str) -> None:
    breaks, name = BROKEN[how]
    breaks(files)
    with pytest.raises(ConfigError, match=name):
        mqtt_context(files.renewed._files)


# The API


def lock(files: Replaced) -> None:
    """Put a password before the key: nobody is there to type it."""
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )


@pytest.mark.parametrize("how", [*BROKEN, "a key that nobody can open"])
def test_an_api_too_stays_with_what_it_has_until_its_files_are_mended(
    files: Replaced, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    breaks, name = BROKEN.get(how, (lock, "gateway.key"))
    before = files.api.current
    breaks(files)
    files.look_as_api(times=5)
    assert files.api.current is before
    (error,) = errors(caplog)
    assert name in error
    files.put(files.made())
    files.look_as_api()
    assert files.api.current is not before


async def test_each_connection_gets_the_newest_though_the_server_has_one_context(
    files: Replaced,
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=RenewedContext(files.api))
    host, port = server.sockets[0].getsockname()
    context = files.authority.client()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        reader, writer = await asyncio.open_connection(
            host, port, ssl=context, server_hostname=HOSTNAME
        )
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return reader, writer, ssl.DER_cert_to_PEM_cert(shown).encode()

    reader, writer, _ = await connect()
    new = files.made()
    files.put(new)
    files.look_as_api()
    _, newer, shown = await connect()
    assert load_certificate(shown) == load_certificate(new.certificate.read_bytes())
    writer.write(b"still here\n")
    assert await reader.readline() == b"still here\n"
    for each in (writer, newer):
        each.close()
    server.close()
