"""One site from its configuration: observer, director, nameserver, mesh and operator API.

This is where the parts are put together and taken apart again; none of them knows another one but
by what it is handed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from isthmus.adapters.nameserver import Nameserver
from isthmus.adapters.tls import client_context, server_context
from isthmus.clock import now_ms
from isthmus.config import SiteConfig
from isthmus.core.health import Hysteresis
from isthmus.director.announcer import Announcer
from isthmus.director.canary import CanaryProber
from isthmus.director.director import Director
from isthmus.director.journal import Journal
from isthmus.director.mesh import Mesh
from isthmus.director.observer import Observer, Prober
from isthmus.director.operator_api import OperatorApi
from isthmus.director.serving import Serving
from isthmus.ports import RouteListener


async def run_site(
    config: SiteConfig,
    *,
    route_listener: RouteListener | None = None,
    ready: Callable[[], None],
    prober: Prober | None = None,
) -> None:
    """Run one site until cancelled; ``ready`` is called once its nameserver answers."""
    config.validate()
    prober = prober or CanaryProber(config)
    async with contextlib.AsyncExitStack() as stack:
        journal = stack.enter_context(
            contextlib.closing(Journal(Path(config.state_dir), config.site))
        )
        nameserver = Nameserver()
        serving = Serving(config, nameserver.replace, journal, clock=_clock)
        announcer = Announcer(route_listener)
        director = Director(config, journal, serving, announcer, wall_clock=lambda: now_ms() / 1000)
        mesh = Mesh(config, director.state, director.wake, clock=_clock)
        observer = _observer(config, prober, director)
        director.others, director.check_pause = mesh, observer.check_pause
        api = OperatorApi(config, director, mesh, clock=_clock)

        route = director.direction.route
        journal.event("started", route.reason, epoch=route.epoch)
        stack.push_async_callback(nameserver.stop)
        await nameserver.start(config.dns.host, config.dns.port)
        stack.push_async_callback(api.stop)
        await api.start(server_context(config.mesh_tls))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(mesh.run(client_context(config.mesh_tls)))
            tasks.create_task(observer.run())
            tasks.create_task(announcer.run())
            tasks.create_task(director.run())
            await serving.informed.wait()
            ready()


def _observer(config: SiteConfig, prober: Prober, director: Director) -> Observer:
    rules = Hysteresis(
        down_after=config.down_after,
        up_after=config.up_after,
        probe_timeout_s=config.probe_timeout_s,
        pause_limit_s=config.pause_limit_s,
    )
    return Observer(
        config.regions,
        prober,
        rules,
        config.probe_interval_s,
        clock=_clock,
        on_vote=director.on_vote,
        on_pause=director.on_pause,
    )


def _clock() -> float:
    """Seconds that also pass while the machine sleeps, where the system can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
