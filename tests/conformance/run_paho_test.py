"""Runs one test of Eclipse's paho.mqtt.testing in a process of its own, against a server on a port.

    run_paho_test.py CHECKOUT MODULE TEST HOST PORT [QOS_MAX]

Its files are made to be started one by one, and set what their tests need only then. With a QOS_MAX
what the test publishes and subscribes with is lowered to it, which shows what a test would say of a
server without QoS 2 once that is not the first thing that it finds.
"""

from __future__ import annotations

import importlib
import sys
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

PREFIX = "client_test5/"
TOPICS = ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")
FILTERS = ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")
NOT_TO_BE_SUBSCRIBED = ("test/nosubscribe",)


def prepare(module: ModuleType, host: str, port: int) -> None:
    """Set what the file sets where it is started, and nothing else."""
    module.host, module.port = host, port  # type: ignore[attr-defined]
    module.topics, module.wildtopics = TOPICS, FILTERS  # type: ignore[attr-defined]
    module.nosubscribe_topics = NOT_TO_BE_SUBSCRIBED  # type: ignore[attr-defined]
    module.topic_prefix = PREFIX  # type: ignore[attr-defined]


def lower_qos(module: ModuleType, qos_max: int) -> None:
    client = module.mqtt_client.Client
    connect, publish, subscribe = client.connect, client.publish, client.subscribe

    def lower(wanted: Any) -> Any:
        if isinstance(wanted, int):
            return min(wanted, qos_max)
        wanted.QoS = min(wanted.QoS, qos_max)
        return wanted

    def connect_lower(self: Any, *more: Any, willQoS: int = 2, **named: Any):  # noqa: N803
        return connect(self, *more, willQoS=min(willQoS, qos_max), **named)

    def publish_lower(self: Any, topic: Any, payload: Any, qos: int = 0, *more: Any, **named: Any):
        return publish(self, topic, payload, min(qos, qos_max), *more, **named)

    def subscribe_lower(self: Any, topics: Any, options: Any, *more: Any, **named: Any):
        return subscribe(self, topics, [lower(each) for each in options], *more, **named)

    client.connect, client.publish, client.subscribe = connect_lower, publish_lower, subscribe_lower


def main() -> int:
    checkout, name, test, host, port, *qos_max = sys.argv[1:]
    sys.path.insert(0, str(Path(checkout) / "interoperability"))
    module = importlib.import_module(name)
    prepare(module, host, int(port))
    if qos_max:
        lower_qos(module, int(qos_max[0]))
    suite = unittest.defaultTestLoader.loadTestsFromName(f"Test.{test}", module)
    return not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
