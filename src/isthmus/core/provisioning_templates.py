"""Provisioning templates that are kept, each with up to five versions of its document.

Versions are those of ``core.policies``: documents are immutable items of their own, and two that
regions made at once under one number get two. Where regions chose defaults at once, the one with
the highest number is the default in every region, until somebody who has seen both chooses. Of
everything else of a template each register stands for itself: the later write holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from isthmus.core import policies, resource
from isthmus.core.item import Item
from isthmus.core.policies import Version
from isthmus.core.registry import Writer
from isthmus.core.table import Path

PROVISIONING_TEMPLATE = "provisioning-template"
PROVISIONING_TEMPLATE_VERSION = "provisioning-template-version"
#: Registers, as AWS names them.
DESCRIPTION, ENABLED, ROLE, TYPE = "description", "enabled", "provisioningRoleArn", "type"
#: One register for the hook and the version of what it is sent, as they belong together.
HOOK = "preProvisioningHook"


class TemplateType(StrEnum):
    """As AWS IoT names them."""

    FLEET_PROVISIONING = "FLEET_PROVISIONING"
    JITP = "JITP"


def create(
    item: Item, writer: Writer, key: str, registers: Mapping[str, Any], tags: Mapping[str, str]
) -> Item:
    """Begin a template whose first version has its document in the item of this key."""
    return resource.put(policies.put(item, writer, key, tags), writer, registers, {})


def update(
    item: Item, writer: Writer, registers: Mapping[str, Any], default: Version | None = None
) -> Item:
    """Have registers be so, and a version the only default; the same item where all is so."""
    if default is not None and policies.default_versions(item) != [default.key]:
        item = policies.put(item, writer, default.key)
    return resource.put(item, writer, registers, {})


def default_version(item: Item) -> Version | None:
    """The version that devices are provisioned by; None of a tombstone."""
    return max((each for each in policies.versions(item) if each.is_default), default=None)


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a template is listed, by name."""
    if item.lives:
        yield (PROVISIONING_TEMPLATE,), item.key
