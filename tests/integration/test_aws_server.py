"""The AWS-compatible API over HTTPS: who is answered, what is refused, when an answer leaves."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import botocore.exceptions
import pytest
import pytest_asyncio
from aws_clients import (
    LAUNCHER,
    PAUSE_S,
    Caller,
    Sent,
    a_key,
    endpoint,
    logged,
    second_api,
    send,
    sign,
)
from aws_dimensions import KIND
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.aws.requests import BODY_BYTES_MAX
from isthmus.aws_server import exchange, listener
from isthmus.clock import monotonic_s
from isthmus.errors import Unavailable
from isthmus.local import aws_profile, foreground
from isthmus.region import entrance, log_view

pytestmark = pytest.mark.asyncio(loop_scope="module")

STABLE = "iot.isthmus.test"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions"), launcher=LAUNCHER) as started:
        yield started


def code_of(refused: pytest.ExceptionInfo[botocore.exceptions.ClientError]) -> str:
    return str(refused.value.response["Error"]["Code"])


# Who is answered


@pytest.mark.parametrize("region", [HOME, OTHER])
@pytest.mark.parametrize("signs_for", [HOME, OTHER])
async def test_a_key_is_good_in_every_region_whichever_it_signs_for(
    regions: Regions, region: str, signs_for: str
) -> None:
    call = Caller(regions, await a_key(regions), region, signs_for=signs_for)
    answer = await call("describe_endpoint", endpointType="iot:Data-ATS")
    assert answer["endpointAddress"] == STABLE


async def test_the_certificate_names_the_region_and_the_api_in_every_region(
    regions: Regions,
) -> None:
    for region in (HOME, OTHER):
        address = regions.system.address(region)
        own = f"{region}.{STABLE}"
        for name in (f"api.{STABLE}", f"api.{own}", own, address.host):
            _, writer = await asyncio.open_connection(
                address.host,
                address.ports["aws_api"],
                ssl=regions.tls(None),
                server_hostname=name,
            )
            writer.close()
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(
            address.host, address.ports["aws_api"], ssl=regions.tls(None), server_hostname=STABLE
        )


@pytest.mark.parametrize("service", ["iotdata", "iotdevicegateway"])
async def test_the_data_plane_is_served_under_both_of_its_names(
    regions: Regions, service: str
) -> None:
    key = await a_key(regions)
    answer = await send(regions, sign(regions, key, Sent(path="/no/such"), service=service))
    assert (answer.status, answer.error) == (404, "UnknownOperationException")
    # Only the data plane's answers have it.
    assert "traceId" in answer.text


async def test_what_is_encoded_in_a_path_arrives_as_it_was_signed(regions: Regions) -> None:
    call = Caller(regions, await a_key(regions))
    name = "with:a_colon-and_more"
    await call.make(name)
    assert (await call("describe_dimension", name=name))["name"] == name
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        await call("describe_dimension", name="a/b +%2F?&ü")
    assert code_of(refused) == "InvalidRequestException"
    assert "a/b +%2F?&ü" in refused.value.response["Error"]["Message"]
    # Encoded without need, and in lower case: whoever writes it anew breaks the signature.
    sent = Sent(path="/dimensions/%77ith%3aa_colon-and_more")
    assert (await send(regions, sign(regions, await a_key(regions), sent))).status == 200


async def test_connections_are_kept_between_requests(regions: Regions) -> None:
    key = await a_key(regions)
    sent = sign(regions, key, Sent())
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.headers.items())
    address = regions.system.address(HOME)
    host = endpoint(regions).removeprefix("https://")
    reader, writer = await asyncio.open_connection(
        address.host, address.ports["aws_api"], ssl=regions.tls(None)
    )
    for _ in range(2):
        writer.write(f"GET /endpoint HTTP/1.1\r\nHost: {host}\r\n{head}\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert (await reader.readuntil(b"\r\n\r\n")).lower().count(b"x-amzn-requestid") == 1
        assert STABLE.encode() in await reader.readuntil(b"}")
    writer.close()


# Who is not


async def test_a_request_that_is_not_signed_is_told_so(regions: Regions) -> None:
    answer = await send(regions, Sent())
    assert (answer.status, answer.error) == (403, "MissingAuthenticationTokenException")
    assert answer.message == "Missing Authentication Token"


WRONG: dict[str, dict[str, Any]] = {
    "a late clock": {"late": timedelta(seconds=330)},
    "an early clock": {"late": timedelta(seconds=-330)},
    "the name of another region": {"scope": "ap"},
    "another service": {"service": "s3"},
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_signature_for_something_else_is_refused(regions: Regions, what: str) -> None:
    sent = sign(regions, await a_key(regions), Sent(), **WRONG[what])
    answer = await send(regions, sent)
    assert (answer.status, answer.error) == (403, "InvalidSignatureException")
    assert ("Signature expired" in answer.message) == ("clock" in what)
    (line,) = logged(regions, answer.headers["x-amzn-RequestId"])
    assert line["reason"] != answer.message


async def test_a_wrong_secret_is_refused_as_a_wrong_signature(regions: Regions) -> None:
    call = Caller(regions, await a_key(regions), secret="x" * 40)
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        await call("describe_endpoint")
    assert code_of(refused) == "InvalidSignatureException"


CREATE = Sent(
    "POST",
    "/dimensions/tampered",
    b'{"type": "TOPIC_FILTER", "stringValues": ["a"], "clientRequestToken": "t"}',
)
TAMPERED: dict[str, dict[str, Any]] = {
    "the body": {"body": CREATE.body.replace(b'"a"', b'"b"')},
    "the path": {"path": "/dimensions/tempered"},
    "the query": {"path": "/dimensions/tampered?a=b"},
    "the method": {"method": "PUT"},
}


@pytest.mark.parametrize("what", TAMPERED)
async def test_what_was_changed_after_it_was_signed_is_refused(regions: Regions, what: str) -> None:
    sent = sign(regions, await a_key(regions), CREATE)
    before = await regions.level()
    answer = await send(regions, sent._replace(**TAMPERED[what]))
    assert (answer.status, answer.error) == (403, "InvalidSignatureException")
    assert await regions.level() == before


async def test_a_body_that_is_not_signed_is_refused(regions: Regions) -> None:
    unsigned = CREATE._replace(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    sent = sign(regions, await a_key(regions), unsigned)
    answer = await send(regions, sent)
    assert (answer.status, answer.error) == (403, "InvalidSignatureException")


@pytest.mark.parametrize("region", [HOME, OTHER])
async def test_a_key_that_is_unknown_or_taken_away_is_refused_at_once(
    regions: Regions, region: str
) -> None:
    unknown = {"id": "AKIA" + "A" * 16, "secret": "x" * 40}
    inactive, deleted = [await a_key(regions, region=region) for _ in range(2)]
    await regions.operator.change_access_key(region, inactive["id"], "deactivate")
    await regions.operator.change_access_key(region, deleted["id"], "delete")
    for key in (unknown, inactive, deleted):
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            await Caller(regions, key, region)("describe_endpoint")
        assert code_of(refused) == "UnrecognizedClientException"
    await regions.operator.change_access_key(region, inactive["id"], "activate")
    await Caller(regions, inactive, region)("describe_endpoint")


# Roles


@pytest.mark.parametrize(
    ("role", "writes", "reads"),
    [
        ("admin", True, True),
        ("operator", True, True),
        ("read-only", False, True),
        ("provisioner", False, False),
    ],
)
async def test_a_role_may_do_what_it_is_for(
    regions: Regions, role: str, writes: bool, reads: bool
) -> None:
    await Caller(regions, await a_key(regions)).make("for-roles")
    call = Caller(regions, await a_key(regions, role))
    assert (await call("describe_endpoint"))["endpointAddress"] == STABLE
    for asked, allowed in (
        (call.make(f"made-by-{role}"), writes),
        (call("describe_dimension", name="for-roles"), reads),
    ):
        if allowed:
            await asked
            continue
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            await asked
        assert code_of(refused) == "AccessDeniedException"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


# What is asked wrongly


async def test_bodies_are_bounded_while_they_are_read(regions: Regions) -> None:
    key = await a_key(regions)
    before = await regions.level()

    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65_536

    whole = sign(regions, key, CREATE._replace(body=b" " * 10 * BODY_BYTES_MAX))
    for answer in (
        await send(regions, whole),
        # Without a length, and without an end: it is too long as soon as so much has come.
        await send(regions, whole, parts()),
    ):
        assert (answer.status, answer.error) == (413, "RequestEntityTooLargeException")
        assert answer.headers["x-amzn-RequestId"]
    assert await regions.level() == before


BAD: dict[str, tuple[Sent, int, str]] = {
    "no JSON": (CREATE._replace(body=b"{"), 400, "SerializationException"),
    "an unknown field": (
        CREATE._replace(body=CREATE.body[:-1] + b', "colour": "red"}'),
        400,
        "InvalidRequestException",
    ),
    "a missing field": (CREATE._replace(body=b"{}"), 400, "InvalidRequestException"),
    "no operation": (Sent(path="/no-such-path"), 404, "UnknownOperationException"),
    "another method": (Sent("PATCH"), 405, "MethodNotAllowedException"),
    "what is not there": (Sent(path="/security-profiles"), 501, "NotImplementedException"),
    "a long address": (Sent(path=f"/things/{'x' * 17_000}"), 403, "InvalidSignatureException"),
}


@pytest.mark.parametrize("what", BAD)
async def test_what_is_wrong_is_named_and_nothing_is_written(regions: Regions, what: str) -> None:
    sent, status, error = BAD[what]
    signed = sign(regions, await a_key(regions), sent)
    before = await regions.level()
    answer = await send(regions, signed)
    assert (answer.status, answer.error) == (status, error)
    assert answer.message
    (line,) = logged(regions, answer.headers["x-amzn-RequestId"])
    assert (line["status"], line["error"]) == (status, error)
    assert await regions.level() == before


async def test_a_bug_of_ours_is_in_the_log_and_not_in_the_answer(regions: Regions) -> None:
    sent = sign(regions, await a_key(regions), Sent("DELETE", "/dimensions/any"))
    answer = await send(regions, sent)
    assert (answer.status, answer.error) == (500, "InternalFailureException")
    assert "secret" not in answer.text
    failed, answered = logged(regions, answer.headers["x-amzn-RequestId"])
    assert "a secret of ours" in failed["traceback"]
    assert answered["operation"] == "DeleteDimension"


async def test_garbage_instead_of_http_is_no_traceback(regions: Regions) -> None:
    address = regions.system.address(HOME)
    for garbage in (b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000 + b"\r\n"):
        reader, writer = await asyncio.open_connection(
            address.host, address.ports["aws_api"], ssl=regions.tls(None)
        )
        writer.write(garbage)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.")
        assert b" 400 " in answer.splitlines()[0]
        assert b"x-amzn-ErrorType: SerializationException" in answer
        assert b"Server: isthmus" in answer


async def test_who_leaves_before_the_end_of_a_body_is_no_fault_of_ours(
    regions: Regions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", exchange.__name__)

    def lines() -> list[logging.LogRecord]:
        return [each for each in caplog.records if each.name == exchange.__name__]

    async with second_api(regions) as (_, url):
        host, port = url.removeprefix("https://").split(":")
        _, writer = await asyncio.open_connection(host, port, ssl=regions.tls(None))
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        writer.transport.abort()
        await until("it is in the log", lambda: bool(lines()))
    (line,) = lines()
    assert (line.levelname, line.__dict__["status"]) == ("INFO", 400)
    assert "ended before the body" in line.__dict__["reason"]


async def test_who_is_slow_is_not_waited_for(
    regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "BODY_S", 0.2)
    monkeypatch.setattr(listener, "IDLE_S", 0.5)
    async with second_api(regions) as (_, url):
        host, port = url.removeprefix("https://").split(":")

        async def what_comes_of(sent: bytes) -> bytes:
            reader, writer = await asyncio.open_connection(host, port, ssl=regions.tls(None))
            writer.write(sent)
            try:
                return await reader.read()
            finally:
                writer.close()

        assert await what_comes_of(b"") == b""
        assert await what_comes_of(b"GET /endpoint HTTP/1.1\r\nHost: a\r\n") == b""
        half = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf"
        answer = await what_comes_of(half)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"RequestTimeoutException" in answer


async def test_connections_are_bounded(regions: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "CONNECTIONS_MAX", 2)
    async with second_api(regions) as (_, url):
        host, port = url.removeprefix("https://").split(":")

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection(host, port, ssl=regions.tls(None))

        async def is_turned_away() -> bool:
            reader, writer = await connect()
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            try:
                return await reader.readline() == b""
            except ConnectionError:
                return True
            finally:
                writer.close()

        held = [await connect() for _ in range(2)]
        assert await is_turned_away()
        for _, writer in held:
            writer.close()

        async def is_let_in() -> bool:
            return not await is_turned_away()

        await until("there is room again", is_let_in)


# When an answer leaves


@pytest.mark.parametrize(("region", "other"), [(HOME, OTHER), (OTHER, HOME)])
async def test_a_write_is_answered_when_the_other_region_has_it(
    regions: Regions, region: str, other: str
) -> None:
    call = Caller(regions, await a_key(regions), region)
    for number in range(20):
        name = f"written-{number}-in-{region}"
        headers = await call.make(name)
        assert headers["x-isthmus-replicated"] == "true"
        assert headers["x-isthmus-confirmed-by"] == other
        assert (await regions.item(other, KIND, name)).lives


async def test_what_is_so_already_is_confirmed_and_not_written_again(regions: Regions) -> None:
    call = Caller(regions, await a_key(regions))
    first = await call.make("twice")
    digests = await regions.level()
    again = await call.make("twice")
    assert again["x-isthmus-confirmed-by"] == first["x-isthmus-confirmed-by"] == OTHER
    assert await regions.level() == digests


async def test_a_read_says_nothing_of_confirmations(regions: Regions) -> None:
    call = Caller(regions, await a_key(regions))
    answer = await call("describe_endpoint")
    assert "x-isthmus-replicated" not in answer["ResponseMetadata"]["HTTPHeaders"]


# Several processes


async def test_what_one_process_has_answered_every_other_one_reads(
    regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_hear = asyncio.Event()
    may_hear.set()
    follow = log_view.follow

    async def held_up(client: Any, stream: str, after: int) -> AsyncIterator[Any]:
        async for entries in follow(client, stream, after):
            await may_hear.wait()
            yield entries

    key = await a_key(regions)
    call = Caller(regions, key)
    monkeypatch.setattr(log_view, "follow", held_up)
    async with second_api(regions) as (server, url):
        elsewhere = Caller(regions, key, url=url)
        for number in range(5):
            may_hear.clear()
            name = f"read-elsewhere-{number}"
            await call.make(name)
            asked = server._level._asked
            reading = asyncio.create_task(elsewhere("describe_dimension", name=name))
            await until("it asks", lambda asked=asked: server._level._asked is not asked)  # type: ignore[misc]
            may_hear.set()
            assert (await reading)["name"] == name
            # A key, too, that another process has made.
            made = await a_key(regions)
            await Caller(regions, made, url=url)("describe_endpoint")


async def test_processes_share_a_place(regions: Regions) -> None:
    listen = regions.config(HOME).aws_api.listen
    async with second_api(regions, listen) as (_, url):
        assert url == endpoint(regions)


async def test_two_processes_that_write_one_item_lose_nothing(regions: Regions) -> None:
    key = await a_key(regions)
    call = Caller(regions, key)
    async with second_api(regions) as (_, url):
        elsewhere = Caller(regions, key, url=url)
        writes = [
            asyncio.gather(
                call.make("contended", f"here-{number}"),
                elsewhere.make("contended", f"there-{number}"),
            )
            for number in range(20)
        ]
        await asyncio.gather(*writes)
    item = await regions.item(HOME, KIND, "contended")
    assert item.version == 40
    await regions.level()


async def test_a_process_that_was_paused_reads_nothing_before_it_has_caught_up(
    regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with second_api(regions) as (server, _):
        monkeypatch.setattr(entrance, "monotonic_s", lambda: monotonic_s() + 2 * PAUSE_S)
        # Nothing has run since it woke: the first request is the first to notice.
        with pytest.raises(Unavailable, match="catching up"):
            await server._may_serve()
        await until("it serves again", lambda: server.is_open)
        await server._may_serve()


async def test_a_process_that_is_killed_comes_back_and_loses_nothing(regions: Regions) -> None:
    call = Caller(regions, await a_key(regions))
    await call.make("before-the-kill")
    await regions.kill_part(HOME, "api")

    async def serves() -> bool:
        try:
            await call("describe_dimension", name="before-the-kill")
        except (
            botocore.exceptions.EndpointConnectionError,
            call.errors.ServiceUnavailableException,
        ):
            return False
        return True

    await until("it serves again", serves)
    assert regions.ended[-1].startswith(f"{HOME}-api ended")


# Where it is


async def test_the_ready_file_says_where_both_services_are(regions: Regions) -> None:
    for region in (HOME, OTHER):
        ready = foreground._region(regions.system, region)
        assert ready["api"] == ready["data"] == endpoint(regions, region)
        assert ready["internal_api"] != ready["api"]


# AWS's own command line


async def test_the_aws_cli_calls_by_its_profile_and_nothing_else(regions: Regions) -> None:
    await aws_profile.write_profiles(regions.system, regions.operator)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = kept | {
        "AWS_CONFIG_FILE": str(aws_profile.config_file(regions.system)),
        "AWS_SHARED_CREDENTIALS_FILE": str(aws_profile.credentials_file(regions.system)),
    }
    for region in (HOME, OTHER):
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "awscli"),
            *("--profile", aws_profile.profile(region), "--output", "text"),
            *("iot", "describe-endpoint", "--endpoint-type", "iot:Data-ATS"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await running.communicate()
        assert (out.decode().strip(), err.decode()) == (STABLE, "")
