"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import psutil

from isthmus import __version__
from isthmus.local import nats_server


def machine(nats_binary: Path | None) -> dict[str, Any]:
    """CPUs, memory, kernel, and the versions of what runs."""
    binary = nats_server.find_binary(nats_binary)
    said = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=10)
    version = re.search(r"\bv(\d\S*)", said.stdout)
    return {
        "cpus": os.cpu_count(),
        "cpu_model": _cpu_model(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "isthmus": __version__,
        "nats_server": version[1] if version else "",
        #: Load of the last minute when the bench began: what else this machine was doing.
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"model name\s*: (.+)", text)
    return model[1].strip() if model else platform.machine()
