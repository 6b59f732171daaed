"""`isthmus device`: what it prints works when it is pasted, and cut off anywhere it goes on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from regions import HOME, OTHER, Regions, two_regions, until
from typer.testing import CliRunner

from isthmus.adapters.device_files import DeviceFiles
from isthmus.cli import new_device
from isthmus.cli.app import app
from isthmus.cli.aws_calls import AwsCalls
from isthmus.cli.new_device import Wanted
from isthmus.errors import InputError
from isthmus.local import aws_profile
from isthmus.wire import mqtt3

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENTS = ("mosquitto_pub", "paho", "awsiotsdk")
#: So many calls are carried out for a device that is in a group, its policy included.
CALLS = 7


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        await aws_profile.write_profiles(started.system, started.operator)
        yield started


def state(regions: Regions) -> Path:
    return regions.system.settings.state_dir


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    # As it comes: a shell of somebody who uses AWS too has variables of AWS's clients.
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )


async def device(regions: Regions, *words: str) -> Any:
    command = ["device", *words, "--state", str(state(regions))]
    return await asyncio.to_thread(CliRunner().invoke, app, command)


async def told(regions: Regions, *words: str) -> Any:
    done = await device(regions, *words, "--json")
    assert done.exception is None, done.exception
    return json.loads(done.stdout)


# Four programs start one after another, each with the libraries of its own.
async def test_every_line_that_is_printed_publishes_when_it_is_pasted(
    regions: Regions, tmp_path: Path
) -> None:
    files = ["--out", str(tmp_path), "--state", str(state(regions))]
    command = [sys.executable, "-m", "isthmus", "device", "create", "lamp", *files]
    printed = await asyncio.to_thread(run, command)
    assert printed.returncode == 0, printed.stderr
    assert (tmp_path / "lamp.key").read_text() not in printed.stdout
    lines = printed.stdout.splitlines()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    there = [each for each in CLIENTS if each != "mosquitto_pub" or shutil.which(each)]
    for client in there:
        line = lines[lines.index(f"# {client}") + 1]
        done = await asyncio.to_thread(run, ["bash", "-c", line], PATH=path)
        assert done.returncode == 0, (client, done.stderr)

    def stored() -> list[str]:
        # All say the same, as one that repeats itself would.
        return [row.topic for row in regions.lake(OTHER, "lamp", raw=True)]

    await until("it is stored", lambda: stored() == ["lamp/hello"] * len(there))


async def test_it_may_speak_under_its_own_name_and_no_other(
    regions: Regions, tmp_path: Path
) -> None:
    made = await told(regions, "create", "modest", "--out", str(tmp_path))
    tls = ssl.create_default_context(cafile=made["files"]["ca"])
    tls.load_cert_chain(made["files"]["certificate"], made["files"]["key"])
    async with regions.wire(HOME, None, tls) as wire:
        assert await wire.connect("other") == 5
    async with regions.wire(HOME, None, tls) as wire:
        assert await wire.connect("modest") == 0
        host, port = regions.place(HOME)

        async def is_shown() -> bool:
            shown = (await told(regions, "show", "modest"))["connection"]
            return (shown["connected"], shown.get("at")) == (True, f"{host}:{port}")

        await until("its connection is shown", is_shown)
        await wire.publish("modest/a", b"own")
        assert await wire.subscribe("modest/a", "other/#") == (0, 128)
        wire.send(mqtt3.Publish("other/a", b"not its own", 1, packet_id=7))
        assert await wire.closed() == []


async def test_it_is_sent_its_own_commands_and_answers_them(
    regions: Regions, tmp_path: Path
) -> None:
    made = await told(regions, "create", "handy", "--out", str(tmp_path))
    tls = ssl.create_default_context(cafile=made["files"]["ca"])
    tls.load_cert_chain(made["files"]["certificate"], made["files"]["key"])
    own, others = (
        f"$aws/commands/things/{each}/executions/+/request/json" for each in ("handy", "modest")
    )
    async with regions.wire(HOME, None, tls) as wire:
        assert await wire.connect("handy") == 0
        answers = "$aws/commands/things/handy/executions/+/response/accepted/json"
        assert await wire.subscribe(own, others, answers, qos=1) == (1, 128, 1)
        words = ["command", "send", "--thing", "handy", "--payload", "{}", "--wait", "--json"]
        command = [*words, "--expires", "60", "--state", str(state(regions))]
        sent = asyncio.create_task(asyncio.to_thread(CliRunner().invoke, app, command))
        request = await wire.next()
        assert isinstance(request, mqtt3.Publish)
        wire.send(mqtt3.Puback(request.packet_id))
        topic = request.topic.replace("/request", "/response")
        wire.send(mqtt3.Publish(topic, b'{"status": "SUCCEEDED"}', 1, packet_id=1))
        done = await sent
    (execution,) = json.loads(done.stdout)["executions"]
    assert (execution["thing"], execution["status"]) == ("handy", "SUCCEEDED")


async def test_it_has_its_own_shadows_and_no_others(regions: Regions, tmp_path: Path) -> None:
    made = await told(regions, "create", "shadowed", "--out", str(tmp_path))
    tls = ssl.create_default_context(cafile=made["files"]["ca"])
    tls.load_cert_chain(made["files"]["certificate"], made["files"]["key"])
    own, others = (f"$aws/things/{each}/shadow" for each in ("shadowed", "modest"))
    async with regions.wire(HOME, None, tls) as wire:
        assert await wire.connect("shadowed") == 0
        assert await wire.subscribe(f"{own}/#", f"{others}/#") == (0, 128)
        wire.send(mqtt3.Publish(f"{own}/name/a/update", b'{"state":{"reported":{"a":1}}}'))
        heard = await wire.next()
        assert isinstance(heard, mqtt3.Publish)
        assert heard.topic == f"{own}/name/a/update/accepted"
    async with regions.wire(HOME, None, tls) as wire:
        assert await wire.connect("shadowed") == 0
        wire.send(mqtt3.Publish(f"{others}/get", b"", 1, packet_id=7))
        assert await wire.closed() == []


class IsCutOff(Exception):
    """The process ends here."""


class CutOff(AwsCalls):
    """Ends when so many calls were carried out; the last one's answer is lost."""

    def __init__(self, directory: Path, left: int) -> None:
        super().__init__("", directory)
        self.left = left

    def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]:
        answer = super().__call__(operation, **parameters)
        self.left -= 1
        if self.left < 0:
            raise IsCutOff
        return answer


@pytest.mark.parametrize("after", range(CALLS))
async def test_cut_off_anywhere_and_asked_again_it_goes_on(
    regions: Regions, tmp_path: Path, after: int
) -> None:
    name, policy = f"cut-off-{after}", tmp_path / f"policy-{after}.json"
    policy.write_text(json.dumps(new_device.DEFAULT_DOCUMENT))
    whole = AwsCalls("", state(regions))
    if after == 0:
        whole("CreateThingGroup", thingGroupName="made")
    wanted = Wanted(name, str(policy), ["made"])
    files = DeviceFiles(tmp_path / "files", name)

    def create(calls: AwsCalls) -> new_device.Made:
        return new_device.create(calls, wanted, files, b"ca")

    with pytest.raises(IsCutOff):
        await asyncio.to_thread(create, CutOff(state(regions), after))
    key = files.key.read_bytes() if files.has_key else None
    made = await asyncio.to_thread(create, whole)

    assert key is None or files.key.read_bytes() == key
    assert await asyncio.to_thread(create, whole) == made
    (arn,) = whole("ListThingPrincipals", thingName=name)["principals"]
    assert arn.endswith(made.certificate_id)
    assert made.certificate_id == files.certificate_id
    attached = whole("ListAttachedPolicies", target=arn)["policies"]
    assert [each["policyName"] for each in attached] == [policy.stem]
    (group,) = whole("ListThingGroupsForThing", thingName=name)["thingGroups"]
    assert group["groupName"] == "made"


async def test_a_run_that_is_cut_off_makes_as_many_calls_as_are_tried(
    regions: Regions, tmp_path: Path
) -> None:
    policy = tmp_path / "counted.json"
    policy.write_text(json.dumps(new_device.DEFAULT_DOCUMENT))
    counting = CutOff(state(regions), 1000)
    counting("CreateThingGroup", thingGroupName="counted")
    wanted = Wanted("counted", str(policy), ["counted"])
    new_device.create(counting, wanted, DeviceFiles(tmp_path, "counted"), b"ca")
    # What was not found is no call that was carried out.
    assert 1000 - 1 - counting.left == CALLS


async def test_what_is_somebody_elses_is_left_alone(regions: Regions, tmp_path: Path) -> None:
    await regions.device("theirs")
    files = DeviceFiles(tmp_path / "out", "mine")
    out = str(tmp_path / "out")
    done = await device(regions, "create", "theirs", "--out", out)
    assert "there is a thing theirs already" in str(done.exception)
    policy = tmp_path / "their-policy.json"
    policy.write_text(json.dumps(new_device.DEFAULT_DOCUMENT))
    await told(regions, "create", "somebody", "--policy", str(policy), "--out", str(tmp_path))
    policy.write_text("{}")
    done = await device(regions, "create", "mine", "--policy", str(policy), "--out", out)
    assert "says something else" in str(done.exception)
    assert not files.has_key


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no such policy": (["create", "x", "--policy", "nobody-has-it"], "no policy 'nobody-has-it'"),
    "no such profile": (["create", "x", "--profile", "nobody"], "(nobody) could not be found"),
    "no such group": (["create", "in-nothing", "--group", "nothing"], "AddThingToThingGroup"),
    "no such thing": (["show", "nobody"], "DescribeThing"),
    "no name": (["create", "two words"], "DescribeThing"),
    "half an attribute": (["create", "x", "--attribute", "room"], "the attribute is 'room'"),
    "no CA": (["create", "x", "--ca", "nowhere.pem"], "nowhere.pem"),
    "a port that is none": (["create", "x", "--endpoint", "h:x"], "the endpoint is 'h:x'"),
    "nobody to suspend": (["suspend"], "nothing is named"),
}


@pytest.mark.parametrize("case", MISTAKES)
async def test_a_mistake_is_told_in_a_sentence(regions: Regions, tmp_path: Path, case: str) -> None:
    words, said = MISTAKES[case]
    out = ["--out", str(tmp_path)] if words[0] == "create" else []
    done = await device(regions, *words, *out)
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)


async def test_a_provisioners_key_makes_devices_once_the_policy_is_there(
    regions: Regions, tmp_path: Path
) -> None:
    key = await regions.operator.create_access_key(HOME, "provisioner")
    own = tmp_path / "state" / "aws"
    shutil.copytree(state(regions) / "aws", own)
    file = own / "credentials"
    known = await regions.operator.access_keys(HOME)
    assert key["id"] in {each["id"] for each in known}
    file.write_text(
        f"[{aws_profile.profile(HOME)}]\naws_access_key_id = {key['id']}\n"
        f"aws_secret_access_key = {key['secret']}\n"
    )
    policy = tmp_path / "new-one.json"
    policy.write_text(json.dumps(new_device.DEFAULT_DOCUMENT))
    calls = AwsCalls(aws_profile.profile(HOME), own.parent)
    files = DeviceFiles(tmp_path, "provisioned")

    with pytest.raises(InputError, match="CreatePolicy") as refused:
        new_device.create(calls, Wanted("provisioned", str(policy)), files, b"ca")
    assert "access-key create --role operator" in refused.value.hint
    assert not files.has_key

    AwsCalls("", state(regions))(
        "CreatePolicy", policyName="new-one", policyDocument=policy.read_text()
    )
    made = new_device.create(calls, Wanted("provisioned", str(policy)), files, b"ca")
    assert made.status == "ACTIVE"


async def test_what_is_there_is_listed_shown_suspended_and_deleted(
    regions: Regions, tmp_path: Path
) -> None:
    await told(regions, "create", "watched", "--attribute", "room=hall", "--out", str(tmp_path))
    listed = await told(regions, "list", "--limit", "100000")
    assert {"thing": "watched", "type": None, "attributes": {"room": "hall"}} in listed["things"]
    assert not listed["has_more"]
    assert (await told(regions, "list", "--limit", "1"))["has_more"]
    answer = await told(regions, "suspend", "watched", "--reason", "stolen", "--wait", "all")
    assert (answer["confirmed_by"], answer["not_confirmed_by"]) == ([OTHER], [])

    shown = await told(regions, "show", "watched")
    (certificate,) = shown["certificates"]
    assert (certificate["status"], certificate["policies"]) == ("ACTIVE", ["isthmus-device"])
    assert [each["reasons"] for each in shown["suspended"]] == [["stolen"]]
    assert shown["connection"] == {"connected": False}
    seen = (await device(regions, "show", "watched")).stdout
    assert "ACTIVE" in seen
    assert "stolen" in seen
    assert "stolen" in (await device(regions, "suspended")).stdout

    done = await device(regions, "resume", "watched")
    assert done.stdout == "watched is not suspended\n"
    assert await told(regions, "suspended") == {"suspensions": []}
    asked = await device(regions, "delete", "watched")
    assert asked.exit_code == 1, "nobody has said yes"
    done = await device(regions, "delete", "watched", "--yes")
    assert done.exception is None
    listed = await told(regions, "list", "--limit", "100000")
    assert "watched" not in {each["thing"] for each in listed["things"]}
    held = AwsCalls("", state(regions)).pages("ListCertificates", "certificates")
    assert certificate["id"] not in {each["certificateId"] for each in held}


async def test_who_waits_for_all_regions_is_told_which_have_not_confirmed(
    regions: Regions,
) -> None:
    regions.signal(OTHER, "services", signal.SIGSTOP)
    try:
        await regions.alone(HOME)
        done = await device(regions, "suspend", "whoever", "--wait", "all")
        assert done.exit_code == 1
        assert "it is alone" in done.stderr
        answer = json.loads((await device(regions, "suspend", "whoever", "--json")).stdout)
        assert (answer["replicated"], answer["not_confirmed_by"]) == (False, [OTHER])
    finally:
        regions.signal(OTHER, "services", signal.SIGCONT)
    await regions.together()


async def test_a_certificate_of_two_things_outlives_the_first(
    regions: Regions, tmp_path: Path
) -> None:
    await told(regions, "create", "first-of-two", "--out", str(tmp_path))
    whole = AwsCalls("", state(regions))
    (arn,) = whole("ListThingPrincipals", thingName="first-of-two")["principals"]
    whole("CreateThing", thingName="second-of-two")
    whole("AttachThingPrincipal", thingName="second-of-two", principal=arn)
    done = await device(regions, "delete", "first-of-two", "--yes")
    assert "another thing has it too" in done.stdout
    held = whole("DescribeCertificate", certificateId=arn.rpartition("/")[2])
    assert held["certificateDescription"]["status"] == "ACTIVE"
