"""From processes to a system that serves: canary, policies, devices, verdicts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from isthmus.errors import Unavailable
from isthmus.local.operator import Operator
from isthmus.local.system import CANARY, LocalSystem

ACCOUNT = "000000000000"
FLEET_POLICY = "fleet"
CANARY_POLICY = "isthmus-canary"
#: Topics of a device: vehicles/<thing name>/...
TOPIC_ROOT = "vehicles"
HEALTHY_TIMEOUT_S = 45.0
POLL_S = 0.1
#: Devices per request: an answer waits for a second region, so larger ones are faster.
REGISTER_AT_ONCE = 100


def document(region: str, client: str, topics: str) -> str:
    """A policy as a team on AWS would write it, naming its home region; it holds in all."""

    def arn(kind: str, name: str) -> str:
        return f"arn:aws:iot:{region}:{ACCOUNT}:{kind}/{name}"

    statements: list[tuple[list[str], str]] = [
        (["iot:Connect"], arn("client", client)),
        (["iot:Publish", "iot:RetainPublish", "iot:Receive"], arn("topic", topics)),
        (["iot:Subscribe"], arn("topicfilter", topics)),
    ]
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": actions, "Resource": resource}
                for actions, resource in statements
            ],
        }
    )


def fleet_policy(region: str) -> dict[str, str]:
    """Each device connects under its own name and uses its own topics."""
    name = "${iot:Connection.Thing.ThingName}"
    return {"name": FLEET_POLICY, "document": document(region, name, f"{TOPIC_ROOT}/{name}/*")}


def _canary_policy(region: str) -> dict[str, str]:
    return {
        "name": CANARY_POLICY,
        "document": document(region, "canary-*", "isthmus/canary/*"),
    }


def device(
    system: LocalSystem, name: str, attributes: Mapping[str, str], policy: str = FLEET_POLICY
) -> dict[str, Any]:
    """What registers one device; its key and certificate are made where it runs."""
    identity = system.pki.device(name)
    return {
        "thing": name,
        "attributes": dict(attributes),
        "certificate_pem": Path(identity.certificate).read_text(),
        "policies": [policy],
    }


async def bring_up(system: LocalSystem, operator: Operator) -> None:
    """Start regions, register the canary, start the sites; wait until every region is healthy.

    In this order: observers whose canary is not known yet would find every region sick, and the
    first one to recover would get the route.
    """
    await asyncio.gather(*(system.start_region(site) for site in system.sites))
    home = system.settings.regions[0]
    await operator.register(
        home, [device(system, CANARY, {}, CANARY_POLICY)], [_canary_policy(home)]
    )
    await asyncio.gather(*(system.start_site(site) for site in system.sites))
    await healthy(system, operator)


async def healthy(
    system: LocalSystem, operator: Operator, within_s: float = HEALTHY_TIMEOUT_S
) -> None:
    """Wait until every director finds every region healthy. Raises Unavailable with the reason."""
    reason = "no director has answered"
    try:
        async with asyncio.timeout(within_s):
            while True:
                found = [await _not_healthy(operator, site) for site in system.sites]
                if not any(found):
                    return
                reason = "; ".join(each for each in found if each)
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise Unavailable(f"not every region became healthy: {reason}") from None


async def _not_healthy(operator: Operator, site: str) -> str:
    try:
        verdicts = (await operator.routing(site))["verdicts"].values()
    except Unavailable as error:
        return str(error)
    return "; ".join(each["reason"] for each in verdicts if each["health"] != "healthy")


async def register_all(
    operator: Operator,
    region: str,
    devices: Iterable[dict[str, Any]],
    progress: Callable[[int], None],
) -> bool:
    """Register devices in one region; True if a second region has every one of them."""
    everything, replicated = list(devices), True
    for start in range(0, len(everything), REGISTER_AT_ONCE):
        answer = await operator.register(
            region, everything[start : start + REGISTER_AT_ONCE], [fleet_policy(region)]
        )
        replicated = replicated and bool(answer["replicated"])
        progress(min(start + REGISTER_AT_ONCE, len(everything)))
    return replicated
