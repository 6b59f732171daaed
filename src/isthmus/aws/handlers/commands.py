"""Commands: create, get, update, delete, list.

A payload is sent as it is: what AWS makes payloads from, templates and their parameters, is refused
by name, as nobody would evaluate it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from isthmus.aws import paging, tagging
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import absent, arn, called, moment, refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core import commands, lists, lives, resource
from isthmus.core.commands import (
    COMMAND,
    CONTENT_TYPE,
    DEPRECATED,
    DESCRIPTION,
    DISPLAY_NAME,
    NAMESPACE,
    PAYLOAD,
    PAYLOAD_MAX_BYTES,
)
from isthmus.core.item import Item
from isthmus.core.message_properties import CONTENT_TYPE_MAX_BYTES
from isthmus.core.registry import Writer

#: The only namespace: the other one is that of a service that is not here.
AWS_IOT = "AWS-IoT"
ASCENDING = "ASCENDING"
_NOT_HERE = ("payloadTemplate", "preprocessor", "mandatoryParameters", "roleArn")
_TEXTS = (DISPLAY_NAME, DESCRIPTION)
#: HTTP statuses: it is gone, or will be.
_DELETED, _SCHEDULED = 204, 202


@OPERATIONS.handles("CreateCommand")
async def create_command(context: Context, parameters: Parameters) -> Output:
    for name in _NOT_HERE:
        if name in parameters:
            raise refuse(context, f"{name} is not supported here: give the payload as it is")
    if parameters.get(NAMESPACE, AWS_IOT) != AWS_IOT:
        raise refuse(context, f"{NAMESPACE} must be {AWS_IOT}")
    registers = {
        NAMESPACE: AWS_IOT,
        PAYLOAD: _payload(context, parameters.get(PAYLOAD, {})),
        **{name: parameters[name] for name in _TEXTS if name in parameters},
    }
    tags = tagging.given(context, parameters.get("tags", []))

    def create(item: Item, writer: Writer) -> Item:
        if commands.is_there(item, context.now_ms):
            raise conflict(f"{called(item)} already exists", item.key)
        return commands.create(item, writer, registers, tags)

    item = await context.write(COMMAND, parameters["commandId"], create)
    return {"commandId": item.key, "commandArn": arn(context, item)}


def _payload(context: Context, given: dict[str, Any]) -> list[str]:
    """Content in base64, and its type."""
    content, kind = given.get("content", b""), given.get("contentType", CONTENT_TYPE)
    if not content:
        raise refuse(context, "payload.content is needed")
    if len(content) > PAYLOAD_MAX_BYTES:
        message = f"payload.content has {len(content)} bytes, of {PAYLOAD_MAX_BYTES}"
        raise refuse(context, message)
    # It is to stand in the properties of an MQTT message.
    is_type = kind.isascii() and kind.isprintable() and all(kind.partition("/"))
    if not is_type or len(kind) > CONTENT_TYPE_MAX_BYTES:
        message = f"payload.contentType is not of the form type/subtype: {kind[:80]!r}"
        raise refuse(context, message)
    return [base64.b64encode(content).decode(), kind]


@OPERATIONS.handles("GetCommand")
def get_command(context: Context, parameters: Parameters) -> Output:
    item = present(context, context.get(COMMAND, parameters["commandId"]))
    content, kind = item.register(PAYLOAD)
    return {
        **_shown(context, item),
        NAMESPACE: item.register(NAMESPACE),
        DESCRIPTION: item.register(DESCRIPTION),
        PAYLOAD: {"content": base64.b64decode(content), "contentType": kind},
    }


@OPERATIONS.handles("UpdateCommand")
async def update_command(context: Context, parameters: Parameters) -> Output:
    """What is not given stays; of a deprecated command nothing else changes before it is not."""
    texts = {name: parameters[name] for name in _TEXTS if name in parameters}
    wanted = parameters.get("deprecated")

    def update(item: Item, writer: Writer) -> Item:
        present(context, item)
        if commands.is_being_deleted(item):
            raise conflict(f"{called(item)} is being deleted", item.key)
        is_deprecated = item.register(DEPRECATED) is not None
        if texts and is_deprecated and wanted is not False:
            raise conflict(f"{called(item)} is deprecated: restore it first", item.key)
        said = {} if wanted is None else commands.deprecate(item, writer, is_deprecated=wanted)
        return resource.put(item, writer, texts | said, {})

    item = await context.write(COMMAND, parameters["commandId"], update)
    return {
        "commandId": item.key,
        **{name: item.register(name) for name in _TEXTS},
        "deprecated": item.register(DEPRECATED) is not None,
        "lastUpdatedAt": moment(item.modified_ms),
    }


@OPERATIONS.handles("DeleteCommand")
async def delete_command(context: Context, parameters: Parameters) -> Output:
    def delete(item: Item, writer: Writer) -> Item:
        return commands.delete(present(context, item), writer)

    item = await context.write(COMMAND, parameters["commandId"], delete)
    return {"statusCode": _SCHEDULED if item.lives else _DELETED}


@OPERATIONS.handles("ListCommands")
def list_commands(context: Context, parameters: Parameters) -> Output:
    """By creation, the newest first unless asked otherwise. No command has a parameter."""
    descending = parameters.get("sortOrder") != ASCENDING
    is_none = parameters.get(NAMESPACE, AWS_IOT) != AWS_IOT or "commandParameterName" in parameters

    def entries(after: str | None) -> Iterator[Entry]:
        for name in context.listed(COMMAND, after=after, descending=descending):
            yield Entry(name, _shown(context, context.get(COMMAND, lists.key_of(name))))

    return paging.page(context.call, lambda after: () if is_none else entries(after))


def _shown(context: Context, item: Item) -> dict[str, Any]:
    return {
        "commandId": item.key,
        "commandArn": arn(context, item),
        DISPLAY_NAME: item.register(DISPLAY_NAME),
        "deprecated": item.register(DEPRECATED) is not None,
        "pendingDeletion": commands.is_being_deleted(item),
        "createdAt": moment(lives.created_ms(item)),
        "lastUpdatedAt": moment(item.modified_ms),
    }


def present(context: Context, item: Item) -> Item:
    """The command itself; raises ServiceError where there is none, or none any more."""
    if not commands.is_there(item, context.now_ms):
        raise absent(context, item)
    return item


def conflict(message: str, resource_id: str) -> ServiceError:
    """What is asked for is at odds with what is there."""
    return ServiceError("ConflictException", message, {"resourceId": resource_id})
