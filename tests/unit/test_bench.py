"""What `isthmus bench` prints, and what it says of wrong arguments and plans."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from isthmus import plan_file
from isthmus.bench import report
from isthmus.bench.command import Request, choose
from isthmus.bench.metrics import metrics
from isthmus.bench.plan import (
    Client,
    DelayPlan,
    FanningOut,
    LoadPlan,
    Offering,
    Outcome,
    Publishing,
    read_outcome,
)
from isthmus.bench.rounds import Measured
from isthmus.errors import ConfigError, InputError, Unavailable

BROKER = ("/usr/sbin/mosquitto", "2.0.11")
MACHINE = {
    "cpus": 2,
    "cpu_model": "a CPU",
    "memory_bytes": 8 << 30,
    "kernel": "Linux 6",
    "python": "3.11",
    "python_ms": {"p50": 5.5, "p95": 6.0, "p99": 6.5, "max": 7.0},
    "isthmus": "0.1.0",
    "nats_server": "2.11.0",
    "fsync_ms": {"p50": 1.5, "p95": 2.0, "p99": 2.5, "max": 3.0},
    "load_before": 0.1,
}


def outcome(count: int, **servers: float) -> Outcome:
    return Outcome(count=count, seconds=2.0, generator_cpu=0.5, server_cpu=servers, other_cpu=0.25)


def measured() -> list[Measured]:
    known = {each.name: each for each in metrics(BROKER, 600.0)}
    with_peer, without = known["qos1_durable_per_s"], known["qos1_two_regions_per_s"]
    return [
        Measured(
            with_peer,
            [outcome(2_000, gateway=1.0, nats=0.5), outcome(6_000, gateway=1.5, nats=0.5)],
            [outcome(8_000, mosquitto=0.9), outcome(8_000, mosquitto=0.9)],
        ),
        Measured(without, [outcome(1_001, gateway=1.0), outcome(999, gateway=1.0)]),
    ]


def test_the_report_is_the_contract():
    result: dict[str, Any] = report.build(MACHINE, measured())
    assert set(result) == {"bench", "machine", "results"}
    assert (result["bench"], result["machine"]) == ("gateway", MACHINE)
    assert result["results"][0] == {
        "metric": "qos1_durable_per_s",
        "unit": "acknowledged/s",
        "value": 2000,
        "rounds": [1000, 3000],
        "generator_cpu": 0.5,
        "other_cpu": 0.25,
        "server_cpu": {"gateway": 1.25, "nats": 0.5},
        "server_cpu_ms_per_1000": {"gateway": 750.0, "nats": 333.33},
        "peer": {
            "name": "mosquitto",
            "version": "2.0.11",
            "value": 4000,
            "rounds": [4000, 4000],
            "generator_cpu": 0.5,
            "other_cpu": 0.25,
            "server_cpu": {"mosquitto": 0.9},
            "server_cpu_ms_per_1000": {"mosquitto": 225.0},
        },
        "ratio": 0.5,
    }
    assert not {"peer", "ratio"} & set(result["results"][1])


def test_a_delay_is_reported_with_what_is_behind_it():
    (metric,) = (each for each in metrics(None, 600.0) if each.name == "puback_p99_ms")
    rounds = [
        Outcome(
            count=100,
            seconds=1.0,
            latency_ms={"p50": p99 / 2, "p99": p99},
            late_ms={"p50": 0.5, "p99": 1.0},
        )
        for p99 in (7.04, 9.06, 8.05)
    ]
    (result,) = report.build(MACHINE, [Measured(metric, rounds)])["results"]
    assert (result["value"], result["rounds"]) == (8.1, [7.0, 9.1, 8.1])
    assert result["latency_ms"] == {"p50": 4.03, "p99": 8.05}
    assert result["late_ms"] == {"p50": 0.5, "p99": 1.0}


def test_memory_is_that_of_who_holds_the_connections():
    (metric,) = (each for each in metrics(None, 600.0) if each.name == "bytes_per_connection")
    grown = {"eu-gateway": 100_000, "eu-services": 7_000, "eu-nats": 900}
    outcome = Outcome(count=2, seconds=1.0, memory_growth=grown)
    measured = Measured(metric, [outcome], repeated=["it was paused"])
    (result,) = report.build(MACHINE, [measured])["results"]
    assert (result["value"], result["repeated"]) == (50_000, ["it was paused"])


def test_who_drops_connections_fails():
    (metric,) = (each for each in metrics(None, 600.0) if each.name == "idle_10k")
    values = {"count": 10, "seconds": 1.0, "latency_ms": {"p99": 4.0}}
    good, bad = Outcome(**values), Outcome(**values, dropped=3)
    results = report.build(MACHINE, [Measured(metric, [good])])["results"]
    assert [(each["metric"], each["value"]) for each in results] == [
        ("idle_10k_puback_p99_ms", 4.0),
        ("idle_10k_dropped", 0),
    ]
    assert report.failures([Measured(metric, [good])]) == []
    assert report.failures([Measured(metric, [bad])]) == [
        "idle_10k_dropped is 3, and may be 0 at most"
    ]


def test_what_could_not_be_measured_is_told_in_place_of_a_value():
    complete, _ = measured()
    no_peer = Measured(complete.metric, complete.ours, error="no mosquitto answers")
    nothing = Measured(complete.metric, error="it was paused twice")
    built = report.build(MACHINE, [no_peer, nothing])
    first, second = built["results"]
    assert (first["value"], first["error"]) == (2000, "no mosquitto answers")
    assert (first["peer"]["value"], first["peer"]["rounds"]) == (None, [])
    assert "ratio" not in first
    assert (second["value"], second["rounds"]) == (None, [])
    assert report.failures([no_peer, nothing]) == ["no mosquitto answers", "it was paused twice"]
    screen = io.StringIO()
    report.show(Console(file=screen, width=100), built)
    assert "mosquitto none" in screen.getvalue()


def test_the_table_has_every_figure():
    screen = io.StringIO()
    report.show(Console(file=screen, width=100), report.build(MACHINE, measured()))
    for text in ("qos1_durable_per_s", "1,000 .. 3,000", "mosquitto 4,000", "0.50", "2 x a CPU"):
        assert text in screen.getvalue()


def test_without_mosquitto_it_is_no_peer():
    names = [each.name for each in metrics(None, 600.0)]
    assert names == [each.name for each in metrics(BROKER, 600.0)]
    assert "mosquitto" not in {each.peer.name for each in metrics(None, 600.0) if each.peer}


def test_only_measures_what_is_named_in_the_order_of_the_list():
    known = metrics(None, 600.0)
    chosen = choose(known, ["idle_10k", "qos1_durable_per_s"], is_long=False)
    assert [each.name for each in chosen] == ["qos1_durable_per_s", "idle_10k"]


def test_what_takes_long_must_be_asked_for():
    known = metrics(None, 600.0)
    assert choose(known, [], is_long=True) == known
    left_out = {each.name for each in known} - {
        each.name for each in choose(known, [], is_long=False)
    }
    assert left_out == {"idle_10k"}


def test_a_metric_that_there_is_not_is_named():
    with pytest.raises(InputError, match=r"'fast'\nTry: one of qos1_durable_per_s, "):
        choose(metrics(None, 600.0), ["fast"], is_long=False)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rounds": 0}, "--rounds is 0"),
        ({"seconds": 0.0}, "--seconds is 0.0"),
        ({"idle_minutes": -1.0}, "--idle-minutes is -1.0"),
    ],
)
def test_arguments_that_measure_nothing_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        Request(**wrong).validate()


# Plans


def make_plan(**changes: Any) -> LoadPlan:
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 8883,
        "hostname": "eu.iot.isthmus.test",
        "ca_file": "ca.pem",
        "clients": (Client(client_id="a", certificate="a.pem", key="a.key", topic="t/a"),),
        "load": Publishing(),
        "seconds": 1.0,
        "warm_up_s": 1.0,
        "servers": {"gateway": 17},
        "outcome_file": "outcome.json",
    }
    return LoadPlan(**{**values, **changes})


def test_a_plan_comes_back_as_it_was_written(tmp_path):
    plan_file.dump(tmp_path / "plan.json", make_plan())
    assert plan_file.load(tmp_path / "plan.json", LoadPlan) == make_plan()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clients": ()}, "plan.json: clients is empty"),
        ({"seconds": 0.0}, "plan.json: seconds is 0.0"),
        ({"load": Publishing(window=1)}, "plan.json: window is 1"),
        ({"load": Offering(per_s=0)}, "plan.json: per_s is 0"),
        ({"load": FanningOut(subscribers=3)}, "plan.json: crowd_clients is empty"),
        ({"load": Offering(per_s=1, crowd=3)}, "plan.json: crowd_clients is empty"),
    ],
)
def test_a_wrong_plan_names_the_field(tmp_path, changes, said):
    plan_file.dump(tmp_path / "plan.json", make_plan(**changes))
    with pytest.raises(ConfigError, match=said):
        plan_file.load(tmp_path / "plan.json", LoadPlan)


def test_a_crowd_shares_certificates_under_different_names():
    both = [
        Client(client_id=name, certificate=f"{name}.pem", key="k", topic="t") for name in ("a", "b")
    ]
    crowd = make_plan(crowd_clients=tuple(both)).crowd(3)
    assert [each.client_id for each in crowd] == ["a-0", "b-1", "a-2"]
    assert [each.certificate for each in crowd] == ["a.pem", "b.pem", "a.pem"]


def test_a_delay_of_less_than_nothing_is_refused(tmp_path):
    plan = DelayPlan(routes=(), one_way_s=-0.1, ports_file="ports.json")
    plan_file.dump(tmp_path / "plan.json", plan)
    with pytest.raises(ConfigError, match=r"plan.json: one_way_s is -0.1"):
        plan_file.load(tmp_path / "plan.json", DelayPlan)


def test_a_plan_that_is_none_is_named(tmp_path):
    with pytest.raises(ConfigError, match="--plan FILE"):
        plan_file.load(tmp_path / "plan.json", LoadPlan)
    (tmp_path / "plan.json").write_text('{"host": 3}')
    with pytest.raises(ConfigError, match=r"plan.json: Expected `str`.*host"):
        plan_file.load(tmp_path / "plan.json", LoadPlan)


def test_what_a_generator_could_not_do_is_an_error(tmp_path):
    plan_file.dump(tmp_path / "outcome.json", Outcome(error="a: the server closed the connection"))
    with pytest.raises(Unavailable, match="a: the server closed"):
        read_outcome(tmp_path / "outcome.json")
    plan_file.dump(tmp_path / "outcome.json", outcome(3, gateway=1.0))
    assert read_outcome(tmp_path / "outcome.json") == outcome(3, gateway=1.0)
