"""`isthmus bench api` as a user runs it, as small as can be."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

SERVERS = {"eu-nats", "eu-services", "eu-gateway", "eu-lake", "eu-api", "eu-site"}


async def bench(directory: Path, *options: str) -> dict[str, Any]:
    command = (sys.executable, "-m", "isthmus", "bench", "api", "--json", "--rounds", "1")
    environment = {**os.environ, "TMPDIR": str(directory)}
    process = await asyncio.create_subprocess_exec(
        *command, *options, stdout=PIPE, stderr=PIPE, env=environment
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert os.listdir(directory) == []
    report: dict[str, Any] = json.loads(out)
    assert report["bench"] == "api"
    return report


@pytest.mark.skipif(not shutil.which("moto_server"), reason="moto_server is not on the PATH")
async def test_measures_beside_moto(tmp_path):
    report = await bench(tmp_path, "--only", "ops_per_cpu_s", "--seconds", "0.5")
    (result,) = report["results"]
    assert set(result["server_cpu"]) == SERVERS
    assert set(result["peer"]["server_cpu"]) == {"moto"}
    assert result["value"] > 0
    assert result["ratio"] == round(result["value"] / result["peer"]["value"], 3)


async def test_reads_a_list_and_starts_again(tmp_path):
    report = await bench(tmp_path, "--only", "page_ms", "--things", "600")
    values = {each["metric"]: each["value"] for each in report["results"]}
    assert set(values) == {
        "page_ms_first",
        "page_ms_last",
        "page_ms_growth",
        "api_start_s",
        "api_bytes_per_thing",
    }
    assert min(values[each] for each in ("page_ms_first", "page_ms_last", "api_start_s")) > 0


async def test_grows_a_fleet_and_starts_again(tmp_path):
    report = await bench(tmp_path, "--only", "fleet", "--things", "300", "--seconds", "0.5")
    values = {each["metric"]: each["value"] for each in report["results"]}
    assert set(values) == {"fleet_ops_per_cpu_s", "fleet_bytes_per_thing", "fleet_start_s"}
    assert values["fleet_ops_per_cpu_s"] > 0
    assert values["fleet_start_s"] > 0
