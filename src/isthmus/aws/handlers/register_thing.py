"""RegisterThing: a template and a device's parameters, carried out.

What a device gets is written in an order that leaves nothing harmful behind, wherever it ends: the
certificate becomes active last, and until then nobody can connect with it. Whatever was written is
found as it should be when the same is asked again.

A thing says which certificate it was begun for, and for that one it is as if it were new: what was
cut off is completed, whatever the template says of things that are there. Where regions begin one
thing for two certificates at once, it was begun for both, and both get it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from isthmus.aws import group_tree, models, registering, validation
from isthmus.aws.context import Context
from isthmus.aws.handlers import (
    policies,
    policy_attachments,
    principals,
    thing_group_members,
    things,
)
from isthmus.aws.handlers.provisioning_templates import read_template
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.resources import arn, existing, present, refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core import certificates, provisioning_plan, registry
from isthmus.core.certificates import Mode
from isthmus.core.item import Item
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.provisioning import ATTRIBUTES, GROUPS, TYPE, Override, Source, Template
from isthmus.core.provisioning_plan import CertificatePlan, Plan, PolicyPlan, ThingPlan
from isthmus.core.registry import CERTIFICATE, POLICY, THING, CertificateStatus, Writer
from isthmus.core.thing_groups import THING_GROUP
from isthmus.core.things import begun_for
from isthmus.core.x509 import Certificate
from isthmus.errors import InputError

_CHANGES = (Override.REPLACE, Override.MERGE)


@OPERATIONS.handles("RegisterThing")
async def register_thing(context: Context, parameters: Parameters) -> Output:
    template = read_template(context, parameters["templateBody"])
    check_rights(context, template)
    return await register(context, template, parameters.get("parameters", {}))


def check_rights(context: Context, template: Template) -> None:
    """Raise ServiceError where the caller may not do himself what the template does for him."""
    for operation in sorted(template.operations):
        if not context.may(operation):
            message = (
                f"User: {context.caller} is not authorized to perform: iot:{operation}, "
                "which this template takes"
            )
            raise ServiceError("AccessDeniedException", message)


async def register(context: Context, template: Template, parameters: dict[str, str]) -> Output:
    """Give a device what a template says; raises ServiceError where that cannot be."""
    try:
        plan = provisioning_plan.render(template, parameters)
    except InputError as error:
        raise refuse(context, str(error)) from None
    declared = {shape.name for shape in context.call.operation.error_shapes}
    try:
        return await provision(context, plan)
    except ServiceError as error:
        if error.code in declared:
            raise
        raise ServiceError("ResourceRegistrationFailureException", error.message) from None


class _Certificate(NamedTuple):
    """The certificate that a device is to have."""

    plan: CertificatePlan
    key: str
    #: What is to be registered, with the CA that has signed it; None where it is registered.
    new: Certificate | None
    mode: Mode = Mode.DEFAULT
    ca: str | None = None


async def provision(context: Context, plan: Plan) -> Output:
    """Carry out a plan; what is answered names each resource by its name in the template."""
    certificate = await _certificate(context, plan.certificate)
    for policy in plan.policies:
        if policy.document is None:
            existing(context, POLICY, policy.name)
    arns: dict[str, str] = {}
    if plan.thing is not None:
        thing = await _write_thing(context, plan.thing, certificate.key if certificate else "")
        arns[plan.thing.logical_id] = arn(context, thing)
    for policy in plan.policies:
        arns[policy.logical_id] = arn(context, await write_policy(context, policy))
    if certificate is None:
        return {"resourceArns": arns}
    item = await _write_certificate(context, certificate)
    target = arns[certificate.plan.logical_id] = arn(context, item)
    if plan.thing is not None:
        attached = {"thingName": plan.thing.name, "principal": target}
        await principals.attach_thing_principal(context, attached)
    for policy in plan.policies:
        attached = {"policyName": policy.name, "target": target}
        await policy_attachments.attach_policy(context, attached)
    settled = partial(_settled, context, certificate.plan, certificate.new is not None)
    item = await context.write(CERTIFICATE, certificate.key, settled)
    return {"certificatePem": item.register("pem"), "resourceArns": arns}


# Things


async def _write_thing(context: Context, plan: ThingPlan, certificate: str) -> Item:
    """Make the thing of a plan, or change it as may be; ``certificate`` is an id, or empty."""
    parameters = {
        "thingName": plan.name,
        "attributePayload": {"attributes": plan.attributes or {}},
        "thingTypeName": plan.type_name,
        "billingGroupName": plan.billing_group,
    }
    given = {name: value for name, value in parameters.items() if value is not None}
    validation.check(models.service(models.IOT).operations["CreateThing"], given)
    for name in plan.groups or ():
        existing(context, THING_GROUP, name)
    was_there = False

    def written(item: Item, writer: Writer) -> Item:
        nonlocal was_there
        was_there = bool(item.lives) and certificate not in begun_for(item)
        if was_there and Override.FAIL in plan.overrides.values():
            message = f"Thing {item.key} exists, and the template's OverrideSettings say FAIL"
            raise ServiceError("ConflictingResourceUpdateException", message)
        if item.lives:
            return _overridden(context, plan, item, writer)
        return things.created(context, given, item, writer, certificate)

    item = await context.write(THING, plan.name, written)
    override = plan.overrides.get(GROUPS)
    if plan.groups is not None and not (was_there and override is Override.DO_NOTHING):
        await context.write(MEMBERSHIPS, plan.name, partial(_joined, context, plan, plan.groups))
    return item


def _overridden(context: Context, plan: ThingPlan, item: Item, writer: Writer) -> Item:
    """A thing that is there: it stays as it is where nothing is said."""
    parameters: Parameters = {}
    override = plan.overrides.get(ATTRIBUTES)
    if override in _CHANGES and plan.attributes is not None:
        is_merged = override is Override.MERGE
        parameters["attributePayload"] = {"attributes": plan.attributes, "merge": is_merged}
    if plan.overrides.get(TYPE) is Override.REPLACE and plan.type_name is not None:
        parameters["thingTypeName"] = plan.type_name
    return things.updated(context, parameters, item, writer)


def _joined(
    context: Context, plan: ThingPlan, wanted: Sequence[str], item: Item, writer: Writer
) -> Item:
    """Have a thing in its groups; where nothing is said of that, also one that was there.

    Else a registration that was cut off before this would never be complete.
    """
    gone: list[str] = []
    if plan.overrides.get(GROUPS) is Override.REPLACE:
        held = group_tree.groups_of(context, existing(context, THING, plan.name))
        gone = [each.key for each in held if each.key not in wanted]
    return thing_group_members.changed(context, plan.name, wanted, gone, item, writer)


# Policies


async def write_policy(context: Context, plan: PolicyPlan) -> Item:
    """The policy of a plan, which is there already, or is created."""
    if plan.document is not None and not context.get(POLICY, plan.name).lives:
        given = {"policyName": plan.name, "policyDocument": plan.document}
        try:
            await policies.create_policy(context, given)
        except ServiceError as error:
            # Another device with the same document was first.
            if error.code != "ResourceAlreadyExistsException":
                raise
    return existing(context, POLICY, plan.name)


# Certificates


async def _certificate(context: Context, plan: CertificatePlan | None) -> _Certificate | None:
    """Read or make the certificate; nothing is registered yet."""
    if plan is None:
        return None
    if plan.source is Source.ID:
        return _Certificate(plan, existing(context, CERTIFICATE, plan.value).key, None)
    if plan.source is Source.REQUEST:
        new = await registering.issued_for(context, plan.value)
        return _Certificate(plan, new.id, new)
    given = registering.read_certificate(context, plan.value)
    if context.get(CERTIFICATE, given.id).lives:
        return _Certificate(plan, given.id, None)
    ca = registering.verified_ca(context, given, plan.ca_pem)
    return _Certificate(plan, given.id, given, certificates.mode(ca), ca.key)


async def _write_certificate(context: Context, certificate: _Certificate) -> Item:
    """Register it, to be activated when all else is there."""
    if certificate.new is None:
        return existing(context, CERTIFICATE, certificate.key)
    pending = CertificateStatus.PENDING_ACTIVATION
    return await registering.register(
        context, certificate.new, pending, certificate.mode, certificate.ca
    )


def _settled(
    context: Context, plan: CertificatePlan, is_new: bool, item: Item, writer: Writer
) -> Item:
    """Have its status be as the plan says, as far as it may change one that is in use."""
    held = registry.certificate_status(present(context, item))
    if held is plan.status:
        return item
    if held is CertificateStatus.REVOKED:
        message = f"Certificate {item.key} is revoked, which is for good"
        raise ServiceError("CertificateStateException", message)
    # One that is named by its id is there already, whatever the template is for.
    unsaid = Override.REPLACE if plan.source is Source.ID else Override.DO_NOTHING
    override = unsaid if plan.override is None else plan.override
    is_in_use = held is not CertificateStatus.PENDING_ACTIVATION
    if not is_new and override is Override.DO_NOTHING and (is_in_use or plan.override):
        return item
    if is_in_use and override is Override.FAIL:
        message = f"Certificate {item.key} is {held}, and the template says {plan.status}"
        raise ServiceError("ConflictingResourceUpdateException", message)
    if plan.status is CertificateStatus.ACTIVE:
        return registry.activate(item, writer)
    return registry.deactivate(item, writer)
