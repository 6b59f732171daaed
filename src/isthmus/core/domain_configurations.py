"""Domain configurations: by which names devices come, and what is expected of them there.

What is asked for at the creation stays and is one register; of the settings that may change later
each is one, so that regions that change different ones at once keep both. Which is disabled is
decided as with certificates: what one region has disabled stays so until somebody who has seen that
enables it. One that is deleted stays deleted, even where it is enabled at once elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.core import register_map, resource
from isthmus.core.item import Item
from isthmus.core.lattice import Live
from isthmus.core.registry import Writer

DOMAIN_CONFIGURATION = "domain-configuration"
#: AWS's limit, of those that customers make.
DOMAIN_CONFIGURATIONS_MAX = 10
#: AWS's: what leads to a name of its own can be deleted only after so long a time without use.
DISABLED_BEFORE_DELETION_MS = 7 * 24 * 3600 * 1000

#: The register of what stays, and that of when it was enabled or disabled last.
DOMAIN, SWITCHED_MS = "domain", "switchedMs"
_DISABLED = "disabled"


# Writing


def create(
    item: Item,
    writer: Writer,
    domain: Mapping[str, Any],
    settings: Mapping[str, Any],
    tags: Mapping[str, str],
) -> Item:
    """Begin an enabled one."""
    write = writer.write(item).create().kill(_DISABLED)
    registers = {DOMAIN: dict(domain), SWITCHED_MS: writer.now_ms, **settings}
    changes = register_map.changes(register_map.values(item, resource.TAGS), tags)
    return resource.fill(write, item, registers, {resource.TAGS: changes}).done()


def update(
    item: Item, writer: Writer, settings: Mapping[str, Any], *, enabled: bool | None = None
) -> Item:
    """Have these settings, None for one that is to go, and be enabled or not; None leaves that."""
    values = {name: value for name, value in settings.items() if item.register(name) != value}
    switches = enabled is not None and enabled != is_enabled(item)
    if not values and not switches:
        return item
    write = resource.fill(writer.write(item), item, values, {})
    if switches:
        write.set(SWITCHED_MS, writer.now_ms)
        write = write.kill(_DISABLED) if enabled else write.add(_DISABLED, {})
    return write.done(tightens=switches and not enabled)


# Reading


def is_enabled(item: Item) -> bool:
    found = item.fields.get(_DISABLED)
    return bool(item.lives) and not (isinstance(found, Live) and found.entries)


def disabled_ms(item: Item, now_ms: int) -> int:
    """For how long it has been disabled; 0 while it is enabled."""
    return 0 if is_enabled(item) else now_ms - switched_ms(item)


def switched_ms(item: Item) -> int:
    return int(item.register(SWITCHED_MS) or 0)


def domain(item: Item) -> dict[str, Any]:
    """What was asked for at its creation."""
    return dict(item.register(DOMAIN) or {})
