"""Which events of the registry are published; ``region.registry_events`` does."""

from __future__ import annotations

from isthmus.aws.context import Context
from isthmus.aws.models import IOT, service
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.resources import dates
from isthmus.core import resource
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.settings import ALL, EVENT_CONFIGURATIONS

EVENT_TYPES: tuple[str, ...] = tuple(service(IOT).model.shape_for("EventType").enum)


@OPERATIONS.handles("DescribeEventConfigurations")
def describe_event_configurations(context: Context, parameters: Parameters) -> Output:
    """All of them: what nobody has enabled is disabled."""
    item = context.get(EVENT_CONFIGURATIONS, ALL)
    enabled = {each: {"Enabled": bool(item.register(each))} for each in EVENT_TYPES}
    return {"eventConfigurations": enabled, **(dates(item) if item.lives else {})}


@OPERATIONS.handles("UpdateEventConfigurations")
async def update_event_configurations(context: Context, parameters: Parameters) -> Output:
    """What is not given stays."""
    given = {
        name: wanted["Enabled"]
        for name, wanted in parameters.get("eventConfigurations", {}).items()
        if "Enabled" in wanted
    }

    def update(item: Item, writer: Writer) -> Item:
        return resource.put(item, writer, given, {}) if given else item

    await context.write(EVENT_CONFIGURATIONS, ALL, update)
    return {}
