"""Starts isthmus with operations of the tests' own: `python aws_dimensions.py serve ...`.

Dimensions are nothing that Isthmus has, so no handler of ours is in their way, and what is tested
with them is the server alone.
"""

from __future__ import annotations

from typing import Any

from isthmus.aws.context import Context
from isthmus.aws.handlers import OPERATIONS
from isthmus.aws.service_error import ServiceError
from isthmus.cli import main
from isthmus.core.item import Item
from isthmus.core.registry import Writer

KIND = "dimension"


@OPERATIONS.handles("CreateDimension")
async def create(context: Context, parameters: dict[str, Any]) -> dict[str, Any]:
    """The same one again changes nothing."""
    values = parameters["stringValues"]

    def change(item: Item, writer: Writer) -> Item:
        if item.lives and item.register("values") == values:
            return item
        return writer.write(item).create().set("values", values).done()

    await context.write(KIND, parameters["name"], change)
    return {"name": parameters["name"]}


@OPERATIONS.handles("DescribeDimension")
def describe(context: Context, parameters: dict[str, Any]) -> dict[str, Any]:
    item = context.get(KIND, parameters["name"])
    if not item.lives:
        raise ServiceError("ResourceNotFoundException", "There is no such dimension")
    return {"name": item.key, "stringValues": item.register("values")}


@OPERATIONS.handles("DeleteDimension")
def delete(context: Context, parameters: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("a secret of ours")


if __name__ == "__main__":
    main()
