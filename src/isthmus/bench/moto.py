"""moto in server mode, as a stand for a bench: the mock of AWS's API that most people use."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from isthmus.adapters.pki import Pki
from isthmus.bench.plan import AccessKey
from isthmus.bench.stand import Ended, Stand, Target, Tools, serving
from isthmus.errors import InputError
from isthmus.local.addresses import Addresses
from isthmus.local.child import Child

MOTO = "moto"
UNKNOWN = "unknown"
VERSION_WITHIN_S = 30.0
INSTALL = "pip install 'moto[server]'"
#: It verifies no signature; what is sent has one all the same, so that both sides read the same.
KEY = AccessKey(key_id="AKIAISTHMUSBENCH0000", secret="", region="eu-central-1")


def find_moto(path: Path | None) -> tuple[str, str] | None:
    """The server's command and version; None where there is none and none was named."""
    if path is not None and not path.is_file():
        raise InputError(f"--moto is {path}, which is no file", hint=INSTALL)
    found = str(path) if path else shutil.which("moto_server")
    if found is None:
        return None
    return found, _version(Path(found).with_name("python3"))


def _version(python: Path) -> str:
    """By the Python beside the command, which has no option for it; ``unknown`` without one."""
    code = "from importlib.metadata import version; print('moto', version('moto'))"
    with suppress(OSError):
        said = subprocess.run(
            [str(python), "-c", code], capture_output=True, text=True, timeout=VERSION_WITHIN_S
        )
        if found := re.match(r"moto (\S+)", said.stdout):
            return found[1]
    return UNKNOWN


def moto(command: str) -> Stand:
    """moto over HTTPS, with a certificate as ours and everything in memory."""

    @asynccontextmanager
    async def stand(directory: Path, tools: Tools) -> AsyncIterator[Target]:
        pki = Pki(directory / "pki")
        addresses = Addresses([MOTO], random.Random(), first=False)
        address = addresses.of[MOTO]
        port = address.ports["aws_api"]
        hostname = "iot.moto.isthmus.test"
        identity = pki.aws_api(MOTO, [hostname], [address.host])
        files = ("-c", str(identity.chain), "-k", str(identity.key))
        ended = Ended()
        child = Child(
            MOTO,
            [command, "-s", "-H", address.host, "-p", str(port), *files],
            directory / "moto.log",
            probe=(address.host, port),
            on_end=ended.child,
        )
        try:
            async with serving(child) as pid:
                yield Target(
                    host=address.host,
                    port=port,
                    hostname=hostname,
                    ca_file=pki.ca_file,
                    clients=(),
                    crowd=(),
                    servers={MOTO: pid},
                    sources=(),
                    check=ended.check,
                    access_key=KEY,
                )
        finally:
            addresses.release()

    return stand
