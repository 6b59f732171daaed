"""Role aliases: create, describe, update, delete, list. They are stored; nobody assumes a role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus.aws import paging, tagging
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import arn, dates, existing, present, vacant
from isthmus.core import registry, resource
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.resource import TAGS
from isthmus.core.settings import ROLE_ALIAS

_ROLE, _DURATION = "roleArn", "credentialDurationSeconds"
#: AWS's.
DURATION_S = 3600


@OPERATIONS.handles("CreateRoleAlias")
async def create_role_alias(context: Context, parameters: Parameters) -> Output:
    registers = {_ROLE: parameters[_ROLE], _DURATION: parameters.get(_DURATION, DURATION_S)}
    tags = tagging.given(context, parameters.get("tags", []))

    def create(item: Item, writer: Writer) -> Item:
        vacant(context, item)
        return resource.put(item, writer, registers, {TAGS: tags})

    return _shown(context, await context.write(ROLE_ALIAS, parameters["roleAlias"], create))


@OPERATIONS.handles("UpdateRoleAlias")
async def update_role_alias(context: Context, parameters: Parameters) -> Output:
    """What is not given stays."""
    registers = {name: parameters[name] for name in (_ROLE, _DURATION) if name in parameters}

    def update(item: Item, writer: Writer) -> Item:
        return resource.put(present(context, item), writer, registers, {})

    return _shown(context, await context.write(ROLE_ALIAS, parameters["roleAlias"], update))


@OPERATIONS.handles("DeleteRoleAlias")
async def delete_role_alias(context: Context, parameters: Parameters) -> Output:
    def delete(item: Item, writer: Writer) -> Item:
        return registry.delete(present(context, item), writer)

    await context.write(ROLE_ALIAS, parameters["roleAlias"], delete)
    return {}


@OPERATIONS.handles("DescribeRoleAlias")
def describe_role_alias(context: Context, parameters: Parameters) -> Output:
    item = existing(context, ROLE_ALIAS, parameters["roleAlias"])
    described = {
        **_shown(context, item),
        _ROLE: item.register(_ROLE),
        _DURATION: item.register(_DURATION),
        "owner": context.naming.account_id,
        **dates(item),
    }
    return {"roleAliasDescription": described}


@OPERATIONS.handles("ListRoleAliases")
def list_role_aliases(context: Context, parameters: Parameters) -> Output:
    """By name, the last one first unless asked otherwise."""
    descending = not parameters.get("ascendingOrder", False)

    def entries(after: str | None) -> Iterator[Entry]:
        for name in context.listed(ROLE_ALIAS, after=after, descending=descending):
            yield Entry(name, name)

    return paging.page(context.call, entries)


def _shown(context: Context, item: Item) -> dict[str, Any]:
    return {"roleAlias": item.key, "roleAliasArn": arn(context, item)}
