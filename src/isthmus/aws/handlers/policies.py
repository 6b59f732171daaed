"""Policies and their versions.

Where regions chose defaults at once, each of them is shown as a default version until one is
chosen, and the policy itself shows the newest.

A document is written before the policy that refers to it, and ended after it: a crash in between
leaves one that nothing refers to, and no policy without one.
"""

from __future__ import annotations

from typing import Any

from isthmus.aws import attached_policies, tagging, versioned
from isthmus.aws.by_creation import page
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.resources import arn, dates, existing, moment, present, vacant
from isthmus.aws.service_error import ServiceError
from isthmus.core import lives, policies, policy_document, registry
from isthmus.core.item import Item
from isthmus.core.policies import Version
from isthmus.core.registry import POLICY, POLICY_VERSION, Writer
from isthmus.errors import InputError

# Writing


@OPERATIONS.handles("CreatePolicy")
async def create_policy(context: Context, parameters: Parameters) -> Output:
    name, document = parameters["policyName"], _parsed(parameters)
    key = policies.version_key(name, 1, document)
    tags = tagging.given(context, parameters.get("tags", []))
    vacant(context, context.get(POLICY, name))
    await versioned.keep(context, POLICY_VERSION, key, document)

    def create(item: Item, writer: Writer) -> Item:
        return policies.put(vacant(context, item), writer, key, tags)

    item = await context.write(POLICY, name, create)
    return shown(context, item) | {"policyDocument": document, "policyVersionId": "1"}


@OPERATIONS.handles("CreatePolicyVersion")
async def create_policy_version(context: Context, parameters: Parameters) -> Output:
    name, document = parameters["policyName"], _parsed(parameters)
    held = existing(context, POLICY, name)
    is_default = parameters.get("setAsDefault", False)
    item, version = await versioned.add(
        context, held, POLICY_VERSION, document, is_default=is_default
    )
    return {
        "policyArn": arn(context, item),
        "policyDocument": document,
        "policyVersionId": str(version.number),
        "isDefaultVersion": version.is_default,
    }


@OPERATIONS.handles("SetDefaultPolicyVersion")
async def set_default_policy_version(context: Context, parameters: Parameters) -> Output:
    name = parameters["policyName"]
    wanted = _version(existing(context, POLICY, name), parameters)
    document = _document(context, wanted)

    def choose(item: Item, writer: Writer) -> Item:
        key = _version(present(context, item), parameters).key
        if policies.default_versions(item) == [key]:
            return item
        return policies.put(item, writer, key)

    await versioned.keep(context, POLICY_VERSION, wanted.key, document)
    await context.write(POLICY, name, choose)
    return {}


@OPERATIONS.handles("DeletePolicyVersion")
async def delete_policy_version(context: Context, parameters: Parameters) -> Output:
    name = parameters["policyName"]
    wanted = _version(existing(context, POLICY, name), parameters)

    def remove(item: Item, writer: Writer) -> Item:
        version = _version(present(context, item), parameters)
        if version.is_default:
            message = "Cannot delete the default version of a policy"
            raise ServiceError("DeleteConflictException", message)
        return policies.remove_version(item, writer, version.key)

    await context.write(POLICY, name, remove)
    await versioned.end(context, POLICY_VERSION, wanted.key)
    return {}


@OPERATIONS.handles("DeletePolicy")
async def delete_policy(context: Context, parameters: Parameters) -> Output:
    name = parameters["policyName"]
    held = policies.versions(existing(context, POLICY, name))

    def delete(item: Item, writer: Writer) -> Item:
        if not all(each.is_default for each in policies.versions(present(context, item))):
            message = "Cannot delete the policy because it has one or more policy versions attached"
            raise ServiceError("DeleteConflictException", f"{message} to it (name={name})")
        if any(attached_policies.targets(context, item)):
            message = f"The policy cannot be deleted as the policy is attached (name={name})"
            raise ServiceError("DeleteConflictException", message)
        return registry.delete(item, writer)

    await context.write(POLICY, name, delete)
    for version in held:
        await versioned.end(context, POLICY_VERSION, version.key)
    return {}


def _parsed(parameters: Parameters) -> str:
    """The document, if it is one that is evaluated to the letter."""
    document: str = parameters["policyDocument"]
    try:
        policy_document.parse(document)
    except InputError as error:
        raise ServiceError("MalformedPolicyException", str(error)) from None
    return document


# Reading


def _version(item: Item, parameters: Parameters) -> Version:
    return versioned.numbered(item, parameters["policyVersionId"])


def _document(context: Context, version: Version) -> str:
    return versioned.document(context, POLICY_VERSION, version)


@OPERATIONS.handles("GetPolicy")
def get_policy(context: Context, parameters: Parameters) -> Output:
    item = existing(context, POLICY, parameters["policyName"])
    newest = [each for each in policies.versions(item) if each.is_default][-1]
    return {
        "policyName": item.key,
        "policyArn": arn(context, item),
        "policyDocument": _document(context, newest),
        "defaultVersionId": str(newest.number),
        "generationId": lives.resource_id(item),
        **dates(item),
    }


@OPERATIONS.handles("GetPolicyVersion")
def get_policy_version(context: Context, parameters: Parameters) -> Output:
    item = existing(context, POLICY, parameters["policyName"])
    version = _version(item, parameters)
    return {
        "policyArn": arn(context, item),
        "policyName": item.key,
        "policyDocument": _document(context, version),
        "policyVersionId": str(version.number),
        "isDefaultVersion": version.is_default,
        "creationDate": moment(version.created_ms),
        "lastModifiedDate": moment(version.created_ms),
        "generationId": lives.resource_id(item),
    }


@OPERATIONS.handles("ListPolicyVersions")
def list_policy_versions(context: Context, parameters: Parameters) -> Output:
    item = existing(context, POLICY, parameters["policyName"])
    listed = [
        {
            "versionId": str(each.number),
            "isDefaultVersion": each.is_default,
            "createDate": moment(each.created_ms),
        }
        for each in reversed(policies.versions(item))
    ]
    return {"policyVersions": listed}


@OPERATIONS.handles("ListPolicies")
def list_policies(context: Context, parameters: Parameters) -> Output:
    """In the order in which they were created, the newest first unless asked otherwise."""
    return page(context, (POLICY,), lambda key: shown(context, context.get(POLICY, key)))


def shown(context: Context, item: Item) -> dict[str, Any]:
    """A policy as lists show it."""
    return {"policyName": item.key, "policyArn": arn(context, item)}
