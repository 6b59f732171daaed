"""The internal API over HTTPS: who may write, what is refused by name, what an answer says."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from regions import HOME, OTHER, Regions, two_regions, until

from isthmus.adapters.pki import Identity
from isthmus.adapters.private_files import read
from isthmus.local import bring_up
from isthmus.wire import mqtt3

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALLOW_ALL = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
    }
)
#: What a request changes in a registration that is good otherwise.
Change = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        yield started


async def call(
    regions: Regions,
    identity: Identity | None,
    method: str = "GET",
    path: str = "/v1/status",
    data: bytes | None = None,
    region: str = HOME,
) -> tuple[int, str]:
    """One request under some certificate; its status and text."""
    tls = ssl.create_default_context(cafile=str(regions.system.pki.ca_file))
    if identity:
        tls.load_cert_chain(str(identity.chain), str(identity.key))
    url = regions.system.address(region).url("api", "https") + path
    connector = aiohttp.TCPConnector(ssl=tls, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, url, data=data and io.BytesIO(data)) as answer,
    ):
        return answer.status, await answer.text()


async def post(regions: Regions, body: object, region: str = HOME) -> tuple[int, str]:
    """A registration under the operator's certificate."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await call(regions, regions.system.operator, "POST", "/v1/devices", data, region)


REQUESTS = [
    ("GET", "/v1/status"),
    ("GET", "/v1/digests"),
    ("GET", "/v1/connections/lamp"),
    ("POST", "/v1/devices"),
    ("POST", "/v1/certificates/" + "0" * 64 + "/revoke"),
    ("GET", "/v1/access-keys"),
    ("POST", "/v1/access-keys"),
    ("POST", "/v1/access-keys/AKIA/activate"),
    ("DELETE", "/v1/access-keys/AKIA"),
    ("GET", "/v1/suspensions"),
    ("POST", "/v1/suspensions"),
    ("POST", "/v1/resumptions"),
    ("GET", "/nowhere"),
]


@pytest.mark.parametrize("who", ["nobody", "device"])
async def test_who_has_no_certificate_of_the_internal_ca_gets_no_answer(
    regions: Regions, who: str
) -> None:
    identity = None if who == "nobody" else regions.identity("curious")
    before = await regions.level()

    for method, path in REQUESTS:
        with pytest.raises(aiohttp.ClientError):
            await call(regions, identity, method, path)

    assert await regions.level() == before


async def test_a_site_is_not_an_operator(regions: Regions) -> None:
    pki, address = regions.system.pki, regions.system.address(HOME)
    site = pki.site("some-site", ["some.site"], [address.host])
    before = await regions.level()

    answers = [await call(regions, site, method, path) for method, path in REQUESTS]

    assert {status for status, _ in answers} == {403}
    assert all("not an operator's" in text for _, text in answers)
    assert await regions.level() == before


def registration(regions: Regions, *names: str, policy: str = "tested") -> dict[str, Any]:
    devices = [bring_up.device(regions.system, name, {"vin": "1"}, policy) for name in names]
    return {"devices": devices, "policies": [{"name": policy, "document": ALLOW_ALL}]}


BAD_DEVICES: dict[str, tuple[Change, str]] = {
    "a name with a space": ({"thing": "two words"}, "thing"),
    "no name": ({"thing": ""}, "thing"),
    "a name of 129 characters": ({"thing": "x" * 129}, "thing"),
    "a number for a name": ({"thing": 7}, "thing"),
    "an attribute that is a number": ({"attributes": {"vin": 7}}, "attributes"),
    "an unknown field": ({"colour": "red"}, "colour"),
    "text for a certificate": ({"certificate_pem": "garbage"}, "certificate_pem"),
    "an empty certificate": ({"certificate_pem": ""}, "certificate_pem"),
    "a broken certificate": (
        {"certificate_pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        "certificate_pem",
    ),
    "a policy that there is not": ({"policies": ["tested", "missing"]}, "missing"),
    "attributes beyond an item's size": ({"attributes": {"vin": "x" * 600_000}}, "attributes"),
}


@pytest.mark.parametrize("case", BAD_DEVICES)
async def test_one_bad_device_among_good_ones_is_named_and_nothing_is_written(
    regions: Regions, case: str
) -> None:
    change, named = BAD_DEVICES[case]
    body = registration(regions, "good-one", "bad-one", "good-two", policy="with-a-bad-one")
    body["devices"][1] |= change
    if change.get("policies"):
        body["devices"][1]["policies"] = ["with-a-bad-one", "missing"]
    before = await regions.level()

    status, text = await post(regions, body)

    assert status == 400
    assert named in text
    assert await regions.level() == before


BAD_BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "body"),
    "no JSON": (b"{", "body"),
    "no UTF-8": (b'{"devices": ["\xff"]}', "body"),
    "a list": (b"[]", "body"),
    "no devices": (b"{}", "devices"),
    "an unknown field": (b'{"devices": [], "colour": "red"}', "colour"),
    "a policy without a document": (b'{"devices": [], "policies": [{"name": "p"}]}', "document"),
    "a policy that is no JSON": (
        b'{"devices": [], "policies": [{"name": "p", "document": "{"}]}',
        "policies",
    ),
    "a policy with an effect that there is not": (
        b'{"devices": [], "policies": [{"name": "p", "document": "{\\"Version\\":'
        b'\\"2012-10-17\\",\\"Statement\\":{\\"Effect\\":\\"Maybe\\"}}"}]}',
        "Effect",
    ),
    "a policy with a bad name": (
        b'{"devices": [], "policies": [{"name": "a/b", "document": "{}"}]}',
        "policies",
    ),
    "nested without end": (b"[" * 200_000, "body"),
}


@pytest.mark.parametrize("case", BAD_BODIES)
async def test_a_bad_body_is_refused_by_name_and_nothing_is_written(
    regions: Regions, case: str
) -> None:
    body, named = BAD_BODIES[case]
    before = await regions.level()

    status, text = await post(regions, body)

    assert status == 400
    assert named in text
    assert await regions.level() == before


async def test_a_body_of_nine_megabytes_is_refused(regions: Regions) -> None:
    before = await regions.level()

    status, _ = await post(regions, b" " * 9 * 1024**2)

    assert status == 413
    assert await regions.level() == before


@pytest.mark.parametrize("identity", ["0" * 63, "0" * 65, "G" * 64, "A" * 64, "..%2f" + "0" * 59])
async def test_what_is_no_certificate_id_cannot_be_revoked(regions: Regions, identity: str) -> None:
    before = await regions.level()
    path = f"/v1/certificates/{identity}/revoke"

    status, _ = await call(regions, regions.system.operator, "POST", path)

    assert status in (400, 404)
    assert await regions.level() == before


async def test_registering_twice_writes_nothing_in_either_region(regions: Regions) -> None:
    body = registration(regions, "twice-1", "twice-2")
    first = await post(regions, body)
    await regions.level()
    positions = [(await regions.status(each))["log_position"] for each in (HOME, OTHER)]

    again = [await post(regions, body, each) for each in (HOME, OTHER)]

    assert first[0] == 200
    assert [status for status, _ in again] == [200, 200]
    assert [(await regions.status(each))["log_position"] for each in (HOME, OTHER)] == positions


@pytest.mark.parametrize("attributes", [{}, {"vin": "1"}, {"colour": ""}])
async def test_registering_part_of_what_is_there_writes_nothing_either(
    regions: Regions, attributes: dict[str, str]
) -> None:
    body = registration(regions, "in-part")
    body["devices"][0]["attributes"] = {"vin": "1", "plant": "2"}
    await post(regions, body)
    await regions.level()
    position = (await regions.status(HOME))["log_position"]
    body["devices"][0]["attributes"] = attributes

    assert (await post(regions, body))[0] == 200

    assert (await regions.status(HOME))["log_position"] == position


async def test_an_answer_names_the_region_that_confirmed(regions: Regions) -> None:
    for region, other in ((HOME, OTHER), (OTHER, HOME)):
        name = f"confirmed-by-{other}"
        status, text = await post(regions, registration(regions, name), region)
        answer = json.loads(text)

        assert status == 200
        assert answer == {"things": 1, "replicated": True, "confirmed_by": [other]}
        assert f"thing/{name}" in await regions.operator.digests(other)


async def test_a_policy_alone_is_answered_when_the_other_region_has_it(regions: Regions) -> None:
    body = {"devices": [], "policies": [{"name": "alone-in-its-body", "document": ALLOW_ALL}]}

    answer = json.loads((await post(regions, body))[1])

    assert answer["confirmed_by"] == [OTHER]
    assert "policy/alone-in-its-body" in await regions.operator.digests(OTHER)


async def test_the_same_devices_registered_in_both_regions_at_once_converge(
    regions: Regions,
) -> None:
    names = [f"at-once-{number}" for number in range(20)]
    before = (await regions.level()).keys()
    body = registration(regions, *names)

    answers = await asyncio.gather(post(regions, body, HOME), post(regions, body, OTHER))

    added = (await regions.level()).keys() - before
    assert [status for status, _ in answers] == [200, 200]
    certificates = {each for each in added if each.startswith("certificate/")}
    assert certificates == {f"certificate/{regions.identity(n).certificate_id}" for n in names}
    assert len([each for each in added if each.startswith("attachment/")]) == 2 * len(names)
    assert not any(each.startswith("conflict/") for each in added)
    for region in (HOME, OTHER):
        for name in names[:3]:
            async with regions.client(region, name) as wire:
                await wire.publish("any/topic")


async def test_a_private_key_in_a_certificate_file_is_not_kept(regions: Regions) -> None:
    key = regions.identity("careless").key
    body = registration(regions, "careless")
    body["devices"][0]["certificate_pem"] += read(key).decode()

    status, _ = await post(regions, body)
    await regions.level()

    stored = b"".join(
        file.read_bytes() for file in (regions.system.region_dir(HOME) / "jetstream").rglob("*.blk")
    )
    assert status in (200, 400)
    assert b"PRIVATE KEY" not in stored


BAD_SUSPENSIONS: dict[str, tuple[object, str]] = {
    "a name with a space": ({"things": ["good", "two words"]}, "things[1]"),
    "a name that ends with a line": ({"groups": ["two\n"]}, "groups[0]"),
    "a name of 129 characters": ({"things": ["x" * 129]}, "things[0]"),
    "too many names": ({"things": ["x"] * 1001}, "things"),
    "a long reason": ({"things": ["x"], "reason": "x" * 257}, "reason"),
    "an unknown field": ({"thing": ["x"]}, "thing"),
    "a list": ([], "body"),
}


@pytest.mark.parametrize("case", BAD_SUSPENSIONS)
async def test_a_bad_suspension_is_named_and_nothing_is_written(
    regions: Regions, case: str
) -> None:
    body, named = BAD_SUSPENSIONS[case]
    before = await regions.level()
    for path in ("/v1/suspensions", "/v1/resumptions"):
        data = json.dumps(body).encode()
        status, text = await call(regions, regions.system.operator, "POST", path, data)
        assert status == 400
        assert named in text or path == "/v1/resumptions"
    assert await regions.level() == before


async def test_an_operator_sees_where_a_client_is_and_was(regions: Regions) -> None:
    name = await regions.who_may("is-looked-for", "iot:*")
    path = f"/v1/connections/{name}"
    found: dict[str, Any] = {}

    async def is_known(region: str, *, connected: bool) -> bool:
        status, text = await call(regions, regions.system.operator, "GET", path, region=region)
        found.clear()
        found.update(json.loads(text))
        return status == 200 and found["connected"] is connected

    assert await call(regions, regions.system.operator, "GET", path) == (
        404,
        json.dumps({"message": f"nothing is known of a client {name!r}"}, separators=(",", ":")),
    )
    async with regions.client(OTHER, name) as wire:
        for region in (HOME, OTHER):
            await until("it is known", lambda region=region: is_known(region, connected=True))
            assert (found["region"], found["client"]) == (OTHER, name)
            assert found["principal"] == regions.identity(name).certificate_id
        wire.send(mqtt3.Disconnect())
    await until("it has gone", lambda: is_known(HOME, connected=False))
    assert found["reason"] == "CLIENT_INITIATED_DISCONNECT"
    assert found["ended_ms"] >= found["since_ms"]
