"""Bulk registrations: start, stop, describe, list, and where their reports are.

Whoever carries them out is elsewhere (``aws_server.registration_tasks``); here is what is said of
them. The caller needs the rights of all that the template does, once, when the task is started.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from isthmus.aws import paging
from isthmus.aws.by_creation import page
from isthmus.aws.context import Context
from isthmus.aws.handlers.provisioning_templates import read_template
from isthmus.aws.handlers.register_thing import check_rights
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import dates, refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core import registration_tasks
from isthmus.core.item import Item
from isthmus.core.registration_tasks import (
    BUCKET,
    DIRECTORY,
    KEY,
    LISTED_BY_STATUS,
    LISTED_OPEN,
    OPEN_MAX,
    REGION,
    REGISTRATION_TASK,
    ROLE,
    TEMPLATE,
)
from isthmus.core.registry import Writer
from isthmus.errors import InputError

_ASKED = (TEMPLATE, BUCKET, KEY, ROLE)


@OPERATIONS.handles("StartThingRegistrationTask")
async def start_thing_registration_task(context: Context, parameters: Parameters) -> Output:
    check_rights(context, read_template(context, parameters[TEMPLATE]))
    try:
        new = context.buckets.new_task(parameters[BUCKET], parameters[KEY])
    except InputError as error:
        raise refuse(context, str(error)) from None
    said = {name: parameters[name] for name in _ASKED}
    said |= {REGION: context.clock.region, DIRECTORY: new.directory}

    def begin(item: Item, writer: Writer) -> Item:
        if context.items.catalogue.count(LISTED_OPEN, said[REGION]) >= OPEN_MAX:
            raise refuse(context, f"{OPEN_MAX} tasks of this region have not ended yet")
        return registration_tasks.begin(item, writer, said)

    await context.write(REGISTRATION_TASK, new.id, begin)
    return {"taskId": new.id}


@OPERATIONS.handles("StopThingRegistrationTask")
async def stop_thing_registration_task(context: Context, parameters: Parameters) -> Output:
    """Of one that has ended, nothing is to be done."""

    def stop(item: Item, writer: Writer) -> Item:
        return registration_tasks.stop(_present(item), writer)

    await context.write(REGISTRATION_TASK, parameters["taskId"], stop)
    return {}


@OPERATIONS.handles("DescribeThingRegistrationTask")
def describe_thing_registration_task(context: Context, parameters: Parameters) -> Output:
    item = _present(context.get(REGISTRATION_TASK, parameters["taskId"]))
    progress = registration_tasks.progress(item)
    return {
        "taskId": item.key,
        **{name: item.register(name) for name in _ASKED},
        "status": registration_tasks.status(item),
        "message": registration_tasks.message(item),
        "successCount": progress.succeeded,
        "failureCount": progress.failed,
        "percentageProgress": registration_tasks.percentage(item),
        **dates(item),
    }


@OPERATIONS.handles("ListThingRegistrationTasks")
def list_thing_registration_tasks(context: Context, parameters: Parameters) -> Output:
    """All of them, or those of a status, the newest first."""
    status = parameters.get("status")
    path = (REGISTRATION_TASK,) if status is None else (LISTED_BY_STATUS, status)
    return page(context, path, lambda key: key)


@OPERATIONS.handles("ListThingRegistrationTaskReports")
def list_thing_registration_task_reports(context: Context, parameters: Parameters) -> Output:
    """The file of the region that carries it out, once there is something in it."""
    item = context.get(REGISTRATION_TASK, parameters["taskId"])
    if not item.lives:
        raise refuse(context, f"There is no task {parameters['taskId']}")
    kind = parameters["reportType"]
    return {"reportType": kind} | paging.page(context.call, partial(_links, item, kind.lower()))


def _links(item: Item, name: str, after: str | None) -> Iterator[Entry]:
    if after is None and getattr(registration_tasks.progress(item), name):
        yield Entry(name, f"{item.register(DIRECTORY)}/{name}.jsonl")


def _present(item: Item) -> Item:
    if not item.lives:
        raise ServiceError("ResourceNotFoundException", f"There is no task {item.key}")
    return item
