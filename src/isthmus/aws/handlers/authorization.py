"""What a principal may do, told without its doing it.

Decided by what the gateways decide by, so that the answer is what a device would meet, once its
certificate is active.
"""

from __future__ import annotations

from typing import Any

from isthmus.aws.context import Context
from isthmus.aws.handlers.policies import shown
from isthmus.aws.handlers.policy_attachments import principal
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.resources import existing, refuse
from isthmus.core import policy, policy_context
from isthmus.core.item import Item
from isthmus.core.permissions import Permissions
from isthmus.core.policy import Attached, Authorizer
from isthmus.core.registry import POLICY, THING
from isthmus.errors import InputError

_ACTIONS = {
    "PUBLISH": "iot:Publish",
    "SUBSCRIBE": "iot:Subscribe",
    "RECEIVE": "iot:Receive",
    "CONNECT": "iot:Connect",
}


@OPERATIONS.handles("GetEffectivePolicies")
def get_effective_policies(context: Context, parameters: Parameters) -> Output:
    """Of a policy with several default versions each is in the answer, as each of them counts."""
    holder, thing = _principal(context, parameters), parameters.get("thingName")
    if holder is None and thing is None:
        raise refuse(context, "It needs a principal or a thingName")
    if thing is not None:
        existing(context, THING, thing)
    found = context.items.view.policies(holder.key if holder else "", thing)
    documents = {(each.name, document) for each in found for document in each.documents}
    effective = [
        {**shown(context, context.get(POLICY, name)), "policyDocument": document}
        for name, document in sorted(documents)
    ]
    return {"effectivePolicies": effective}


@OPERATIONS.handles("TestAuthorization")
def test_authorization(context: Context, parameters: Parameters) -> Output:
    holder, client_id = _principal(context, parameters), parameters.get("clientId")
    naming = context.naming
    permissions = Permissions(
        naming.account_id,
        naming.regions,
        context.items.view,
        names_of=context.x509.names,
    )
    session = permissions.context(holder.key if holder else "", client_id, None)
    skipped = parameters.get("policyNamesToSkip", [])
    attached = [
        each
        for each in permissions.attached(session.certificate_id, session.thing_name)
        if each.name not in skipped
    ]
    for name in parameters.get("policyNamesToAdd", []):
        attached.append(permissions.named(existing(context, POLICY, name).key))
    results = [_result(context, info, attached, session) for info in parameters["authInfos"]]
    return {"authResults": results}


def _principal(context: Context, parameters: Parameters) -> Item | None:
    if "cognitoIdentityPoolId" in parameters:
        raise refuse(context, "There are no identities of Cognito here")
    text = parameters.get("principal")
    if text is None:
        return None
    named = principal(context, text)
    return existing(context, named.kind, named.key)


def _result(
    context: Context,
    info: dict[str, Any],
    attached: list[Attached],
    session: policy_context.Context,
) -> dict[str, Any]:
    """What is answered for an action on resources: allowed on all of them, or not."""
    if "actionType" not in info:
        raise refuse(context, "authInfos need an actionType")
    action = _ACTIONS[info["actionType"]]
    suffixes = [_suffix(context, each) for each in info["resources"]]
    whole = Authorizer(attached, session)
    says: dict[str, set[str]] = {"allow": set(), "deny": set(), "nothing": set()}
    for each in attached:
        alone = Authorizer([each], session)
        for suffix in suffixes:
            is_denied = alone.denies(action, suffix)
            is_allowed = alone.allows(action, suffix).allowed
            says["deny" if is_denied else "allow" if is_allowed else "nothing"].add(each.name)
    if any(whole.denies(action, each) for each in suffixes):
        verdict = "EXPLICIT_DENY"
    elif not suffixes or not all(whole.allows(action, each).allowed for each in suffixes):
        verdict = "IMPLICIT_DENY"
    else:
        verdict = "ALLOWED"
    silent = says["nothing"] if verdict == "IMPLICIT_DENY" else set()
    return {
        "authInfo": info,
        "allowed": {"policies": _shown(context, says["allow"])},
        "denied": {
            "implicitDeny": {"policies": _shown(context, silent)},
            "explicitDeny": {"policies": _shown(context, says["deny"])},
        },
        "authDecision": verdict,
        "missingContextValues": policy.missing(attached, session, action),
    }


def _suffix(context: Context, resource: str) -> str:
    try:
        return "/".join(context.naming.read(resource))
    except InputError as error:
        raise refuse(context, f"resources: {error}") from None


def _shown(context: Context, names: set[str]) -> list[dict[str, Any]]:
    return [shown(context, context.get(POLICY, name)) for name in sorted(names)]
