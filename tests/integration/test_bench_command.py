"""`isthmus bench` as a user runs it: its JSON, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import psutil
import pytest
from regions import until

from isthmus.bench.metrics import metrics
from isthmus.bench.mosquitto import find_mosquitto

FIGURES = {"value", "rounds", "generator_cpu", "other_cpu", "server_cpu", "server_cpu_ms_per_1000"}


async def bench(directory: Path, *options: str) -> Process:
    command = (sys.executable, "-m", "isthmus", "bench", "gateway", "--json", *options)
    environment = {**os.environ, "TMPDIR": str(directory)}
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment)


async def test_measures_and_prints_one_object(tmp_path):
    options = ("--only", "qos1_durable_per_s", "--rounds", "1", "--seconds", "0.2")
    process = await bench(tmp_path, *options)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    report = json.loads(out)
    assert set(report) == {"bench", "machine", "results"}
    assert report["machine"]["cpus"] == os.cpu_count()
    assert report["machine"]["python_ms"]["p50"] > 0
    assert report["machine"]["nats_server"].startswith("2.")
    (result,) = report["results"]
    assert result["metric"] == "qos1_durable_per_s"
    assert result["rounds"] == [result["value"]]
    assert result["value"] > 0
    assert set(result["server_cpu"]) == {
        "eu-nats",
        "eu-services",
        "eu-gateway",
        "eu-lake",
        "eu-api",
    }
    own = {"metric", "unit", *FIGURES}
    if find_mosquitto() is None:
        assert set(result) == own
    else:
        assert set(result) == own | {"peer", "ratio"}
        assert set(result["peer"]) == {"name", "version", *FIGURES}
        assert result["ratio"] == round(result["value"] / result["peer"]["value"], 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.nightly
@pytest.mark.timeout(1_200)
async def test_every_metric_can_be_measured(tmp_path):
    process = await bench(tmp_path, "--rounds", "1", "--seconds", "0.5")
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    broker = find_mosquitto()
    expected = [each for each in metrics(broker, 600.0) if not each.long_s]
    results = json.loads(out)["results"]
    assert [each["metric"] for each in results] == [each.name for each in expected]
    for metric, result in zip(expected, results, strict=True):
        assert set(result) >= {"metric", "unit", *FIGURES}
        assert result["value"] > 0
        assert result.get("peer", {}).get("name") == (metric.peer.name if metric.peer else None)
    assert list(tmp_path.iterdir()) == []


async def test_an_interrupt_leaves_nothing(tmp_path):
    process = await bench(tmp_path, "--only", "qos1_durable_per_s", "--seconds", "600")
    # Written for the generator, so the servers run.
    await until("there is a plan", lambda: any(tmp_path.glob("*-isthmus/plan.json")))
    started = psutil.Process(process.pid).children(recursive=True)
    assert started
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    assert "interrupted" in err.decode()
    assert [each for each in started if each.is_running()] == []
    assert list(tmp_path.iterdir()) == []
