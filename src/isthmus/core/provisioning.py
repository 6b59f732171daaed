"""Documents of provisioning templates: text in, a template or a named mistake out.

A document is read whole before it is stored, and what would not be carried out is refused with its
path, so that no device finds out. ``core.provisioning_plan`` makes of it what a device gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from isthmus.core import json_text, policy_document
from isthmus.core.lattice import canonical
from isthmus.core.registry import CertificateStatus
from isthmus.core.template_values import Literal, Reader, Table, Text, Texts, is_function, show
from isthmus.errors import InputError

#: AWS's.
BODY_CHARACTERS_MAX = 10240
#: In data for devices: up to here every reader of JSON and CBOR means the same by an integer.
NUMBER_MAX = 2**53
#: As many as a certificate may have.
POLICIES_MAX = 10


class Override(StrEnum):
    """What becomes of something that is there already."""

    DO_NOTHING = "DO_NOTHING"
    REPLACE = "REPLACE"
    FAIL = "FAIL"
    MERGE = "MERGE"


class Source(StrEnum):
    """The property that says which certificate."""

    REQUEST = "CertificateSigningRequest"
    ID = "CertificateId"
    PEM = "CertificatePem"


ATTRIBUTES, TYPE, GROUPS, STATUS = "AttributePayload", "ThingTypeName", "ThingGroups", "Status"
_ONE_OF = frozenset({Override.DO_NOTHING, Override.REPLACE, Override.FAIL})
#: By property, what may be said of it.
_THING_OVERRIDES = {ATTRIBUTES: frozenset(Override), TYPE: _ONE_OF, GROUPS: frozenset(Override)}
_CERTIFICATE_OVERRIDES = {STATUS: _ONE_OF}
_STATUSES = (CertificateStatus.ACTIVE, CertificateStatus.INACTIVE)
#: AWS's documentation has both.
_ID_SPELLINGS = (Source.ID.value, "CertificateID")


# What a document says


@dataclass(frozen=True, slots=True)
class ThingTemplate:
    logical_id: str
    name: Text
    attributes: Mapping[str, Text] | None
    type_name: Text | None
    groups: Texts | None
    billing_group: Text | None
    overrides: Mapping[str, Override]


@dataclass(frozen=True, slots=True)
class CertificateTemplate:
    logical_id: str
    path: str
    source: Source
    value: Text
    ca_pem: Text | None
    status: Text
    overrides: Mapping[str, Override]


@dataclass(frozen=True, slots=True)
class PolicyTemplate:
    logical_id: str
    path: str
    name: Text | None
    #: A text, or data with expressions in it; of one of the two there is something.
    document: Any


@dataclass(frozen=True, slots=True)
class Template:
    """A document that was read."""

    #: The default of each parameter; None for one that must be given.
    parameters: Mapping[str, str | None]
    mappings: Table
    thing: ThingTemplate | None
    certificate: CertificateTemplate | None
    policies: tuple[PolicyTemplate, ...]
    configuration: Any

    @property
    def operations(self) -> frozenset[str]:
        """The operations of AWS that carrying it out may take, so whose rights it takes."""
        needed: set[str] = set()
        if (thing := self.thing) is not None:
            needed |= {"CreateThing"} | ({"AddThingToThingGroup"} if thing.groups else set())
            changes = {Override.REPLACE, Override.MERGE}
            if {thing.overrides.get(ATTRIBUTES), thing.overrides.get(TYPE)} & changes:
                needed.add("UpdateThing")
            if thing.overrides.get(GROUPS) is Override.REPLACE:
                needed.add("RemoveThingFromThingGroup")
        if (certificate := self.certificate) is not None:
            needed |= {"AttachThingPrincipal"} if thing is not None else set()
            needed |= _certificate_operations(certificate)
        if self.policies:
            needed.add("AttachPolicy")
        if any(each.document is not None for each in self.policies):
            needed.add("CreatePolicy")
        return frozenset(needed)


def _certificate_operations(certificate: CertificateTemplate) -> set[str]:
    override = certificate.overrides.get(STATUS)
    update = {"UpdateCertificate"}
    match certificate.source:
        case Source.REQUEST:
            return {"CreateCertificateFromCsr"}
        case Source.PEM:
            return {"RegisterCertificate"} | (update if override is Override.REPLACE else set())
        case Source.ID:
            return set() if override is Override.DO_NOTHING else update


# Reading


def read(body: str) -> Template:
    """Read a document; raises InputError that names the path of what is wrong."""
    if len(body) > BODY_CHARACTERS_MAX:
        raise InputError(f"the template has more than {BODY_CHARACTERS_MAX} characters")
    try:
        document = json_text.decode(body.encode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise InputError(f"the template: {error}") from None
    allowed = ("Parameters", "Mappings", "Resources", "DeviceConfiguration")
    root = _object(document, "the template", allowed, ("Resources",))
    parameters = _parameters(root.get("Parameters", {}))
    mappings = _mappings(root.get("Mappings", {}))
    reader = Reader(frozenset(parameters), mappings)
    things, certificates, policies = _resources(root["Resources"], reader)
    configuration = _any_object(root.get("DeviceConfiguration", {}), "DeviceConfiguration")
    read_configuration = _tree(configuration, "DeviceConfiguration", reader)
    return Template(
        parameters,
        mappings,
        things[0] if things else None,
        certificates[0] if certificates else None,
        tuple(policies),
        read_configuration,
    )


def _parameters(value: Any) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name, each in _any_object(value, "Parameters").items():
        path = f"Parameters.{name}"
        declared = _object(each, path, ("Type", "Default"), ("Type",))
        if declared["Type"] != "String":
            raise InputError(f"{path}.Type: {show(declared['Type'])} is not 'String'")
        default = declared.get("Default")
        if "Default" in declared and not isinstance(default, str):
            raise InputError(f"{path}.Default: {show(default)} is not a text")
        found[name] = default
    return found


def _mappings(value: Any) -> Table:
    tables = _any_object(value, "Mappings")
    for table, keys in tables.items():
        path = f"Mappings.{table}"
        for key, names in _any_object(keys, path).items():
            for name, each in _any_object(names, f"{path}.{key}").items():
                if not isinstance(each, str):
                    raise InputError(f"{path}.{key}.{name}: {show(each)} is not a text")
    return tables


def _resources(
    value: Any, reader: Reader
) -> tuple[list[ThingTemplate], list[CertificateTemplate], list[PolicyTemplate]]:
    things: list[ThingTemplate] = []
    certificates: list[CertificateTemplate] = []
    policies: list[PolicyTemplate] = []
    for name, each in _any_object(value, "Resources").items():
        path = f"Resources.{name}"
        allowed = ("Type", "Properties", "OverrideSettings")
        resource = _object(each, path, allowed, ("Type", "Properties"))
        match resource["Type"]:
            case "AWS::IoT::Thing":
                things.append(_thing(name, resource, path, reader))
            case "AWS::IoT::Certificate":
                certificates.append(_certificate(name, resource, path, reader))
            case "AWS::IoT::Policy":
                policies.append(_policy(name, resource, path, reader))
            case other:
                raise InputError(f"{path}.Type: {show(other)} is no type of a resource")
    if not things and not certificates:
        raise InputError("Resources: there is neither a thing nor a certificate")
    if len(things) > 1 or len(certificates) > 1:
        raise InputError("Resources: a device gets one thing and one certificate at most")
    if policies and not certificates:
        raise InputError("Resources: there is no certificate to attach a policy to")
    if len(policies) > POLICIES_MAX:
        raise InputError(f"Resources: there are more than {POLICIES_MAX} policies")
    return things, certificates, policies


def _thing(name: str, resource: Mapping[str, Any], path: str, reader: Reader) -> ThingTemplate:
    overrides = _overrides(resource, path, _THING_OVERRIDES)
    path = f"{path}.Properties"
    allowed = ("ThingName", ATTRIBUTES, TYPE, GROUPS, "BillingGroup")
    said = _object(resource["Properties"], path, allowed, ("ThingName",))
    attributes = None
    if ATTRIBUTES in said:
        attributes = {
            each: reader.text(value, f"{path}.{ATTRIBUTES}.{each}")
            for each, value in _any_object(said[ATTRIBUTES], f"{path}.{ATTRIBUTES}").items()
        }
    return ThingTemplate(
        name,
        reader.text(said["ThingName"], f"{path}.ThingName"),
        attributes,
        _optional(said, TYPE, path, reader),
        reader.texts(said[GROUPS], f"{path}.{GROUPS}") if GROUPS in said else None,
        _optional(said, "BillingGroup", path, reader),
        overrides,
    )


def _certificate(
    name: str, resource: Mapping[str, Any], path: str, reader: Reader
) -> CertificateTemplate:
    overrides = _overrides(resource, path, _CERTIFICATE_OVERRIDES)
    path = f"{path}.Properties"
    sources = {each.value: each for each in Source} | dict.fromkeys(_ID_SPELLINGS, Source.ID)
    said = _object(resource["Properties"], path, (*sources, "CACertificatePem", STATUS))
    given = [each for each in sources if each in said]
    if len(given) != 1:
        raise InputError(f"{path}: it takes exactly one of {', '.join(Source)}")
    if "CACertificatePem" in said and sources[given[0]] is not Source.PEM:
        raise InputError(f"{path}.CACertificatePem: it goes with {Source.PEM} only")
    status = reader.text(said.get(STATUS, CertificateStatus.ACTIVE.value), f"{path}.{STATUS}")
    if isinstance(status, Literal):
        status_of(status.value, path)
    return CertificateTemplate(
        name,
        path,
        sources[given[0]],
        reader.text(said[given[0]], f"{path}.{given[0]}"),
        _optional(said, "CACertificatePem", path, reader),
        status,
        overrides,
    )


def _policy(name: str, resource: Mapping[str, Any], path: str, reader: Reader) -> PolicyTemplate:
    _overrides(resource, path, {})
    path = f"{path}.Properties"
    said = _object(resource["Properties"], path, ("PolicyName", "PolicyDocument"))
    if len(said) != 1:
        raise InputError(f"{path}: it takes exactly one of PolicyName, PolicyDocument")
    if "PolicyName" in said:
        return PolicyTemplate(name, path, _optional(said, "PolicyName", path, reader), None)
    where = f"{path}.PolicyDocument"
    given = said["PolicyDocument"]
    if is_function(given) or isinstance(given, str):
        document: Any = reader.text(given, where)
        if isinstance(document, Literal):
            check_policy(document.value, where)
    else:
        document = _tree(_any_object(given, where), where, reader)
        if not _has_expressions(document):
            check_policy(canonical(document).decode(), where)
    return PolicyTemplate(name, path, None, document)


def _overrides(
    resource: Mapping[str, Any], path: str, allowed: Mapping[str, frozenset[Override]]
) -> dict[str, Override]:
    path = f"{path}.OverrideSettings"
    given = _object(resource.get("OverrideSettings", {}), path, tuple(allowed))
    for name, value in given.items():
        if not isinstance(value, str) or value not in allowed[name]:
            wanted = ", ".join(sorted(allowed[name]))
            raise InputError(f"{path}.{name}: {show(value)} is none of {wanted}")
    return {name: Override(value) for name, value in given.items()}


def _optional(said: Mapping[str, Any], name: str, path: str, reader: Reader) -> Text | None:
    return reader.text(said[name], f"{path}.{name}") if name in said else None


def _any_object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{path}: {show(value)} is not an object")
    return value


def _object(
    value: Any, path: str, allowed: tuple[str, ...], required: tuple[str, ...] = ()
) -> dict[str, Any]:
    """An object that has nothing else, as what is not known here would not be carried out."""
    found = _any_object(value, path)
    for name in found:
        if name not in allowed:
            raise InputError(f"{path}: {show(name)} is none of {', '.join(allowed)}")
    for name in required:
        if name not in found:
            raise InputError(f"{path}: there is no {name}")
    return found


def _tree(value: Any, path: str, reader: Reader) -> Any:
    """Data whose texts may be expressions: these are read, and everything else stays."""
    if is_function(value):
        return reader.text(value, path)
    if isinstance(value, dict):
        return {name: _tree(each, f"{path}.{name}", reader) for name, each in value.items()}
    if isinstance(value, list):
        return [_tree(each, f"{path}[{n}]", reader) for n, each in enumerate(value)]
    if isinstance(value, int | float) and abs(value) > NUMBER_MAX:
        raise InputError(f"{path}: a number there is no larger than {NUMBER_MAX}")
    return value


def _has_expressions(tree: Any) -> bool:
    if isinstance(tree, dict):
        return any(_has_expressions(each) for each in tree.values())
    if isinstance(tree, list):
        return any(_has_expressions(each) for each in tree)
    return isinstance(tree, Text)


# Of what is known only with the parameters


def status_of(text: str, path: str) -> CertificateStatus:
    # AWS's examples have it in either case.
    if text.upper() not in _STATUSES:
        raise InputError(f"{path}.{STATUS}: {show(text)} is none of {', '.join(_STATUSES)}")
    return CertificateStatus(text.upper())


def check_policy(text: str, path: str) -> None:
    """Raise InputError for a policy that nobody could create."""
    try:
        policy_document.parse(text)
    except InputError as error:
        raise InputError(f"{path}: {error.args[0]}", hint=error.hint) from None
