"""What AWS's own clients need of a local system: a key, a profile for each region, and one for
whichever region is served.

The files are AWS's, and kept in the system's directory: ``AWS_CONFIG_FILE`` and
``AWS_SHARED_CREDENTIALS_FILE`` name them, so nobody's own ones are touched.
"""

from __future__ import annotations

import configparser
import io
from collections.abc import Mapping
from pathlib import Path

from isthmus.adapters import private_files
from isthmus.core.access_keys import AccessKeyStatus, Role
from isthmus.local.operator import Operator
from isthmus.local.system import LocalSystem

#: As AWS's configuration names what botocore calls ``iot``, ``iot-data`` and ``iot-jobs-data``.
SERVICES = ("iot", "iot_data_plane", "iot_jobs_data_plane")
#: Of whichever region is served: the API by its stable name.
STABLE = "isthmus"
#: Where a profile says host and port of its region's gateway, which AWS's clients pass over: local
#: regions have ports of their own, and names for who asks their nameservers.
MQTT = "isthmus_mqtt"
_ID, _SECRET = "aws_access_key_id", "aws_secret_access_key"


def profile(region: str) -> str:
    """Of one region, whether it is served or not."""
    return f"{STABLE}-{region}"


def config_file(system: LocalSystem) -> Path:
    return system.settings.state_dir / "aws" / "config"


def credentials_file(system: LocalSystem) -> Path:
    return system.settings.state_dir / "aws" / "credentials"


async def write_profiles(system: LocalSystem, operator: Operator) -> None:
    """Write both files, with the key that is there if it is still good, or with a new one."""
    regions = system.settings.regions
    private_files.make_directory(config_file(system).parent)
    sections: dict[str, dict[str, str]] = {}
    for region in regions:
        # By its address, as not every machine asks our nameservers.
        address = system.address(region)
        url = address.url("aws_api", "https")
        mqtt = f"{address.host}:{address.ports['mqtt']}"
        sections |= _sections(system, profile(region), region, url, mqtt)
    if system.api_url:
        mqtt = f"{system.stable_name}:{system.address(regions[0]).ports['mqtt']}"
        sections |= _sections(system, STABLE, regions[0], system.api_url, mqtt)
    _write(config_file(system), sections)
    file = credentials_file(system)
    held = _read(file, profile(regions[0]))
    known = await operator.access_keys(regions[0])
    good = {key["id"] for key in known if key["status"] == AccessKeyStatus.ACTIVE}
    if held.get(_ID) not in good or not held.get(_SECRET):
        made = await operator.create_access_key(regions[0], Role.ADMIN)
        held = {_ID: made["id"], _SECRET: made["secret"]}
    _write(file, dict.fromkeys([STABLE, *map(profile, regions)], held))


def _sections(
    system: LocalSystem, name: str, region: str, url: str, mqtt: str
) -> dict[str, dict[str, str]]:
    endpoint = f"\nendpoint_url = {url}"
    return {
        f"profile {name}": {
            "region": region,
            "ca_bundle": str(system.pki.ca_file),
            "services": name,
            MQTT: mqtt,
        },
        f"services {name}": dict.fromkeys(SERVICES, endpoint),
    }


def _parser() -> configparser.ConfigParser:
    # A secret may have any character in it.
    return configparser.ConfigParser(interpolation=None)


def _read(file: Path, section: str) -> dict[str, str]:
    parser = _parser()
    if file.exists():
        parser.read_string(private_files.read(file).decode())
    return dict(parser[section]) if parser.has_section(section) else {}


def _write(file: Path, sections: Mapping[str, Mapping[str, str]]) -> None:
    parser = _parser()
    parser.read_dict(sections)
    text = io.StringIO()
    parser.write(text)
    private_files.write(file, text.getvalue().encode())
