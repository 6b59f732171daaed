"""`isthmus serve`: one process of one region or site, from its TOML file."""

from __future__ import annotations

from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus import config as configs
from isthmus import process
from isthmus.config import RegionConfig, SiteConfig


class Role(StrEnum):
    """What a process does."""

    GATEWAY = "gateway"
    SERVICES = "services"
    LAKE = "lake"
    API = "api"
    SITE = "site"


def serve(
    role: Annotated[Role, typer.Argument(help="Which part of a region, or a site.")],
    config: Annotated[Path, typer.Option(help="The TOML file of this region or site.")],
    leash: Annotated[
        bool, typer.Option("--leash", help="End when standard input is closed.", hidden=True)
    ] = False,
) -> None:
    """Run one process until it is told to stop.

    A region is a `nats-server`, one `services` and one `lake` process, one or more `gateway`
    processes, which share a port, and as many `api` processes, which serve the AWS-compatible API
    where the file has a section `[aws_api]`. A site is one `site` process: observer, director and
    nameserver.
    It prints `ready` once it serves, and logs JSON lines to standard error.
    """
    process.log_to_stderr()
    settings: RegionConfig | SiteConfig
    if role is Role.SITE:
        settings = configs.load(config, SiteConfig)
    else:
        settings = configs.load(config, RegionConfig)
    raise typer.Exit(process.run(lambda: _service(role, settings), leash=leash))


def _service(role: Role, settings: RegionConfig | SiteConfig) -> Coroutine[Any, Any, None]:
    # Each role imports its own part only: a gateway process does not carry the API in its memory.
    if isinstance(settings, SiteConfig):
        from isthmus.local.site import run_site_with_region

        return run_site_with_region(settings, process.say_ready)
    if role is Role.GATEWAY:
        from isthmus.gateway.gateway import run_gateway

        return run_gateway(settings, process.say_ready)
    if role is Role.LAKE:
        from isthmus.region.lake import run_lake

        return run_lake(settings, process.say_ready)
    if role is Role.API:
        from isthmus.aws_server.server import run_api

        return run_api(settings, process.say_ready)
    from isthmus.region.services import run_services

    return run_services(settings, process.say_ready)
