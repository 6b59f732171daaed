"""Domain configurations: create, describe, update, delete, list.

They are stored, and gateways go by their own configuration, whatever is asked for here. There is no
ACM, so no server certificate is ever valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from heapq import merge
from typing import Any

from isthmus.aws import paging, tagging
from isthmus.aws.context import Context
from isthmus.aws.handlers.endpoints import DATA_TYPES
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import arn, existing, moment, present, refuse, vacant
from isthmus.aws.service_error import ServiceError
from isthmus.core import domain_configurations, registry
from isthmus.core.domain_configurations import (
    DISABLED_BEFORE_DELETION_MS,
    DOMAIN_CONFIGURATION,
    DOMAIN_CONFIGURATIONS_MAX,
)
from isthmus.core.item import Item
from isthmus.core.registry import Writer

_NAME, _DOMAIN_NAME, _SERVICE = "domainConfigurationName", "domainName", "serviceType"
_CERTIFICATES, _PROOF = "serverCertificateArns", "validationCertificateArn"
_AUTHORIZER, _TLS = "authorizerConfig", "tlsConfig"
_AUTHENTICATION, _PROTOCOL = "authenticationType", "applicationProtocol"
#: What an update may change.
_SETTINGS = (
    _AUTHORIZER,
    _TLS,
    "serverCertificateConfig",
    _AUTHENTICATION,
    _PROTOCOL,
    "clientCertificateConfig",
)
#: The only service for which AWS makes any.
DATA = "DATA"
#: AWS's, its default first.
SECURITY_POLICIES = (
    "IoTSecurityPolicy_TLS13_1_2_2022_10",
    "IoTSecurityPolicy_TLS13_1_3_2022_10",
    "IoTSecurityPolicy_TLS12_1_2_2022_10",
    "IoTSecurityPolicy_TLS12_1_0_2016_01",
    "IoTSecurityPolicy_TLS12_1_0_2015_01",
)
#: Where nothing else is asked for: told by port and ALPN.
_BY_PORT = "DEFAULT"
NO_ACM = "There is no ACM here: gateways show the certificate of their own configuration"
_LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})+")


@OPERATIONS.handles("CreateDomainConfiguration")
async def create_domain_configuration(context: Context, parameters: Parameters) -> Output:
    domain = _domain(context, parameters)
    settings = _settings(context, parameters)
    tags = tagging.given(context, parameters.get("tags", []))

    def create(item: Item, writer: Writer) -> Item:
        vacant(context, item)
        if context.items.catalogue.count(DOMAIN_CONFIGURATION) >= DOMAIN_CONFIGURATIONS_MAX:
            message = f"There are {DOMAIN_CONFIGURATIONS_MAX} domain configurations already"
            raise ServiceError("LimitExceededException", message)
        return domain_configurations.create(item, writer, domain, settings, tags)

    async with context.turn(DOMAIN_CONFIGURATION):
        item = await context.write(DOMAIN_CONFIGURATION, parameters[_NAME], create)
    return _shown(context, item)


@OPERATIONS.handles("UpdateDomainConfiguration")
async def update_domain_configuration(context: Context, parameters: Parameters) -> Output:
    """What is not given stays."""
    if parameters[_NAME] in DATA_TYPES:
        raise refuse(context, "Domain configurations for default endpoints can't be updated")
    settings = _settings(context, parameters)
    if parameters.get("removeAuthorizerConfig", False):
        if _AUTHORIZER in settings:
            raise refuse(context, f"removeAuthorizerConfig cannot stand beside {_AUTHORIZER}")
        settings[_AUTHORIZER] = None
    status = parameters.get("domainConfigurationStatus")
    enabled = None if status is None else status == "ENABLED"

    def update(item: Item, writer: Writer) -> Item:
        return domain_configurations.update(
            present(context, item), writer, settings, enabled=enabled
        )

    return _shown(context, await context.write(DOMAIN_CONFIGURATION, parameters[_NAME], update))


@OPERATIONS.handles("DeleteDomainConfiguration")
async def delete_domain_configuration(context: Context, parameters: Parameters) -> Output:
    def delete(item: Item, writer: Writer) -> Item:
        if domain_configurations.is_enabled(present(context, item)):
            raise refuse(context, "A domain configuration must be disabled before its deletion")
        disabled_ms = domain_configurations.disabled_ms(item, context.now_ms)
        if _type(item) == "AWS_MANAGED" and disabled_ms < DISABLED_BEFORE_DELETION_MS:
            message = "An AWS-managed domain must be disabled for 7 days before its deletion"
            raise refuse(context, message)
        return registry.delete(item, writer)

    await context.write(DOMAIN_CONFIGURATION, parameters[_NAME], delete)
    return {}


@OPERATIONS.handles("DescribeDomainConfiguration")
def describe_domain_configuration(context: Context, parameters: Parameters) -> Output:
    name = parameters[_NAME]
    if name in _built_in(context):
        return _described_built_in(context, name)
    item = existing(context, DOMAIN_CONFIGURATION, name)
    domain = domain_configurations.domain(item)
    certificates = [
        {
            "serverCertificateArn": each,
            "serverCertificateStatus": "INVALID",
            "serverCertificateStatusDetail": NO_ACM,
        }
        for each in domain.get(_CERTIFICATES, ())
    ]
    enabled = domain_configurations.is_enabled(item)
    settings = {name: item.register(name) for name in _SETTINGS}
    return {
        **_shown(context, item),
        _DOMAIN_NAME: domain.get(_DOMAIN_NAME, context.naming.device_host or None),
        "serverCertificates": certificates,
        "domainConfigurationStatus": "ENABLED" if enabled else "DISABLED",
        _SERVICE: domain.get(_SERVICE),
        "domainType": _type(item),
        "lastStatusChangeDate": moment(domain_configurations.switched_ms(item)),
        **_DEFAULTS,
        **{name: value for name, value in settings.items() if value is not None},
    }


@OPERATIONS.handles("ListDomainConfigurations")
def list_domain_configurations(context: Context, parameters: Parameters) -> Output:
    """By name, those that are always there among them."""
    service = parameters.get(_SERVICE)

    def entries(after: str | None) -> Iterator[Entry]:
        built_in = [each for each in _built_in(context) if after is None or each > after]
        for name in merge(built_in, context.listed(DOMAIN_CONFIGURATION, after=after)):
            found = _entry(context, name)
            if service in (None, found[_SERVICE]):
                yield Entry(name, found)

    return paging.page(context.call, entries)


def _domain(context: Context, parameters: Parameters) -> dict[str, Any]:
    """What a creation asks for that stays; raises ServiceError where it does not fit together."""
    service = parameters.get(_SERVICE, DATA)
    if service != DATA:
        raise refuse(context, f"There are domain configurations for {DATA} only")
    names = (_DOMAIN_NAME, _CERTIFICATES, _PROOF)
    domain = {name: parameters[name] for name in names if parameters.get(name)}
    if _DOMAIN_NAME in domain and _CERTIFICATES not in domain:
        raise refuse(context, "Cannot provide a custom domain name for an AWS Managed Domain")
    if _CERTIFICATES in domain and not _HOST_NAME.fullmatch(domain.get(_DOMAIN_NAME, "")):
        raise refuse(context, "Must provide a valid domain name to configure.")
    return {**domain, _SERVICE: service}


def _settings(context: Context, parameters: Parameters) -> dict[str, Any]:
    """The settings that a request gives; raises ServiceError for what AWS does not know."""
    policy = parameters.get(_TLS, {}).get("securityPolicy")
    if policy is not None and policy not in SECURITY_POLICIES:
        raise refuse(context, f"There is no security policy {policy!r}")
    return {name: parameters[name] for name in _SETTINGS if name in parameters}


#: What holds where a setting is not given.
_DEFAULTS: dict[str, Any] = {
    _TLS: {"securityPolicy": SECURITY_POLICIES[0]},
    _AUTHENTICATION: _BY_PORT,
    _PROTOCOL: _BY_PORT,
}


def _type(item: Item) -> str:
    has_name = _DOMAIN_NAME in domain_configurations.domain(item)
    return "CUSTOMER_MANAGED" if has_name else "AWS_MANAGED"


def _shown(context: Context, item: Item) -> dict[str, Any]:
    return {_NAME: item.key, "domainConfigurationArn": arn(context, item)}


def _entry(context: Context, name: str) -> dict[str, Any]:
    if name in DATA_TYPES:
        return {**_named_built_in(context, name), _SERVICE: DATA}
    item = context.get(DOMAIN_CONFIGURATION, name)
    return {**_shown(context, item), _SERVICE: domain_configurations.domain(item).get(_SERVICE)}


# Those that are always there


def _built_in(context: Context) -> tuple[str, ...]:
    """The endpoints that there are, sorted."""
    return DATA_TYPES if context.naming.device_host else ()


def _named_built_in(context: Context, name: str) -> dict[str, Any]:
    return {
        _NAME: name,
        "domainConfigurationArn": context.naming.arn("domainconfiguration", name),
    }


def _described_built_in(context: Context, name: str) -> dict[str, Any]:
    return {
        **_named_built_in(context, name),
        _DOMAIN_NAME: context.naming.device_host,
        "serverCertificates": [],
        "domainConfigurationStatus": "ENABLED",
        _SERVICE: DATA,
        "domainType": "ENDPOINT",
        **_DEFAULTS,
    }
