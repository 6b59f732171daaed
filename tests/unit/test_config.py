"""Settings that are of the right type and still wrong are refused: what, its value, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from region_settings import REGION

from isthmus import config as configs
from isthmus.config import (
    AwsApi,
    Limits,
    Listen,
    RegionConfig,
    RoutedRegion,
    ServerFiles,
    SiteConfig,
    SitePeer,
    TopicDurability,
)
from isthmus.errors import ConfigError

AWS_API = AwsApi(
    listen=Listen(host="0.0.0.0", port=443),
    tls=ServerFiles(certificate="api.pem", key="api.key"),
    nats=REGION.nats,
    device_host="iot.example.com",
)
PLAIN = Listen(host="127.0.0.1", port=1883)


def plain(
    host: str = PLAIN.host, port: int = PLAIN.port, principal: str = "0f" * 32
) -> dict[str, Any]:
    return {"plain": Listen(host=host, port=port), "plain_principal": principal}


def buckets(name: str, directory: str) -> dict[str, Any]:
    aws_api = msgspec.structs.replace(AWS_API, buckets={name: directory})
    return {"aws_api": aws_api, "secrets_key": "access-keys.key"}


def read(directory: Path, **changes: Any) -> RegionConfig:
    """What a file with these settings says."""
    file = directory / "region.toml"
    configs.dump(file, msgspec.structs.replace(REGION, **changes))
    return configs.load(file, RegionConfig)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"https": Listen(host="0.0.0.0", port=443)},
        plain(),
        plain("127.9.0.1", 8883),
        plain("::1", 8883),
        {"server_names": ("iot.example.com", "EU-1.iot.example.com", "localhost")},
        {"durability": (TopicDurability(topics="a/#", durability="memory"),)},
        {"everywhere": ("a/+/b", "#")},
        {"aws_api": AWS_API, "secrets_key": "access-keys.key"},
        buckets("a.b", "/srv/things"),
        {"limits": Limits(connects_per_s=0.5, connects_first=("10.0.0.1", "::1"))},
    ],
)
def test_a_file_says_what_was_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert read(tmp_path, **changes) == msgspec.structs.replace(REGION, **changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (plain("0.0.0.0"), "plain.host is '0.0.0.0'"),
        (plain("::"), "plain.host is '::'"),
        (plain("10.0.0.1"), "plain.host is '10.0.0.1'"),
        (plain("localhost"), "plain.host is 'localhost'"),
        (plain(""), "plain.host is ''"),
        ({"plain": PLAIN}, "plain_principal is ''"),
        (plain(principal="0F" * 32), "plain_principal is '0F"),
        (plain(principal="0f" * 33), "plain_principal is '0f"),
        (plain(port=8883), "plain is 127.0.0.1:8883, as mqtt"),
        ({"https": REGION.mqtt}, "https is 127.0.0.1:8883, as mqtt"),
        ({"https": PLAIN, **plain()}, "plain is 127.0.0.1:1883, as https"),
        ({"server_names": ("",)}, "server_names has ''"),
        ({"durability": (TopicDurability(topics="a/#b", durability="region"),)}, "topics 'a/#b'"),
        ({"durability": (TopicDurability(topics="a", durability="all"),)}, "durability of 'a'"),
        (
            {"durability": (TopicDurability(topics="a", durability="region", alone="x"),)},
            "alone of 'a' is 'x'",
        ),
        ({"everywhere": ("a+",)}, r"everywhere 'a\+'"),
        ({"session_expiry_max_s": -1}, "session_expiry_max_s is -1"),
        ({"server_names": ("iot.example.com", "*.example.com")}, r"server_names has '\*.example"),
        ({"server_names": ("bücher.example",)}, "server_names has 'b"),
        ({"aws_api": AWS_API}, "aws_api is set and secrets_key is not"),
        (buckets("ab", "/srv/things"), "aws_api.buckets has 'ab'"),
        (buckets("a/b", "/srv/things"), "aws_api.buckets has 'a/b'"),
        (buckets("things", "things"), "aws_api.buckets.things is 'things'"),
        ({"limits": Limits(connects_per_s=-1.0)}, "limits.connects_per_s is -1.0"),
        ({"limits": Limits(connects_burst=0)}, "limits.connects_burst is 0"),
        ({"limits": Limits(connects_first=("10.0.0.0/8",))}, "limits.connects_first has '10"),
    ],
)
def test_what_cannot_be_is_refused_by_name_value_and_what_to_do(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=rf"region.toml: {says}.*\nTry: "):
        read(tmp_path, **changes)


@pytest.mark.parametrize("text", [b"region = ", b'region = "\x80"'], ids=["broken", "not UTF-8"])
def test_a_file_that_is_no_toml_is_refused_by_its_name(tmp_path, text):
    file = tmp_path / "region.toml"
    file.write_bytes(text)
    with pytest.raises(ConfigError, match=r"region\.toml: not TOML"):
        configs.load(file, RegionConfig)


def site(*hostnames: str, **changes: Any) -> SiteConfig:
    listen = Listen(host="127.0.0.1", port=1)
    return SiteConfig(
        site="eu",
        state_dir="eu",
        sites=(SitePeer(name="eu", url="https://127.0.0.1:1"),),
        regions=tuple(
            RoutedRegion(name=each, hostname=each, address="10.0.0.1", mqtt_port=8883, **changes)
            for each in hostnames
        ),
        stable_name="iot.x",
        dns=listen,
        mesh=listen,
        mesh_tls=REGION.mqtt_tls,
        canary_tls=REGION.mqtt_tls,
    )


@pytest.mark.parametrize(
    "config",
    [
        site("eu.iot.x", "us.iot.x"),
        site("api.us.iot.x", "eu.iot.x"),
        site("eu.iot.x", api_address="::1"),
    ],
)
def test_regions_have_names_of_their_own_in_the_zone(tmp_path: Path, config: SiteConfig) -> None:
    configs.dump(tmp_path / "site.toml", config)
    assert configs.load(tmp_path / "site.toml", SiteConfig) == config


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (site("eu.iot.x", "us.y"), "hostname of us.y is 'us.y'"),
        (site("api.iot.x"), "hostname of api.iot.x is 'api.iot.x'"),
        (site("eu.iot.x", "api.eu.iot.x"), "hostname of api.eu.iot.x is 'api.eu.iot.x'"),
        (site("eu.iot.x", api_address="eu.x"), "api_address of eu.iot.x is 'eu.x'"),
    ],
)
def test_a_name_that_is_not_the_regions_own_is_refused(
    tmp_path: Path, config: SiteConfig, says: str
) -> None:
    configs.dump(tmp_path / "site.toml", config)
    with pytest.raises(ConfigError, match=rf"site.toml: {says}.*\nTry: "):
        configs.load(tmp_path / "site.toml", SiteConfig)
