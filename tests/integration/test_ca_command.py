"""`isthmus ca`: a CA takes another one's place without a device noticing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from made_certificates import Ca, new_ca, private_pem
from regions import Regions, two_regions
from typer.testing import CliRunner

from isthmus.cli.app import app
from isthmus.cli.aws_calls import AwsCalls
from isthmus.errors import InputError
from isthmus.local import aws_profile

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEMPLATE = {
    "Resources": {
        "certificate": {
            "Type": "AWS::IoT::Certificate",
            "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}},
        }
    }
}
CONFIG = {"templateBody": json.dumps(TEMPLATE), "roleArn": "arn:aws:iam::000000000000:role/none"}
TAGS = [{"Key": "team", "Value": "trucks"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        await aws_profile.write_profiles(started.system, started.operator)
        yield started


@pytest.fixture
def calls(regions: Regions) -> AwsCalls:
    return AwsCalls("", regions.system.settings.state_dir)


async def run(regions: Regions, *words: str) -> Any:
    command = ["ca", *words, "--state", str(regions.system.settings.state_dir)]
    return await asyncio.to_thread(CliRunner().invoke, app, command)


def registered(calls: AwsCalls, mode: str = "DEFAULT", devices: int = 0) -> tuple[Ca, list[str]]:
    """A CA that registers devices by itself, and certificates that it has signed."""
    ca = new_ca()
    code = calls("GetRegistrationCode")["registrationCode"]
    proof = {"verificationCertificate": ca.sign(code)} if mode == "DEFAULT" else {}
    calls(
        "RegisterCACertificate",
        caCertificate=ca.pem,
        certificateMode=mode,
        setAsActive=True,
        allowAutoRegistration=True,
        registrationConfig=CONFIG,
        tags=TAGS,
        **proof,
    )
    made = [
        calls(
            "RegisterCertificate",
            certificatePem=ca.sign(f"device-{number}"),
            caCertificatePem=ca.pem,
            setAsActive=True,
        )
        for number in range(devices)
    ]
    return ca, [each["certificateId"] for each in made]


def files(directory: Path, ca: Ca) -> tuple[str, str]:
    certificate, key = directory / "new.pem", directory / "new.key"
    certificate.write_text(ca.pem)
    key.write_text(private_pem(ca.key))
    return str(certificate), str(key)


def described(calls: AwsCalls, ca: Ca) -> dict[str, Any]:
    return calls("DescribeCACertificate", certificateId=ca.id)


def status(calls: AwsCalls, certificate_id: str) -> str:
    held = calls("DescribeCertificate", certificateId=certificate_id)
    return str(held["certificateDescription"]["status"])


@pytest.mark.parametrize("mode", ["DEFAULT", "SNI_ONLY"])
async def test_a_new_ca_gets_what_the_old_one_has_and_the_old_one_stays(
    regions: Regions, calls: AwsCalls, tmp_path: Path, mode: str
) -> None:
    old, _ = registered(calls, mode)
    new = new_ca()
    pem, key = files(tmp_path, new)
    proof = ["--key", key] if mode == "DEFAULT" else []
    # Asked again it changes nothing.
    for _ in range(2):
        done = await run(regions, "rotate", "--old", old.id, "--new", pem, *proof, "--json")
        assert done.exception is None, done.exception
        assert json.loads(done.stdout) == {"id": new.id, "old": old.id}
    for ca in (old, new):
        held = described(calls, ca)
        said = held["certificateDescription"]
        assert (said["status"], said["autoRegistrationStatus"]) == ("ACTIVE", "ENABLE")
        assert said["certificateMode"] == mode
        assert held["registrationConfig"] == CONFIG
        assert calls("ListTagsForResource", resourceArn=said["certificateArn"])["tags"] == TAGS


async def test_a_ca_whose_key_is_elsewhere_is_shown_by_what_it_has_signed(
    regions: Regions, calls: AwsCalls, tmp_path: Path
) -> None:
    old, _ = registered(calls)
    new = new_ca()
    pem, key = files(tmp_path, new_ca())
    (tmp_path / "new.pem").write_text(new.pem)
    asked = ("rotate", "--old", old.id, "--new", pem)
    done = await run(regions, *asked)
    assert isinstance(done.exception, InputError)
    code = done.exception.hint.rpartition(" ")[2]
    assert code == calls("GetRegistrationCode")["registrationCode"]
    done = await run(regions, *asked, "--key", key)
    assert "is not that of the CA" in str(done.exception)
    shown = tmp_path / "shown.pem"
    shown.write_text(new.sign(code))
    done = await run(regions, *asked, "--verification", str(shown))
    assert done.exception is None, done.exception
    assert described(calls, new)["certificateDescription"]["status"] == "ACTIVE"


async def test_a_ca_is_retired_when_nobody_needs_it_or_when_that_is_said(
    regions: Regions, calls: AwsCalls
) -> None:
    old, (first, second) = registered(calls, devices=2)
    done = await run(regions, "retire", old.id)
    assert "2 certificates of it are active" in str(done.exception)
    assert described(calls, old)["certificateDescription"]["status"] == "ACTIVE"

    done = await run(regions, "retire", old.id, "--force")
    assert done.stdout == f"{old.id} is inactive; 2 certificates of it are still active\n"
    said = described(calls, old)["certificateDescription"]
    assert (said["status"], said["autoRegistrationStatus"]) == ("INACTIVE", "DISABLE")
    assert [status(calls, each) for each in (first, second)] == ["ACTIVE", "ACTIVE"]

    done = await run(regions, "retire", old.id, "--certificates", "--per-second", "1000")
    assert done.stdout == f"{old.id} is inactive\n"
    assert [status(calls, each) for each in (first, second)] == ["INACTIVE", "INACTIVE"]
    assert (await run(regions, "retire", old.id)).exception is None


async def test_cas_are_listed_with_how_much_they_have_signed(
    regions: Regions, calls: AwsCalls
) -> None:
    ca, _ = registered(calls, devices=1)
    listed = json.loads((await run(regions, "list", "--json")).stdout)["cas"]
    (own,) = (each for each in listed if each["id"] == ca.id)
    assert (own["certificates"], own["subject"], own["mode"]) == (1, "CN=ca", "DEFAULT")
    shown = (await run(regions, "list")).stdout
    assert "by itself" in shown
