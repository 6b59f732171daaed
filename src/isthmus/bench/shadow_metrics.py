"""What `isthmus bench shadow` measures: updates of many shadows, over MQTT."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from isthmus.bench.metrics import Figure, Metric, per_s
from isthmus.bench.plan import Outcome, Updating
from isthmus.bench.regions import complaints, local_system, until_open
from isthmus.bench.stand import CROWD, SOURCES, Ended, Stand, Target, Tools, clients, serving
from isthmus.local import bring_up

POLICY = "shadows"
#: One for each core of the machine that figures are given for.
SERVICES = 2
#: Half of what a region is to take.
HALF_PER_S = 2_000


def shadow_metrics() -> list[Metric]:
    """All of them. There is no peer: nobody else's shadows can be had."""
    one, two = _stand("eu"), _stand("eu", "us")
    half = Updating(per_s=HALF_PER_S)
    return [
        _rate("updates_per_s", one),
        Metric(
            "accepted_p50_ms",
            half,
            (
                Figure("accepted_p50_ms", "ms", lambda outcome: outcome.latency_ms["p50"], 2),
                Figure("accepted_p99_ms", "ms", lambda outcome: outcome.latency_ms["p99"], 2),
            ),
            one,
        ),
        _rate("two_regions_updates_per_s", two),
    ]


def _rate(name: str, stand: Stand) -> Metric:
    figures = (
        Figure(name, "accepted/s", per_s),
        Figure(name.replace("_per_s", "_per_cpu_s"), "accepted/CPU s", _per_cpu_s),
    )
    return Metric(name, Updating(), figures, stand)


def _per_cpu_s(outcome: Outcome) -> float:
    return outcome.per_s / sum(outcome.server_cpu.values())


def _stand(*regions: str) -> Stand:
    """Regions as `isthmus up` starts them, with a second service in the first."""

    @asynccontextmanager
    async def stand(directory: Path, tools: Tools) -> AsyncIterator[Target]:
        ended = Ended()
        home = regions[0]
        async with AsyncExitStack() as stack:
            running = local_system(directory, regions, tools, ended)
            system, operator = await stack.enter_async_context(running)
            await asyncio.gather(*(system.start_region(region) for region in regions))
            more = [system.another(home, "api", number) for number in range(2, SERVICES + 1)]
            pids = {each.name: await stack.enter_async_context(serving(each)) for each in more}
            policy = {"name": POLICY, "document": _document()}
            devices = [bring_up.device(system, name, {}, POLICY) for name in CROWD]
            await operator.register(home, devices, [policy])
            await until_open(operator, regions, 0)
            address = system.address(home)
            yield Target(
                host=address.host,
                port=address.ports["mqtt"],
                hostname=system.hostname(home),
                ca_file=system.pki.ca_file,
                clients=clients(system.pki, CROWD[:1]),
                crowd=clients(system.pki, CROWD),
                servers=system.pids() | pids,
                sources=() if system.shared_host else SOURCES,
                check=ended.check,
                complaints=lambda: complaints(system),
            )

    return stand


def _document() -> str:
    """What lets a client do everything with shadows."""
    resources = ("client/crowd-*", "topic/$aws/things/*", "topicfilter/$aws/things/*")
    arns = [f"arn:aws:iot:*:*:{each}" for each in resources]
    statement = {"Effect": "Allow", "Action": "iot:*", "Resource": arns}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
