"""Where AWS IoT Core deviates from the standards of MQTT: a listener speaks one or the other.

What both refuse is not here: QoS 2, payloads above 128 KB.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.core import command_topics, device_topics
from isthmus.wire import topics


@dataclass(frozen=True, slots=True)
class Dialect:
    """The rules of one listener."""

    #: As ``wire.topics`` matches filters.
    name: topics.Dialect
    #: What a client's keep-alive is brought within; a maximum of 0 takes any, and none.
    keep_alive_min_s: int
    keep_alive_max_s: int
    #: How deep and how long topics may be.
    limits_topics: bool
    #: Topics and filters that begin in ``$`` are nobody's to use, but for those of events and of
    #: devices' requests (``core.device_topics``).
    reserves_dollar: bool
    #: A filter with wildcards is given what is retained, and not only one that is the topic itself.
    recalls_by_wildcard: bool
    #: A client of 3.1.1 that brings no name is given one.
    names_the_nameless: bool
    subscriptions_max: int
    filters_per_subscribe_max: int
    #: The least that a client of MQTT 5 must take in one packet: a CONNACK has to fit.
    client_packet_min_bytes: int

    def bounded_keep_alive_s(self, asked_s: int) -> int:
        """What is made of a keep-alive; 0 is none."""
        if not self.keep_alive_max_s:
            return asked_s
        if not asked_s:
            return self.keep_alive_max_s
        return min(max(asked_s, self.keep_alive_min_s), self.keep_alive_max_s)

    def keep_alive_limit_s(self, asked_s: int) -> float:
        """Seconds of silence after which the connection is closed: 1.5 times."""
        return 1.5 * self.bounded_keep_alive_s(asked_s) or float("inf")

    def takes_topic(self, topic: str) -> bool:
        """Whether a valid topic or filter is not too long or too deep."""
        return not self.limits_topics or topics.within_aws_limits(topic)

    def is_reserved(self, topic: str) -> bool:
        """Whether no client may publish a message to a topic; requests are none."""
        return topic.startswith("$" if self.reserves_dollar else "$aws/")

    def is_for_subscribers(self, topic_filter: str) -> bool:
        """Whether there is anything for clients under a filter."""
        reserved = self.reserves_dollar and topic_filter[0] == "$"
        return (
            not reserved
            or topic_filter.startswith(("$aws/events/", command_topics.ROOT))
            or device_topics.may_be_answered(topic_filter)
        )


AWS = Dialect(
    name="aws",
    keep_alive_min_s=30,
    keep_alive_max_s=1200,
    limits_topics=True,
    reserves_dollar=True,
    recalls_by_wildcard=False,
    names_the_nameless=False,
    subscriptions_max=50,
    filters_per_subscribe_max=8,
    client_packet_min_bytes=512,
)
STANDARD = Dialect(
    name="standard",
    keep_alive_min_s=0,
    keep_alive_max_s=0,
    limits_topics=False,
    reserves_dollar=False,
    recalls_by_wildcard=True,
    names_the_nameless=True,
    subscriptions_max=1_000,
    filters_per_subscribe_max=1_000,
    client_packet_min_bytes=64,
)
DIALECTS = {each.name: each for each in (AWS, STANDARD)}
