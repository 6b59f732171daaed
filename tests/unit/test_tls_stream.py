"""TLS as the gateway speaks it, against the standard library's, without a socket."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tls_clients import HOSTNAME, Authority, Client

from isthmus.adapters.pki import validity
from isthmus.gateway import tls
from isthmus.gateway.tls import DEVICE_HTTP, HTTP, MQTT, TlsStream, https_context, mqtt_context

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def stream_of(authority: Authority):
    context = mqtt_context(authority.files)
    return lambda: TlsStream(context)


def test_plaintext_goes_both_ways_and_the_client_is_known_by_its_certificate(
    authority: Authority, stream_of
) -> None:
    stream = stream_of()
    client = Client(authority.client(authority.device), stream)
    assert stream.principal == ""
    client.shake_hands()
    assert client.says(b"up") == b"up"
    assert client.hears(stream.wrap(b"down")) == b"down"
    assert stream.principal == authority.device.certificate_id
    assert stream.certificate() in authority.device.certificate.read_text()
    assert stream.ended is None


def test_a_close_is_told_so_that_nobody_takes_a_cut_for_the_end(
    authority: Authority, stream_of
) -> None:
    stream = stream_of()
    client = Client(authority.client(authority.device), stream).shake_hands()
    client.hears(stream.close())
    # It would want to read on, had it not been told.
    assert client.tls.read(1) == b""


def test_whoever_shows_no_certificate_is_told_so(authority: Authority, stream_of) -> None:
    stream = stream_of()
    client = Client(authority.client(), stream).shake_hands()
    assert stream.ended is not None
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        client.hears()
    assert (stream.principal, stream.wrap(b"x"), stream.close()) == ("", b"", b"")
    assert stream.certificate() == ""


def test_what_was_said_before_the_stream_broke_is_kept(authority: Authority, stream_of) -> None:
    stream = stream_of()
    client = Client(authority.client(authority.device), stream).shake_hands()
    client.tls.write(b"good")
    records = client._out.read() + b"\x17\x03\x03\x00\x10" + bytes(16)
    plaintext, alert = stream.feed(records)
    assert plaintext == b"good"
    assert stream.ended is not None
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        client.hears(alert)


# Protocols


@VERSIONS
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), None),
        (("x-amzn-mqtt-ca",), "x-amzn-mqtt-ca"),
        (("h2", "x-amzn-mqtt-ca"), "x-amzn-mqtt-ca"),
        (("h2", "mqtt"), None),
    ],
)
def test_where_only_mqtt_is_spoken_its_name_is_answered_and_no_other_needed(
    authority: Authority,
    stream_of,
    version: ssl.TLSVersion,
    offered: tuple[str, ...],
    chosen: str | None,
) -> None:
    context = authority.client(authority.device, *offered)
    context.minimum_version = context.maximum_version = version
    client = Client(context, stream_of()).shake_hands()
    assert client.tls.selected_alpn_protocol() == chosen
    assert client.says(b"up") == b"up"


@pytest.fixture(scope="module")
def https_stream_of(authority: Authority):
    context = https_context(authority.files)
    return lambda: TlsStream(context, anonymous=(HTTP, b""))


@VERSIONS
@pytest.mark.parametrize("has_certificate", [True, False])
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), b""),
        (("http/1.1",), HTTP),
        (("h2", "http/1.1"), HTTP),
        (("x-amzn-mqtt-ca",), MQTT),
        (("http/1.1", "x-amzn-mqtt-ca"), MQTT),
        (("x-amzn-http-ca",), DEVICE_HTTP),
        (("http/1.1", "x-amzn-http-ca"), DEVICE_HTTP),
        (("x-amzn-http-ca", "x-amzn-mqtt-ca"), MQTT),
    ],
)
def test_a_client_chooses_among_mqtt_and_http_and_what_devices_speak_needs_a_certificate(
    authority: Authority,
    https_stream_of,
    version: ssl.TLSVersion,
    has_certificate: bool,
    offered: tuple[str, ...],
    chosen: bytes,
) -> None:
    context = authority.client(authority.device if has_certificate else None, *offered)
    context.minimum_version = context.maximum_version = version
    stream = https_stream_of()
    client = Client(context, stream)
    if chosen in (MQTT, DEVICE_HTTP) and not has_certificate:
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required|handshake.failure"):
            client.shake_hands().hears()
        assert (stream.principal, stream.is_open) == ("", False)
        return
    assert client.shake_hands().says(b"up") == b"up"
    assert (client.tls.selected_alpn_protocol() or "").encode() == stream.protocol == chosen
    assert stream.principal == (authority.device.certificate_id if has_certificate else "")


@VERSIONS
@pytest.mark.parametrize("offered", [("h2",), ("mqtt", "x-amzn-http")])
def test_a_client_that_speaks_nothing_of_ours_is_told_so(
    authority: Authority, https_stream_of, version: ssl.TLSVersion, offered: tuple[str, ...]
) -> None:
    context = authority.client(authority.device, *offered)
    context.minimum_version = context.maximum_version = version
    stream = https_stream_of()
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        Client(context, stream).shake_hands()
    assert stream.ended is not None
    # The next one is not refused for it.
    following = https_stream_of()
    Client(authority.client(authority.device), following).shake_hands()
    assert following.is_open


@VERSIONS
def test_a_session_without_a_certificate_cannot_be_resumed_for_mqtt(
    authority: Authority, https_stream_of, version: ssl.TLSVersion
) -> None:
    context = authority.client()
    context.minimum_version = context.maximum_version = version
    session = Client(context, https_stream_of()).shake_hands().session()
    stream = https_stream_of()
    assert Client(context, stream, session=session).shake_hands().tls.session_reused
    assert stream.ended is None
    context.set_alpn_protocols(["x-amzn-mqtt-ca"])
    stream = https_stream_of()
    client = Client(context, stream, session=session)
    with contextlib.suppress(ssl.SSLError):
        client.shake_hands()
    assert stream.ended is not None
    assert (stream.principal, stream.is_open) == ("", False)


# Names

NAMES = frozenset({HOSTNAME.encode(), b"iot.example.com"})


@VERSIONS
@pytest.mark.parametrize("name", [HOSTNAME, HOSTNAME.upper(), None])
def test_a_client_that_wants_us_or_names_nobody_is_served(
    authority: Authority, version: ssl.TLSVersion, name: str | None
) -> None:
    context = authority.client(authority.device)
    context.minimum_version = context.maximum_version = version
    stream = TlsStream(mqtt_context(authority.files), NAMES)
    client = Client(context, stream, name)
    assert client.shake_hands().says(b"up") == b"up"


@VERSIONS
@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize("name", ["us.iot.example.com", "example.com", "x.iot.example.com"])
def test_a_client_that_wants_somebody_else_is_told_so(
    authority: Authority, version: ssl.TLSVersion, is_split: bool, name: str
) -> None:
    context = authority.client(authority.device)
    context.minimum_version = context.maximum_version = version
    stream = TlsStream(mqtt_context(authority.files), NAMES)
    client = Client(context, stream, name)
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    hello = client._out.read()
    middle = len(hello) // 2 if is_split else 0
    answers = [stream.feed(part)[1] for part in (hello[:middle], hello[middle:]) if part]
    assert stream.ended is not None
    assert name in stream.ended.reason
    assert stream.close() == b""
    client._in.write(b"".join(answers))
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        client.tls.do_handshake()


def test_without_names_a_client_may_take_us_for_anybody(authority: Authority, stream_of) -> None:
    context = authority.client(authority.device)
    context.check_hostname = False
    client = Client(context, stream_of(), "somebody.example.com").shake_hands()
    assert client.says(b"up") == b"up"


# Sessions that are resumed


@VERSIONS
def test_a_resumed_session_brings_its_certificate(
    authority: Authority, stream_of, version: ssl.TLSVersion
) -> None:
    context = authority.client(authority.device)
    context.minimum_version = context.maximum_version = version
    session = Client(context, stream_of()).shake_hands().session()
    for _ in range(3):
        stream = stream_of()
        client = Client(context, stream, session=session).shake_hands()
        assert client.tls.session_reused
        assert stream.principal == authority.device.certificate_id
        assert client.says(b"up") == b"up"
        session = client.session()


@VERSIONS
def test_a_session_does_not_outlive_its_certificate(
    authority: Authority, stream_of, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = authority.client(authority.device)
    context.minimum_version = context.maximum_version = version
    session = Client(context, stream_of()).shake_hands().session()
    ends = authority.pki.device("car-1").certificate.read_bytes()
    ends_ms = int(validity(ends).not_after.timestamp() * 1000)
    for now_ms, is_good in ((ends_ms - 1, True), (ends_ms + 1, False)):
        monkeypatch.setattr(tls, "now_ms", lambda now_ms=now_ms: now_ms)
        stream = stream_of()
        assert Client(context, stream, session=session).shake_hands().tls.session_reused
        assert (stream.ended is None, stream.principal != "") == (is_good, is_good)


@given(chunks=st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8))
@pytest.mark.parametrize("before", ["anything", "the handshake"])
def test_no_bytes_make_it_raise(
    authority: Authority, stream_of, before: str, chunks: list[bytes]
) -> None:
    stream = stream_of()
    if before == "the handshake":
        Client(authority.client(authority.device), stream).shake_hands()
    for chunk in chunks:
        plaintext, _ = stream.feed(chunk)
        assert plaintext == b""
        if stream.ended is not None:
            break
    stream.wrap(b"x")
    stream.close()
