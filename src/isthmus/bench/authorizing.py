"""What `isthmus bench authorize` measures: what policies as fleets have them cost a gateway.

Both sides are devices of one gateway, which stands for all rounds: those of the one have three
policies and a group that has another, with variables, conditions and a Deny, those of the other a
policy that allows everything. All else of them is the same.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from isthmus import __version__
from isthmus.adapters.nats import connection
from isthmus.adapters.pki import Pki
from isthmus.bench.metrics import Figure, Metric, Side, per_s
from isthmus.bench.migrated import write
from isthmus.bench.plan import Connecting, Load, Publishing
from isthmus.bench.regions import complaints, local_system, until_open
from isthmus.bench.stand import DEVICES, SOURCES, Ended, Stand, Target, Tools, clients
from isthmus.clock import now_ms
from isthmus.core import memberships, policies, registry, thing_groups
from isthmus.core.item import Item
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, POLICY, POLICY_VERSION, THING, Writer
from isthmus.core.stamp import StampClock
from isthmus.core.thing_groups import THING_GROUP
from isthmus.local.bring_up import ACCOUNT, TOPIC_ROOT

HOME = "eu"
#: Devices that everything is allowed to.
PLAIN = tuple(f"plain-{number}" for number in range(1, len(DEVICES) + 1))
_NAME = "${iot:Connection.Thing.ThingName}"
_OWN = f"{TOPIC_ROOT}/{_NAME}"


def authorize_metrics() -> list[Metric]:
    """All of them; our side is measured with policies, and the peer is our gateway without."""
    return [
        _metric("connects_per_s", "connects/s", Connecting()),
        _metric("publishes_per_s", "acknowledged/s", Publishing()),
    ]


def _metric(name: str, unit: str, load: Load) -> Metric:
    ours, plain = _both()
    peer = Side("allow-all", __version__, plain)
    return Metric(name, load, (Figure(name, unit, per_s),), ours, peer, is_kept=True)


def _both() -> tuple[Stand, Stand]:
    """Two kinds of devices of one region: the second is there while the first stands."""
    standing: list[Target] = []

    @asynccontextmanager
    async def ours(directory: Path, tools: Tools) -> AsyncIterator[Target]:
        ended = Ended()
        async with local_system(directory, (HOME,), tools, ended) as (system, operator):
            await system.start_region(HOME)
            await until_open(operator, (HOME,), 0)
            client = await connection.connect(system.nats_access(HOME, "services"), name="services")
            try:
                position = await write(client, _items(system.pki), lambda _: None)
            finally:
                await client.close()
            await until_open(operator, (HOME,), position)
            address = system.address(HOME)
            target = Target(
                host=address.host,
                port=address.ports["mqtt"],
                hostname=system.hostname(HOME),
                ca_file=system.pki.ca_file,
                clients=clients(system.pki, DEVICES),
                crowd=(),
                servers=system.pids(),
                sources=() if system.shared_host else SOURCES,
                check=ended.check,
                complaints=lambda: complaints(system),
            )
            standing.append(replace(target, clients=clients(system.pki, PLAIN)))
            yield target

    @asynccontextmanager
    async def plain(_: Path, __: Tools) -> AsyncIterator[Target]:
        yield standing[-1]

    return ours, plain


# What is registered


def _arn(suffix: str) -> str:
    return f"arn:aws:iot:{HOME}:{ACCOUNT}:{suffix}"


def _document(*statements: tuple[str, Sequence[str], Sequence[str], dict[str, object]]) -> str:
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": effect, "Action": actions, "Resource": resources, **more}
                for effect, actions, resources, more in statements
            ],
        }
    )


_ATTACHED = {"Condition": {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}}
DOCUMENTS = {
    "connects": _document(
        ("Allow", ["iot:Connect"], [_arn(f"client/{_NAME}")], {**_ATTACHED}),
    ),
    "own-topics": _document(
        (
            "Allow",
            ["iot:Publish", "iot:RetainPublish", "iot:Receive"],
            [_arn(f"topic/{_OWN}/*"), _arn(f"topic/$aws/things/{_NAME}/shadow/*")],
            {},
        ),
        (
            "Allow",
            ["iot:Subscribe"],
            [_arn(f"topicfilter/{_OWN}/*"), _arn(f"topicfilter/$aws/things/{_NAME}/shadow/*")],
            {},
        ),
    ),
    "site": _document(
        (
            "Allow",
            ["iot:Publish"],
            [_arn("topic/sites/${iot:Connection.Thing.Attributes[site]}/*")],
            {},
        ),
        ("Deny", ["iot:Publish", "iot:Receive"], [_arn("topic/admin/*")], {}),
    ),
}
GROUP_DOCUMENT = _document(
    ("Allow", ["iot:Receive"], [_arn("topic/news/*")], {}),
    ("Allow", ["iot:Subscribe"], [_arn("topicfilter/news/*")], {}),
)
ALLOW_ALL = _document(("Allow", ["iot:*"], ["*"], {}))


def _items(pki: Pki) -> Iterator[Item]:
    """Both kinds of devices, as the API would have written them."""
    writer = Writer(StampClock(HOME, "bench"), now_ms())
    held: dict[str, Item] = {}
    for name, document in {**DOCUMENTS, "group": GROUP_DOCUMENT, "all": ALLOW_ALL}.items():
        key = policies.version_key(name, 1, document)
        yield policies.put_version(Item(POLICY_VERSION, key), writer, document)
        held[name] = policies.put(Item(POLICY, name), writer, key)
        yield held[name]
    group = thing_groups.create(Item(THING_GROUP, "fleet"), writer, {}, {}, None)
    yield group
    yield _attached(writer, held["group"], group)
    for name in (*DEVICES, *PLAIN):
        identity = pki.device(name)
        pem = Path(identity.certificate).read_text()
        item = Item(CERTIFICATE, identity.certificate_id)
        certificate = registry.register_certificate(item, writer, pem, active=True)
        thing = registry.put_thing(Item(THING, name), writer, {"site": "berlin"})
        yield from (certificate, thing, _attached(writer, thing, certificate))
        for policy in DOCUMENTS if name in DEVICES else ("all",):
            yield _attached(writer, held[policy], certificate)
        if name in DEVICES:
            yield memberships.changed(Item(MEMBERSHIPS, name), writer, thing, add=[group])


def _attached(writer: Writer, target: Item, principal: Item) -> Item:
    text = registry.principal_text(principal.kind, principal.key)
    key = registry.attachment_key(f"{target.kind}:{target.key}", text)
    return registry.attach(Item(ATTACHMENT, key), writer, target, principal)
