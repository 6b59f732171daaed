"""What an acknowledgement promises of a topic: the first rule decides, within what is possible."""

from __future__ import annotations

import pytest
from region_settings import REGION

from isthmus.config import Peer, TopicDurability
from isthmus.core import promises
from isthmus.core.promises import Promise, Promises, Rule

RULES = [
    Rule("a/memory/#", Promise.MEMORY),
    Rule("a/#", Promise.REGION),
    Rule("b/+", Promise.NEVER_ALONE),
]


@pytest.mark.parametrize(
    ("topic", "with_peers", "without"),
    [
        ("a/memory/x", Promise.MEMORY, Promise.MEMORY),
        ("a/x", Promise.REGION, Promise.REGION),
        ("b/x", Promise.NEVER_ALONE, Promise.REGION),
        ("b/x/y", Promise.TWO_REGIONS, Promise.REGION),
        ("c", Promise.TWO_REGIONS, Promise.REGION),
    ],
)
def test_the_first_rule_that_matches_decides(topic, with_peers, without):
    for has_peers, wanted in ((True, with_peers), (False, without)):
        found = Promises(RULES, has_peers=has_peers)
        # The second answer is remembered.
        assert [found.of(topic), found.of(topic)] == [wanted, wanted]


def test_no_more_topics_are_remembered_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(promises, "TOPICS_REMEMBERED_MAX", 10)
    found = Promises(RULES, has_peers=True)
    for number in range(100):
        assert found.of(f"a/{number}") is Promise.REGION
    assert len(found._known) <= 10


def test_settings_become_rules_and_canaries_need_one_region():
    peer = Peer(region="us", nats=REGION.nats)
    rules = (
        TopicDurability(topics="strict/#", durability="two-regions", alone="refuse"),
        TopicDurability(topics="#", durability="memory"),
    )
    fields = {name: getattr(REGION, name) for name in REGION.__struct_fields__}
    found = type(REGION)(**fields | {"peers": (peer,), "durability": rules}).promises
    assert found.of("isthmus/canary/eu") is Promise.REGION
    assert found.of("strict/x") is Promise.NEVER_ALONE
    assert found.of("x") is Promise.MEMORY
