"""Policies of certificates and of thing groups: attach, detach, and lists from both ends."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from heapq import merge
from itertools import groupby

from isthmus.aws import attached_policies, group_tree, paging
from isthmus.aws.context import Context
from isthmus.aws.handlers.policies import shown
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import arn, existing, refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core import registry
from isthmus.core.item import Item
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, POLICY, Writer
from isthmus.core.thing_groups import THING_GROUP
from isthmus.errors import InputError

#: By what an ARN calls it, what a policy can be attached to.
_TARGETS = {"cert": CERTIFICATE, "thinggroup": THING_GROUP}
#: AWS's limits.
POLICIES_MAX = {CERTIFICATE: 10, THING_GROUP: 2}


@OPERATIONS.handles("AttachPolicy")
async def attach_policy(context: Context, parameters: Parameters) -> Output:
    await _attach(context, parameters["policyName"], target(context, parameters["target"]))
    return {}


@OPERATIONS.handles("AttachPrincipalPolicy")
async def attach_principal_policy(context: Context, parameters: Parameters) -> Output:
    await _attach(context, parameters["policyName"], principal(context, parameters["principal"]))
    return {}


@OPERATIONS.handles("DetachPolicy")
async def detach_policy(context: Context, parameters: Parameters) -> Output:
    await _detach(context, parameters["policyName"], target(context, parameters["target"]))
    return {}


@OPERATIONS.handles("DetachPrincipalPolicy")
async def detach_principal_policy(context: Context, parameters: Parameters) -> Output:
    await _detach(context, parameters["policyName"], principal(context, parameters["principal"]))
    return {}


async def _attach(context: Context, name: str, end: Item) -> None:
    def attach(item: Item, writer: Writer) -> Item:
        policy = existing(context, POLICY, name)
        holder = existing(context, end.kind, end.key)
        held = registry.attaches(item)
        if held and all(each.holds_for(policy, holder) and not each.contested for each in held):
            return item
        others = [
            each for each in attached_policies.policies(context, holder) if each.key != policy.key
        ]
        if len(others) >= POLICIES_MAX[end.kind]:
            message = f"At most {POLICIES_MAX[end.kind]} policies can be attached to it"
            raise ServiceError("LimitExceededException", message)
        return registry.attach(item, writer, policy, holder)

    async with context.turn(ATTACHMENT, end.kind, end.key):
        await context.write(ATTACHMENT, attached_policies.key(name, end), attach)


async def _detach(context: Context, name: str, end: Item) -> None:
    """Where it is not attached, be it that one end is not there, nothing is to be done."""

    def detach(item: Item, writer: Writer) -> Item:
        return registry.detach(item, writer) if registry.attaches(item) else item

    await context.write(ATTACHMENT, attached_policies.key(name, end), detach)


def target(context: Context, text: str) -> Item:
    """What an ARN names that can have policies, be it there or not."""
    try:
        kind, name = context.naming.read(text)
    except InputError as error:
        hint = "policies are attached to certificates and thing groups here"
        raise refuse(context, f"{error}; {hint}") from None
    if kind not in _TARGETS:
        raise refuse(context, f"A {kind} cannot have policies: only a certificate or a thing group")
    return context.get(_TARGETS[kind], name)


def principal(context: Context, text: str) -> Item:
    """The certificate that an ARN names, be it there or not."""
    found = target(context, text)
    if found.kind != CERTIFICATE:
        raise refuse(context, f"{text[:200]!r} is not the ARN of a certificate")
    return found


# Lists


@OPERATIONS.handles("ListAttachedPolicies")
def list_attached_policies(context: Context, parameters: Parameters) -> Output:
    """Recursively, those of a group are also those of the groups that it is in."""
    named = target(context, parameters["target"])
    holders = [existing(context, named.kind, named.key)]
    if named.kind == THING_GROUP and parameters.get("recursive", False):
        holders += group_tree.above(context, holders[0])
    return paging.page(context.call, partial(_policies, context, holders))


@OPERATIONS.handles("ListPrincipalPolicies")
def list_principal_policies(context: Context, parameters: Parameters) -> Output:
    named = principal(context, parameters["principal"])
    holder = existing(context, named.kind, named.key)
    return paging.page(context.call, partial(_policies, context, [holder]))


def _policies(context: Context, holders: list[Item], after: str | None) -> Iterator[Entry]:
    names = (
        (each.key for each in attached_policies.policies(context, holder, after))
        for holder in holders
    )
    for name, _ in groupby(merge(*names)):
        yield Entry(name, shown(context, context.get(POLICY, name)))


@OPERATIONS.handles("ListTargetsForPolicy")
def list_targets_for_policy(context: Context, parameters: Parameters) -> Output:
    policy = existing(context, POLICY, parameters["policyName"])
    return paging.page(context.call, partial(_targets, context, policy, tuple(POLICIES_MAX)))


@OPERATIONS.handles("ListPolicyPrincipals")
def list_policy_principals(context: Context, parameters: Parameters) -> Output:
    """Certificates only: this is older than policies of groups."""
    policy = existing(context, POLICY, parameters["policyName"])
    return paging.page(context.call, partial(_targets, context, policy, (CERTIFICATE,)))


def _targets(
    context: Context, policy: Item, kinds: tuple[str, ...], after: str | None
) -> Iterator[Entry]:
    for each in attached_policies.targets(context, policy, after):
        if each.kind in kinds:
            yield Entry(attached_policies.order(each), arn(context, each))
