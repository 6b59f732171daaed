"""Small nouns of the API that are nothing but their registers.

Two regions that change different registers of one at once keep both changes; of one register the
later write stands, and the other is listed as a conflict. What belongs together is one register.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.core.item import Item
from isthmus.core.table import Path

#: One item for the whole system, under this key.
EVENT_CONFIGURATIONS, ALL = "event-configurations", "all"
#: Another one; what is indexed of things, and what of groups.
INDEXING, THINGS, GROUPS = "indexing-configuration", "things", "groups"
ROLE_ALIAS = "role-alias"
TOPIC_RULE = "topic-rule"
#: Of a rule all that is replaced together, and whether it is switched off.
RULE, DISABLED = "rule", "ruleDisabled"


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where any of them is listed, by name."""
    if item.lives:
        yield (item.kind,), item.key
