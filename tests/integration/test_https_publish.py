"""Devices publish by HTTPS with their certificates: let in, judged and promised as by MQTT."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shlex
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aws_clients import Caller, a_key
from https_devices import HttpsDevice
from listener_clients import dialled
from mqtt_wire import Wire5
from new_devices import Factory, a_factory, activate
from regions import HOME, OTHER, Regions, two_regions, until
from second_gateway import free_place, second_gateway

from isthmus.clock import monotonic_s
from isthmus.config import Limits, TopicDurability
from isthmus.core.connecting import CONNECT_TIMEOUT_S
from isthmus.core.registry import CERTIFICATE, CertificateStatus, certificate_status
from isthmus.core.session import PAYLOAD_MAX_BYTES
from isthmus.gateway.rest_connection import BODY_S, IDLE_S
from isthmus.protocol import Route
from isthmus.wire import mqtt3, mqtt5

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENT = "$http"
DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), cuttable=True) as started:
        yield started


async def publisher(regions: Regions, name: str) -> str:
    return await regions.who_may(name, "iot:Publish", "iot:RetainPublish")


async def listener(regions: Regions) -> str:
    return await regions.who_may("hears-all", "iot:*")


@pytest.mark.parametrize("alpn", [(), ("http/1.1",), ("x-amzn-http-ca",)])
async def test_a_device_publishes_and_subscribers_in_both_regions_hear_it(
    regions: Regions, alpn: tuple[str, ...]
) -> None:
    name, hears = await publisher(regions, "posts"), await listener(regions)
    topic = f"https/{alpn}".replace("'", "")
    async with (
        regions.client(HOME, hears) as here,
        HttpsDevice(regions, name) as device,
    ):
        if alpn:
            device.speak(*alpn)
        await here.subscribe("https/#", qos=1)
        for number, qos in ((1, 0), (2, 1)):
            answer = await device.post(f"/topics/{topic}?qos={qos}", f"{number}".encode())
            assert (answer.status, answer.body["message"]) == (200, "OK")
            assert answer.body["traceId"] == answer.headers["x-amzn-RequestId"]
            heard = await here.expect(mqtt3.Publish)
            assert (heard.topic, heard.payload, heard.qos) == (topic, b"%d" % number, qos)
    for region in (HOME, OTHER):
        await until(
            "the lake has both",
            lambda region=region: (
                [row.payload for row in regions.lake(region, CLIENT) if row.topic == topic]
                == ["1", "2"]
            ),
        )


async def test_what_comes_with_a_message_is_given_on(regions: Regions) -> None:
    name, hears = await publisher(regions, "says-more"), await listener(regions)
    pairs = base64.b64encode(json.dumps([{"unit": "K"}]).encode()).decode()
    host, port = regions.place(HOME)
    hostname = regions.system.hostname(HOME)
    wire = await Wire5.open(host, port, regions.tls(regions.identity(hears)), hostname)
    async with HttpsDevice(regions, name) as device:
        wire.send(mqtt5.Connect(hears, level=5))
        await wire.expect(mqtt5.Connack)
        await wire.subscribe("more/#", qos=1)
        answer = await device.post(
            "/topics/more%2F%C3%A4?qos=1&contentType=text%2Fplain&responseTopic=r&messageExpiry=99",
            b"\xff",
            headers={
                "x-amz-mqtt5-user-properties": pairs,
                "x-amz-mqtt5-payload-format-indicator": "UNSPECIFIED_BYTES",
                "x-amz-mqtt5-correlation-data": base64.b64encode(b"\0").decode(),
            },
        )
        assert answer.status == 200
        heard = await wire.expect(mqtt5.Publish)
        await wire.abort()
    assert (heard.topic, heard.payload) == ("more/ä", b"\xff")
    properties = heard.properties
    assert properties is not None
    assert properties.user_properties == (("unit", "K"),)
    assert (properties.content_type, properties.response_topic) == ("text/plain", "r")
    assert (properties.correlation_data, properties.payload_format) == (b"\0", 0)
    assert 0 < (properties.message_expiry_s or 0) <= 99


# Who may


async def test_who_shows_no_certificate_is_refused_and_closed(regions: Regions) -> None:
    async with HttpsDevice(regions, None) as device:
        answer = await device.post("/topics/a?qos=1", b"x")
        assert (answer.status, answer.error) == (403, "MissingAuthenticationTokenException")
        assert answer.headers["Connection"] == "close"


async def test_policies_are_asked_and_know_no_client(regions: Regions) -> None:
    # The fleet's policy allows topics under the thing's name, and there is no thing here.
    name = await regions.device("posts-as-a-thing")
    async with HttpsDevice(regions, name) as device:
        for _ in range(2):
            answer = await device.post(f"/topics/{regions.topic(name)}?qos=1", b"x")
            assert (answer.status, answer.error) == (403, "ForbiddenException")
            assert answer.body["message"] == "Forbidden"
            # It may ask for something else.
            assert "Connection" not in answer.headers


async def test_to_be_retained_takes_a_right_of_its_own(regions: Regions) -> None:
    may_not = await regions.who_may("retains-nothing", "iot:Publish")
    may, hears = await publisher(regions, "retains"), await listener(regions)
    async with HttpsDevice(regions, may_not) as device:
        assert (await device.post("/topics/kept?qos=1&retain=true", b"x")).status == 403
        await device.publish("/topics/kept?qos=1&retain=false", b"x")
    async with HttpsDevice(regions, may) as device:
        await device.publish("/topics/kept?qos=1&retain=true", b"kept")
    for region in (HOME, OTHER):

        async def recalled(region: str = region) -> bool:
            async with regions.client(region, hears) as wire:
                await wire.subscribe("kept")
                return any(each.payload == b"kept" for each in await wire.ping())

        await until("it is retained", recalled)


async def take_away(regions: Regions, name: str, what: str) -> None:
    """Revoke a certificate, or let its policy deny everything."""
    if what == "certificate":
        await regions.operator.revoke(HOME, regions.identity(name).certificate_id)
        return
    deny = {"Effect": "Deny", "Action": "iot:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": deny})
    await regions.operator.register(HOME, [], [{"name": f"policy-of-{name}", "document": document}])


async def until_refused(device: HttpsDevice) -> None:
    async def refused() -> bool:
        answer = await device.post("/topics/a?qos=1", b"x")
        assert answer.status in (200, 503) or answer.error == "ForbiddenException"
        return answer.status == 403

    await until("it is refused", refused)


@pytest.mark.parametrize("what", ["certificate", "policy"])
async def test_what_is_taken_away_is_gone_on_a_connection_that_was_kept(
    regions: Regions, what: str
) -> None:
    name = await publisher(regions, f"loses-its-{what}")
    async with HttpsDevice(regions, name) as device:
        await device.publish("/topics/a?qos=1", b"x")
        await take_away(regions, name, what)
        await until_refused(device)


@pytest.mark.parametrize("what", ["certificate", "policy"])
async def test_a_body_may_come_too_late(regions: Regions, what: str) -> None:
    name = await publisher(regions, f"late-for-its-{what}")
    tls = regions.tls(regions.identity(name))
    async with (
        HttpsDevice(regions, name) as device,
        dialled(device.listen, tls) as wire,
    ):
        wire.writer.write(
            b"POST /topics/a?qos=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert b" 100 " in await wire.reader.readuntil(b"\r\n\r\n")
        await take_away(regions, name, what)
        await until_refused(device)
        wire.writer.write(b"x")
        assert b" 403 " in await wire.reader.readuntil(b"\r\n\r\n")


async def test_a_page_of_another_site_may_not_use_a_certificate(regions: Regions) -> None:
    name = await publisher(regions, "browses")
    async with HttpsDevice(regions, name) as device:
        theirs = {"Origin": "https://elsewhere.example"}
        assert (await device.post("/topics/a?qos=1", b"x", headers=theirs)).status == 403
        ours = {"Origin": f"https://{device.listen}"}
        await device.publish("/topics/a?qos=1", b"x", headers=ours)


async def test_a_newcomer_is_registered_and_may_publish_once_it_is_activated(
    regions: Regions, tmp_path: Path
) -> None:
    call = Caller(regions, await a_key(regions))
    factory = await a_factory(regions, call, tmp_path / "factory")
    new = factory.device("new-by-https")
    async with HttpsDevice(regions, new) as device:
        for _ in range(2):
            answer = await device.post("/topics/a?qos=1", b"x")
            assert (answer.status, answer.error) == (503, "ServiceUnavailableException")
        found = await regions.item(HOME, CERTIFICATE, new.certificate_id)
        assert certificate_status(found) is CertificateStatus.PENDING_ACTIVATION
        await activate(call, new, "all")

        async def admitted() -> bool:
            return (await device.post("/topics/a?qos=1", b"x")).status == 200

        await until("it is let in", admitted)
    stranger = Factory(regions, tmp_path / "elsewhere").device("stranger")
    async with HttpsDevice(regions, stranger) as device:
        answer = await device.post("/topics/a?qos=1", b"x")
        assert (answer.status, answer.error) == (403, "ForbiddenException")
        assert answer.headers["Connection"] == "close"


# What is asked


@pytest.mark.parametrize(
    ("target", "status", "error"),
    [
        ("/topics/a?qos=2", 400, "InvalidRequestException"),
        ("/topics/a?else=1", 400, "InvalidRequestException"),
        ("/topics/a%zz", 400, "InvalidRequestException"),
        ("/topics/a/%23", 400, "InvalidRequestException"),
        ("/topics/$aws/things/a/shadow/update", 400, "InvalidRequestException"),
        ("/topics/" + "a/" * 8, 400, "InvalidRequestException"),
        ("/topics/", 404, "UnknownOperationException"),
        ("/elsewhere", 404, "UnknownOperationException"),
    ],
)
async def test_what_is_wrong_is_refused_and_the_connection_goes_on(
    regions: Regions, target: str, status: int, error: str
) -> None:
    name = await publisher(regions, "errs")
    async with HttpsDevice(regions, name) as device:
        answer = await device.post(target, b"x")
        assert (answer.status, answer.error) == (status, error)
        assert answer.body["traceId"] == answer.headers["x-amzn-RequestId"]
        assert "Connection" not in answer.headers


async def test_topics_are_posted_to(regions: Regions) -> None:
    name = await publisher(regions, "gets")
    async with HttpsDevice(regions, name) as device:
        answer = await device.ask("GET", "/topics/a")
        assert (answer.status, answer.error) == (405, "MethodNotAllowedException")
        answer = await device.ask("HEAD", "/topics/a")
        assert (answer.status, answer.body) == (405, b"")
        await device.publish("/topics/a")


async def test_a_payload_is_as_large_as_with_mqtt(regions: Regions) -> None:
    name = await publisher(regions, "is-large")
    async with HttpsDevice(regions, name) as device:

        async def in_pieces(size: int) -> AsyncIterator[bytes]:
            for begin in range(0, size, 10_000):
                yield b"x" * min(10_000, size - begin)

        largest = PAYLOAD_MAX_BYTES
        await device.publish("/topics/a?qos=1", b"x" * largest)
        assert (await device.post("/topics/a?qos=1", in_pieces(largest))).status == 200
        for body in (b"x" * (largest + 1), b"x" * 1_000_000, in_pieces(largest + 1)):
            answer = await device.post("/topics/a?qos=1", body)
            assert (answer.status, answer.error) == (413, "RequestEntityTooLargeException")
        waits = {"Expect": "100-continue"}
        await device.publish("/topics/a?qos=1", b"x", headers=waits)


async def test_a_route_that_leads_elsewhere_ends_connections_with_their_next_answer(
    regions: Regions,
) -> None:
    name = await publisher(regions, "is-drained")
    listen = free_place(regions.config(HOME).mqtt.host)
    async with (
        second_gateway(regions, https=listen) as gateway,
        HttpsDevice(regions, name, listen=listen) as device,
    ):
        await device.publish("/topics/a?qos=1", b"x")
        await gateway._drain(Route(regions.system.stable_name, 1, OTHER))
        for ends in (True, False):
            answer = await device.post("/topics/a?qos=1", b"x")
            assert ("Connection" in answer.headers) is ends


async def test_curl_does_as_the_documentation_says(regions: Regions) -> None:
    if not (program := shutil.which("curl")):
        pytest.skip("curl is not installed")
    publishes, updates = re.findall(r"```sh\n(curl .*?)```", DOCUMENT.read_text(), re.DOTALL)
    name = await regions.who_may("curls", "iot:Publish", "iot:UpdateThingShadow")
    identity = regions.identity(name)
    found = {
        "curl": program,
        "CA_FILE": str(regions.system.pki.ca_file),
        "CERTIFICATE": str(identity.chain),
        "KEY": str(identity.key),
    }
    host_port = str(HttpsDevice(regions, name).listen)

    async def said(line: str) -> Any:
        words = [found.get(each, each) for each in shlex.split(line)]
        words = [each.replace("HOST:PORT", host_port) for each in words]
        curl = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        return json.loads((await curl.communicate())[0])

    assert (await said(publishes))["message"] == "OK"
    assert (await said(updates))["state"] == {"reported": {"lamp": "on"}}
    await until(
        "the lake has it",
        lambda: "sensors/7" in [row.topic for row in regions.lake(OTHER, CLIENT)],
    )


# What the API answers


async def test_a_device_reads_what_is_retained_if_it_may(regions: Regions) -> None:
    writes = await publisher(regions, "writes")
    actions = ("iot:GetRetainedMessage", "iot:ListRetainedMessages")
    reads, may_not = await regions.who_may("reads", *actions), await publisher(regions, "unread")
    async with (
        HttpsDevice(regions, writes) as writer,
        HttpsDevice(regions, reads, OTHER) as reader,
        HttpsDevice(regions, may_not) as other,
    ):
        await writer.publish("/topics/held%2F1?qos=1&retain=true", b"\xff")

        async def is_there() -> bool:
            return (await reader.ask("GET", "/retainedMessage/held%2F1")).status == 200

        await until("the other region has it", is_there)
        found = await reader.ask("GET", "/retainedMessage/held%2F1")
        assert (found.body["topic"], found.body["payload"]) == ("held/1", "/w==")
        listed = await reader.ask("GET", "/retainedMessage?maxResults=200")
        assert "held/1" in [each["topic"] for each in listed.body["retainedTopics"]]
        for target, status, error in (
            ("/retainedMessage/none", 404, "ResourceNotFoundException"),
            ("/retainedMessage?maxResults=0", 400, "InvalidRequestException"),
        ):
            answer = await reader.ask("GET", target)
            assert (answer.status, answer.error) == (status, error)
        for target in ("/retainedMessage/held%2F1", "/retainedMessage"):
            answer = await other.ask("GET", target)
            assert (answer.status, answer.error) == (403, "ForbiddenException")


# Bounds


@pytest.mark.parametrize(
    ("said", "late_s"),
    [
        (b"", CONNECT_TIMEOUT_S),
        (b"POST /topics/a HT", CONNECT_TIMEOUT_S),
        (b"POST /topics/a HTTP/1.1\r\nHost: x\r\n", CONNECT_TIMEOUT_S),
        (b"POST /topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx", BODY_S),
        (b"POST /topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", IDLE_S),
    ],
)
async def test_who_takes_too_long_is_cut_off(regions: Regions, said: bytes, late_s: float) -> None:
    name = await publisher(regions, "is-slow")
    listen = free_place(regions.config(HOME).mqtt.host)
    async with (
        second_gateway(regions, https=listen) as gateway,
        dialled(listen, regions.tls(regions.identity(name))) as wire,
    ):
        wire.writer.write(said)
        if late_s == IDLE_S:
            assert (await wire.reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        if b"\r\n" in said:
            await until("its request is known", lambda: bool(gateway.rest._open))
        gateway.look(late_s - 5)
        await until("it waits no more", lambda: gone(gateway.look, late_s + 5, wire.reader))


async def gone(look: Callable[[float], None], late_s: float, reader: asyncio.StreamReader) -> bool:
    """Whether a connection has ended by this time."""
    look(late_s)
    try:
        async with asyncio.timeout(0.1):
            return await reader.read(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


async def test_requests_that_come_together_are_answered_in_their_order(regions: Regions) -> None:
    name = await publisher(regions, "pipelines")
    tls = regions.tls(regions.identity(name))
    wanted = [b"200", b"404", b"200"]
    async with dialled(HttpsDevice(regions, name).listen, tls) as wire:
        for path in (b"/topics/a?qos=1", b"/else", b"/topics/b"):
            wire.writer.write(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx" % path)
        for status in wanted:
            head = await wire.reader.readuntil(b"\r\n\r\n")
            assert head.split()[1] == status
            await wire.reader.readuntil(b"}")


@pytest.mark.parametrize("said", [b"GET  / HTTP/1.1\r\n\r\n", b"POST /a b c\r\n\r\n"])
async def test_what_is_no_http_is_told_so_and_closed(regions: Regions, said: bytes) -> None:
    name = await publisher(regions, "says-nothing")
    tls = regions.tls(regions.identity(name))
    async with dialled(HttpsDevice(regions, name).listen, tls) as wire:
        wire.writer.write(said)
        answer = await wire.reader.read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"x-amzn-ErrorType: InvalidRequestException" in answer


async def test_over_its_rate_a_device_waits_for_its_next_answer(regions: Regions) -> None:
    name = await publisher(regions, "is-fast")
    listen = free_place(regions.config(HOME).mqtt.host)
    limits = Limits(publishes_per_s=5.0)
    async with (
        second_gateway(regions, https=listen, limits=limits),
        HttpsDevice(regions, name, listen=listen) as device,
    ):
        began_s = monotonic_s()
        for _ in range(10):
            await device.publish("/topics/a", b"x")
        # Five at once, and the others at their rate: that they are not sooner is the promise.
        assert monotonic_s() - began_s > 0.7


async def test_where_too_much_waits_nothing_more_is_taken_in(regions: Regions) -> None:
    name = await publisher(regions, "is-too-much")
    listen = free_place(regions.config(HOME).mqtt.host)
    async with (
        second_gateway(regions, https=listen) as gateway,
        HttpsDevice(regions, name, listen=listen) as device,
    ):
        await device.publish("/topics/a?qos=1", b"x")
        gateway.shedding.is_holding = True
        answer = await device.post("/topics/a?qos=1", b"x")
        assert (answer.status, answer.error) == (503, "ServiceUnavailableException")


# Outages


async def test_a_region_that_is_cut_off_answers_when_it_is_alone(regions: Regions) -> None:
    name = await publisher(regions, "is-alone")
    async with HttpsDevice(regions, name) as device:
        await device.publish("/topics/alone?qos=1", b"before")
        await regions.system.cut()
        try:
            await device.publish("/topics/alone?qos=1", b"meanwhile")
            assert await regions.is_alone(HOME)
        finally:
            await regions.system.heal()
        await regions.together()
    for region in (HOME, OTHER):
        await until(
            "the lake has both",
            lambda region=region: (
                [row.payload for row in regions.lake(region, CLIENT) if row.topic == "alone"]
                == ["before", "meanwhile"]
            ),
        )


async def test_what_a_region_may_not_promise_alone_is_refused_in_time(regions: Regions) -> None:
    name = await publisher(regions, "never-alone")
    listen = free_place(regions.config(HOME).mqtt.host)
    never = TopicDurability(topics="never/#", durability="two-regions", alone="refuse")
    async with (
        second_gateway(regions, https=listen, durability=(never,), promise_timeout_s=1.0),
        HttpsDevice(regions, name, listen=listen) as device,
    ):
        await device.publish("/topics/never/1?qos=1", b"x")
        await regions.system.cut()
        try:
            await regions.alone(HOME)
            answer = await device.post("/topics/never/2?qos=1", b"x")
            assert (answer.status, answer.error) == (503, "ServiceUnavailableException")
            # Nobody waits for this one.
            await device.publish("/topics/never/3?qos=0", b"x")
        finally:
            await regions.system.heal()
        await regions.together()
        await device.publish("/topics/never/4?qos=1", b"x")
