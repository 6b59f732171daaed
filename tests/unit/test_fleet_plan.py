"""A fleet's plan: written, read back, and refused where it is wrong."""

from __future__ import annotations

import json

import pytest

from isthmus.errors import ConfigError
from isthmus.fleet.plan import ClientPlan, EndpointPlan, FleetPlan
from isthmus.plan_file import dump, load


@pytest.fixture
def plan(tmp_path):
    pem = tmp_path / "any.pem"
    pem.touch()
    clients = tuple(
        ClientPlan(name=f"{kind}-1", kind=kind, certificate=str(pem), key=str(pem), topic="dt/1")
        for kind in ("plain", "device", "device")[:2]
    )
    endpoint = EndpointPlan(region="eu", hostname="eu.iot.x", address="127.0.1.1", port=8883)
    return FleetPlan(
        stable_name="iot.x",
        nameservers=(("127.0.1.1", 5353),),
        endpoints=(endpoint,),
        ca_file=str(pem),
        clients=clients,
        events_dir=str(tmp_path),
    )


def test_what_is_written_is_read_back(plan, tmp_path):
    path = tmp_path / "plan.json"
    dump(path, plan)
    assert load(path, FleetPlan) == plan
    assert [(index, each.name) for index, each in plan.of_kind("device")] == [(1, "device-1")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 1}, "unknown field `sed`"),
        ({"seed": "x"}, r"Expected `int`.*\$\.seed"),
        ({"endpoints": []}, "endpoints is empty"),
        ({"nameservers": []}, "nameservers is empty"),
        ({"publish_interval_s": 0}, "publish_interval_s is 0"),
        ({"settle_s": -1}, "settle_s is -1"),
        ({"keep_alive_s": 65536}, "keep_alive_s is 65536"),
        ({"ca_file": "gone.pem"}, r"no file 'gone\.pem'"),
    ],
)
def test_a_wrong_plan_is_refused_with_its_name(plan, tmp_path, change, message):
    path = tmp_path / "plan.json"
    dump(path, plan)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=rf"plan\.json: .*{message}"):
        load(path, FleetPlan)


def test_two_clients_of_one_name_are_refused(plan, tmp_path):
    path = tmp_path / "plan.json"
    dump(path, plan)
    content = json.loads(path.read_text())
    content["clients"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="clients has 'plain-1' 2 times"):
        load(path, FleetPlan)


def test_a_plan_that_is_not_there_or_not_json_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "plan.json", FleetPlan)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ConfigError, match=r"plan\.json: .*truncated"):
        load(tmp_path / "plan.json", FleetPlan)
