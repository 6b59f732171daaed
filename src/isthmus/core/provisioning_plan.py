"""What a device gets by a provisioning template: the device's parameters in, a plan out.

A plan says what is to be there, and how far it may change what there is already; whoever carries it
out looks at nothing else. So a call of the API, a line of a bulk registration, and a device that
comes with its certificate all get the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.core.lattice import canonical
from isthmus.core.provisioning import (
    STATUS,
    CertificateTemplate,
    Override,
    PolicyTemplate,
    Source,
    Template,
    ThingTemplate,
    check_policy,
    status_of,
)
from isthmus.core.registry import CERTIFICATE, POLICY, THING, CertificateStatus
from isthmus.core.template_values import PolicyScope, Scope, Text
from isthmus.errors import InputError


@dataclass(frozen=True, slots=True)
class ThingPlan:
    """What is None is not spoken of."""

    logical_id: str
    name: str
    attributes: Mapping[str, str] | None
    type_name: str | None
    groups: tuple[str, ...] | None
    billing_group: str | None
    #: By property, of a thing that is there; without one, the property stays as it is.
    overrides: Mapping[str, Override]


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    logical_id: str
    source: Source
    #: A signing request, an id in lower case, or a certificate.
    value: str
    #: Of the CA that has signed the certificate, where that is given.
    ca_pem: str | None
    status: CertificateStatus
    #: Of a certificate that is there and in use; None where nothing is said.
    override: Override | None


@dataclass(frozen=True, slots=True)
class PolicyPlan:
    logical_id: str
    name: str
    #: None of a policy that is there already.
    document: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a device gets."""

    thing: ThingPlan | None
    certificate: CertificatePlan | None
    policies: tuple[PolicyPlan, ...]
    #: What the device is told, as JSON has it.
    configuration: Mapping[str, Any]


def render(template: Template, parameters: Mapping[str, str]) -> Plan:
    """The plan for a device; raises InputError that names what is missing or wrong.

    Parameters that the template does not declare are nothing to it.
    """
    defaults = {name: value for name, value in template.parameters.items() if value is not None}
    given = {**defaults, **parameters}
    for name in template.parameters:
        if name not in given:
            raise InputError(f"Parameters.{name}: it has no default and is not given")
    scope = Scope(given, template.mappings)
    return Plan(
        None if template.thing is None else _thing_plan(template.thing, scope),
        None if template.certificate is None else _certificate_plan(template.certificate, scope),
        tuple(_policy_plan(each, scope, parameters) for each in template.policies),
        _rendered(template.configuration, scope),
    )


def attaching(certificate: str, thing: str, policy: str) -> Plan:
    """The plan for a certificate that is registered: activated, with a thing and a policy.

    Each may be empty, for none; the thing is made where it is not there.
    """
    return Plan(
        ThingPlan(THING, thing, None, None, None, None, {}) if thing else None,
        CertificatePlan(CERTIFICATE, Source.ID, certificate, None, CertificateStatus.ACTIVE, None),
        (PolicyPlan(POLICY, policy, None),) if policy else (),
        {},
    )


def _thing_plan(thing: ThingTemplate, scope: Scope) -> ThingPlan:
    attributes = None
    if thing.attributes is not None:
        attributes = {name: each.text(scope) for name, each in thing.attributes.items()}
    return ThingPlan(
        thing.logical_id,
        thing.name.text(scope),
        attributes,
        _text(thing.type_name, scope),
        None if thing.groups is None else tuple(dict.fromkeys(thing.groups.texts(scope))),
        _text(thing.billing_group, scope),
        thing.overrides,
    )


def _certificate_plan(certificate: CertificateTemplate, scope: Scope) -> CertificatePlan:
    value = certificate.value.text(scope)
    return CertificatePlan(
        certificate.logical_id,
        certificate.source,
        value.lower() if certificate.source is Source.ID else value,
        _text(certificate.ca_pem, scope),
        status_of(certificate.status.text(scope), certificate.path),
        certificate.overrides.get(STATUS),
    )


def _text(value: Text | None, scope: Scope) -> str | None:
    return None if value is None else value.text(scope)


def _policy_plan(policy: PolicyTemplate, scope: Scope, parameters: Mapping[str, str]) -> PolicyPlan:
    if policy.name is not None:
        return PolicyPlan(policy.logical_id, policy.name.text(scope), None)
    rendered = _rendered(policy.document, PolicyScope(scope, parameters))
    document = rendered if isinstance(rendered, str) else canonical(rendered).decode()
    check_policy(document, f"{policy.path}.PolicyDocument")
    return policy_of(policy.logical_id, document)


def policy_of(logical_id: str, document: str) -> PolicyPlan:
    """A policy without a name of its own.

    AWS names it by a hash too: the same document is the same policy for every device.
    """
    return PolicyPlan(logical_id, hashlib.sha256(document.encode()).hexdigest(), document)


def _rendered(value: Any, scope: Scope) -> Any:
    if isinstance(value, dict):
        return {name: _rendered(each, scope) for name, each in value.items()}
    if isinstance(value, list):
        return [_rendered(each, scope) for each in value]
    return value.text(scope) if isinstance(value, Text) else value
