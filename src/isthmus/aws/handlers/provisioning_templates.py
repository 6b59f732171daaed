"""Provisioning templates and their versions: create, describe, update, delete, list.

A document is stored only if it is one that can be carried out (``core.provisioning``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus.aws import paging, tagging, versioned
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import arn, dates, existing, moment, present, refuse, vacant
from isthmus.aws.service_error import ServiceError
from isthmus.core import policies, provisioning, provisioning_templates, registry
from isthmus.core.item import Item
from isthmus.core.policies import Version
from isthmus.core.provisioning import Source, Template
from isthmus.core.provisioning_templates import (
    DESCRIPTION,
    ENABLED,
    HOOK,
    PROVISIONING_TEMPLATE,
    PROVISIONING_TEMPLATE_VERSION,
    ROLE,
    TYPE,
    TemplateType,
)
from isthmus.core.registry import Writer
from isthmus.errors import InputError

_UPDATED = (DESCRIPTION, ENABLED, ROLE, HOOK)

# Writing


@OPERATIONS.handles("CreateProvisioningTemplate")
async def create_provisioning_template(context: Context, parameters: Parameters) -> Output:
    name = parameters["templateName"]
    kind = TemplateType(parameters.get(TYPE, TemplateType.FLEET_PROVISIONING))
    body = _checked(context, parameters, kind)
    given = {each: parameters[each] for each in _UPDATED if each in parameters}
    registers = {ENABLED: False, **given, TYPE: kind.value}
    tags = tagging.given(context, parameters.get("tags", []))
    key = policies.version_key(name, 1, body)
    vacant(context, context.get(PROVISIONING_TEMPLATE, name))
    await versioned.keep(context, PROVISIONING_TEMPLATE_VERSION, key, body)

    def create(item: Item, writer: Writer) -> Item:
        vacant(context, item)
        return provisioning_templates.create(item, writer, key, registers, tags)

    item = await context.write(PROVISIONING_TEMPLATE, name, create)
    return {**_named(context, item), "defaultVersionId": _default(item).number}


@OPERATIONS.handles("UpdateProvisioningTemplate")
async def update_provisioning_template(context: Context, parameters: Parameters) -> Output:
    """What is not given stays."""
    name = parameters["templateName"]
    registers = {each: parameters[each] for each in _UPDATED if each in parameters}
    if parameters.get("removePreProvisioningHook", False):
        if HOOK in registers:
            raise refuse(context, f"removePreProvisioningHook and {HOOK} exclude each other")
        registers[HOOK] = None
    number = parameters.get("defaultVersionId")
    if number is not None:
        wanted = versioned.numbered(existing(context, PROVISIONING_TEMPLATE, name), str(number))
        kind = PROVISIONING_TEMPLATE_VERSION
        await versioned.keep(context, kind, wanted.key, versioned.document(context, kind, wanted))

    def update(item: Item, writer: Writer) -> Item:
        present(context, item)
        default = None if number is None else versioned.numbered(item, str(number))
        return provisioning_templates.update(item, writer, registers, default)

    await context.write(PROVISIONING_TEMPLATE, name, update)
    return {}


@OPERATIONS.handles("DeleteProvisioningTemplate")
async def delete_provisioning_template(context: Context, parameters: Parameters) -> Output:
    name = parameters["templateName"]
    held = policies.versions(existing(context, PROVISIONING_TEMPLATE, name))

    def delete(item: Item, writer: Writer) -> Item:
        default = _default(present(context, item))
        if any(each != default for each in policies.versions(item)):
            message = f"The template {name} has versions besides its default one: delete them first"
            raise ServiceError("DeleteConflictException", message)
        return registry.delete(item, writer)

    await context.write(PROVISIONING_TEMPLATE, name, delete)
    for version in held:
        await versioned.end(context, PROVISIONING_TEMPLATE_VERSION, version.key)
    return {}


@OPERATIONS.handles("CreateProvisioningTemplateVersion")
async def create_provisioning_template_version(context: Context, parameters: Parameters) -> Output:
    held = existing(context, PROVISIONING_TEMPLATE, parameters["templateName"])
    body = _checked(context, parameters, TemplateType(held.register(TYPE)))
    wanted = parameters.get("setAsDefault", False)
    item, version = await versioned.add(
        context, held, PROVISIONING_TEMPLATE_VERSION, body, is_default=wanted
    )
    # Where regions chose at once, another one may be what devices get.
    is_default = version == _default(item)
    return {
        **_named(context, item),
        "versionId": version.number,
        "isDefaultVersion": is_default,
    }


@OPERATIONS.handles("DeleteProvisioningTemplateVersion")
async def delete_provisioning_template_version(context: Context, parameters: Parameters) -> Output:
    name, number = parameters["templateName"], str(parameters["versionId"])
    wanted = versioned.numbered(existing(context, PROVISIONING_TEMPLATE, name), number)

    def remove(item: Item, writer: Writer) -> Item:
        version = versioned.numbered(present(context, item), number)
        if version == _default(item):
            message = "Cannot delete the default version of a template"
            raise ServiceError("DeleteConflictException", message)
        return policies.remove_version(item, writer, version.key)

    await context.write(PROVISIONING_TEMPLATE, name, remove)
    await versioned.end(context, PROVISIONING_TEMPLATE_VERSION, wanted.key)
    return {}


def _checked(context: Context, parameters: Parameters, kind: TemplateType) -> str:
    """The document, if every device that gives its parameters can be provisioned by it."""
    body: str = parameters["templateBody"]
    certificate = read_template(context, body).certificate
    is_fleet = kind is TemplateType.FLEET_PROVISIONING
    if is_fleet and certificate is not None and certificate.source is not Source.ID:
        message = f"A template for fleet provisioning names its certificate by {Source.ID} only"
        raise refuse(context, message)
    return body


def read_template(context: Context, body: str) -> Template:
    """A template in a request; raises ServiceError for what is none."""
    try:
        return provisioning.read(body)
    except InputError as error:
        raise refuse(context, f"templateBody: {error}") from None


# Reading


def _default(item: Item) -> Version:
    version = provisioning_templates.default_version(item)
    assert version is not None, "a template that is there has a default version"
    return version


@OPERATIONS.handles("DescribeProvisioningTemplate")
def describe_provisioning_template(context: Context, parameters: Parameters) -> Output:
    item = existing(context, PROVISIONING_TEMPLATE, parameters["templateName"])
    version = _default(item)
    return {
        **_shown(context, item),
        ROLE: item.register(ROLE),
        HOOK: item.register(HOOK),
        "defaultVersionId": version.number,
        "templateBody": versioned.document(context, PROVISIONING_TEMPLATE_VERSION, version),
    }


@OPERATIONS.handles("DescribeProvisioningTemplateVersion")
def describe_provisioning_template_version(context: Context, parameters: Parameters) -> Output:
    item = existing(context, PROVISIONING_TEMPLATE, parameters["templateName"])
    version = versioned.numbered(item, str(parameters["versionId"]))
    body = versioned.document(context, PROVISIONING_TEMPLATE_VERSION, version)
    return {**_shown_version(item, version), "templateBody": body}


@OPERATIONS.handles("ListProvisioningTemplates")
def list_provisioning_templates(context: Context, parameters: Parameters) -> Output:
    def entries(after: str | None) -> Iterator[Entry]:
        for name in context.listed(PROVISIONING_TEMPLATE, after=after):
            yield Entry(name, _shown(context, context.get(PROVISIONING_TEMPLATE, name)))

    return paging.page(context.call, entries)


@OPERATIONS.handles("ListProvisioningTemplateVersions")
def list_provisioning_template_versions(context: Context, parameters: Parameters) -> Output:
    item = existing(context, PROVISIONING_TEMPLATE, parameters["templateName"])

    def entries(after: str | None) -> Iterator[Entry]:
        for version in policies.versions(item):
            if after is None or version.number > int(after):
                yield Entry(str(version.number), _shown_version(item, version))

    return paging.page(context.call, entries)


def _named(context: Context, item: Item) -> dict[str, Any]:
    return {"templateArn": arn(context, item), "templateName": item.key}


def _shown(context: Context, item: Item) -> dict[str, Any]:
    return {
        **_named(context, item),
        DESCRIPTION: item.register(DESCRIPTION),
        ENABLED: item.register(ENABLED),
        TYPE: item.register(TYPE),
        **dates(item),
    }


def _shown_version(item: Item, version: Version) -> dict[str, Any]:
    return {
        "versionId": version.number,
        "creationDate": moment(version.created_ms),
        "isDefaultVersion": version == _default(item),
    }
