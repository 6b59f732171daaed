"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psutil

from isthmus import __version__
from isthmus.bench.percentiles import percentiles
from isthmus.clock import monotonic_s
from isthmus.local import nats_server

#: Writes that are timed, each as long as a small batch.
FSYNCS, FSYNC_BYTES = 50, 4_096
#: Loops that are timed, each of so many additions.
LOOPS, ADDITIONS = 20, 100_000


def machine(nats_binary: Path | None, directory: Path) -> dict[str, Any]:
    """CPUs, memory, the disk of a directory, kernel, and the versions of what runs."""
    binary = nats_server.find_binary(nats_binary)
    said = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=10)
    version = re.search(r"\bv(\d\S*)", said.stdout)
    return {
        "cpus": os.cpu_count(),
        "cpu_model": _cpu_model(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        #: Of a loop of 100,000 additions. One and the same release may take twice as long as
        #: another build of it does, and so may a machine whose host is busy.
        "python_ms": {name: round(each, 2) for name, each in _python_ms().items()},
        "isthmus": __version__,
        "nats_server": version[1] if version else "",
        #: Of the disk that servers write to: nothing durable is acknowledged sooner.
        "fsync_ms": {name: round(each, 2) for name, each in _fsync_ms(directory).items()},
        #: Load of the last minute when the bench began: what else this machine was doing.
        "load_before": round(os.getloadavg()[0], 2),
    }


def _fsync_ms(directory: Path) -> dict[str, float]:
    took_ms = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(FSYNCS):
            file.write(bytes(FSYNC_BYTES))
            file.flush()
            began_s = monotonic_s()
            os.fsync(file.fileno())
            took_ms.append((monotonic_s() - began_s) * 1000)
    return percentiles(took_ms)


def _python_ms() -> dict[str, float]:
    took_ms = []
    for _ in range(LOOPS):
        total = 0
        began_s = monotonic_s()
        for number in range(ADDITIONS):
            total += number
        took_ms.append((monotonic_s() - began_s) * 1000)
    return percentiles(took_ms)


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"model name\s*: (.+)", text)
    return model[1].strip() if model else platform.machine()
