"""Claims for provisioning: certificates that last for minutes, for who sets up a device by hand.

Developer guide, "Provisioning by trusted user". A claim may be used for its template's topics of
fleet provisioning and for nothing else, as its policy says; it is ended by ``aws.expiring``, and
with it every connection that has it.
"""

from __future__ import annotations

import json

from isthmus.aws import registering, versioned
from isthmus.aws.context import Context
from isthmus.aws.handlers import policy_attachments, register_thing
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.resources import arn, called, existing, moment, refuse
from isthmus.core import policies, provisioning_plan
from isthmus.core.certificates import Expiry, Mode
from isthmus.core.provisioning_templates import PROVISIONING_TEMPLATE, TYPE, TemplateType
from isthmus.core.registry import POLICY_VERSION, CertificateStatus

#: AWS's five minutes.
LASTS_MS = 300_000


@OPERATIONS.handles("CreateProvisioningClaim")
async def create_provisioning_claim(context: Context, parameters: Parameters) -> Output:
    """The private key is in this answer and nowhere else."""
    name = parameters["templateName"]
    template = existing(context, PROVISIONING_TEMPLATE, name)
    if template.register(TYPE) != TemplateType.FLEET_PROVISIONING:
        raise refuse(context, f"The template {name} is not for fleet provisioning")
    authority = await registering.authority(context)
    keys = await context.x509.new_keys()
    ends_ms = context.now_ms + LASTS_MS
    now, ends = moment(context.now_ms), moment(ends_ms)
    certificate = context.x509.issue(authority, keys.public, now, ends)
    plan = provisioning_plan.policy_of("claim", _document(context, name))
    policy = await register_thing.write_policy(context, plan)
    defaults = (each for each in policies.versions(policy) if each.is_default)
    if {versioned.document(context, POLICY_VERSION, each) for each in defaults} != {plan.document}:
        # All later claims would be given what somebody has made of a policy that he did not know.
        hint = "make its version 1 the default again, or delete it"
        raise refuse(context, f"{called(policy)} is that of claims, and was changed: {hint}")
    # Before its policy is attached it may do nothing.
    active, expiry = CertificateStatus.ACTIVE, Expiry(ends_ms, is_claim=True)
    item = await registering.register(context, certificate, active, Mode.DEFAULT, expiry=expiry)
    attached = {"policyName": policy.key, "target": arn(context, item)}
    await policy_attachments.attach_policy(context, attached)
    return {
        "certificateId": certificate.id,
        "certificatePem": certificate.pem,
        "keyPair": {"PublicKey": keys.public, "PrivateKey": keys.private},
        "expiration": ends,
    }


def _document(context: Context, template: str) -> str:
    topics = (
        "$aws/certificates/create/*",
        "$aws/certificates/create-from-csr/*",
        f"$aws/provisioning-templates/{template}/provision/*",
    )

    def allowed(actions: list[str], kind: str, names: tuple[str, ...]) -> dict[str, object]:
        resources = [context.naming.arn(kind, each) for each in names]
        return {"Effect": "Allow", "Action": actions, "Resource": resources}

    statements = [
        allowed(["iot:Connect"], "client", ("*",)),
        allowed(["iot:Publish", "iot:Receive"], "topic", topics),
        allowed(["iot:Subscribe"], "topicfilter", topics),
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
