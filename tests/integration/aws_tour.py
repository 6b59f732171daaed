"""A way through all operations of the API, for whichever client goes it.

Every step is an operation as the models call it, its input, and the error that it must end in, if
any. Input may need what earlier steps gave: ``Seen`` has their outputs by operation, the newest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from made_certificates import Ca, new_ca, request

from isthmus.local.system import BUCKET

Seen = dict[str, Any]
Input = Mapping[str, Any] | Callable[[Seen], dict[str, Any]]

PARENT, CHILD = "tour-house", "tour-kitchen"
#: Connected when the tour begins.
CLIENT = "tour-client"
THING, BILLING, POLICY = "tour-lamp-1", "tour-bill", "tour-policy"
TAGS = [{"Key": "colour", "Value": "red"}]
INVALID = "InvalidRequestException"
#: The file for bulk registration, in the bucket that a local region has. It may be empty.
INPUT = "tour.jsonl"


class Step(NamedTuple):
    """One call."""

    operation: str
    input: Input = MappingProxyType({})
    error: str = ""

    def parameters(self, seen: Seen) -> dict[str, Any]:
        return dict(self.input(seen) if callable(self.input) else self.input)


def tour(thing_type: str) -> tuple[Step, ...]:
    """All steps; the type stays, as it can be deleted only minutes after its deprecation.

    So does a command of its name, for hours.
    """
    return (
        Step("DescribeEndpoint", {"endpointType": "iot:Data-ATS"}),
        *_types(thing_type),
        *_things(thing_type),
        *_groups(),
        *_billing_groups(),
        *_certificates(),
        *_principals(),
        *_policies(),
        *_authorization(),
        *_ca_certificates(new_ca("tour")),
        *_settings(),
        *_commands(thing_type),
        *_searches(),
        *_connections(),
        *_shadows(),
        *_provisioning_templates(),
        *_tags(),
        *_end(thing_type),
    )


def _types(thing_type: str) -> tuple[Step, ...]:
    return (
        Step("CreateThingType", {"thingTypeName": thing_type, "tags": TAGS}),
        Step("UpdateThingType", {"thingTypeName": thing_type, "thingTypeProperties": {}}),
        Step("DescribeThingType", {"thingTypeName": thing_type}),
        Step("ListThingTypes", {"thingTypeName": thing_type}),
    )


def _things(thing_type: str) -> tuple[Step, ...]:
    attributes = {"room": "kitchen", "colour": "red"}
    return (
        Step(
            "CreateThing",
            {
                "thingName": THING,
                "thingTypeName": thing_type,
                "attributePayload": {"attributes": attributes},
            },
        ),
        Step("DescribeThing", {"thingName": THING}),
        Step(
            "UpdateThing",
            lambda seen: {
                "thingName": THING,
                "expectedVersion": seen["DescribeThing"]["version"],
                "attributePayload": {"attributes": {"colour": "blue"}, "merge": True},
            },
        ),
        Step("UpdateThing", {"thingName": THING, "expectedVersion": 9}, "VersionConflictException"),
        Step("ListThings", {"attributeName": "colour", "attributeValue": "blue", "maxResults": 5}),
    )


def _groups() -> tuple[Step, ...]:
    member = {"thingGroupName": CHILD, "thingName": THING}
    properties = {"thingGroupDescription": "where we cook"}
    return (
        Step("CreateThingGroup", {"thingGroupName": PARENT}),
        Step("CreateThingGroup", {"thingGroupName": CHILD, "parentGroupName": PARENT}),
        Step("UpdateThingGroup", {"thingGroupName": CHILD, "thingGroupProperties": properties}),
        Step("DescribeThingGroup", {"thingGroupName": CHILD}),
        Step("ListThingGroups", {"parentGroup": PARENT, "recursive": True}),
        Step("DeleteThingGroup", {"thingGroupName": PARENT}, INVALID),
        Step("AddThingToThingGroup", member),
        Step("ListThingsInThingGroup", {"thingGroupName": PARENT, "recursive": True}),
        Step("ListThingGroupsForThing", {"thingName": THING}),
        Step("RemoveThingFromThingGroup", member),
        Step("UpdateThingGroupsForThing", {"thingName": THING, "thingGroupsToAdd": [PARENT]}),
        Step("UpdateThingGroupsForThing", {"thingName": THING, "thingGroupsToRemove": [PARENT]}),
    )


def _billing_groups() -> tuple[Step, ...]:
    group, member = {"billingGroupName": BILLING}, {"billingGroupName": BILLING, "thingName": THING}
    properties = {"billingGroupDescription": "who pays"}
    return (
        Step("CreateBillingGroup", group),
        Step("AddThingToBillingGroup", member),
        Step("ListThingsInBillingGroup", group),
        Step("DescribeBillingGroup", group),
        Step("UpdateBillingGroup", {**group, "billingGroupProperties": properties}),
        Step("ListBillingGroups"),
        Step("RemoveThingFromBillingGroup", member),
    )


def _certificates() -> tuple[Step, ...]:
    def own(seen: Seen) -> dict[str, Any]:
        return {"certificateId": seen["CreateKeysAndCertificate"]["certificateId"]}

    stranger = new_ca("a stranger").sign("tour-stranger")
    return (
        Step("CreateKeysAndCertificate", {"setAsActive": True}),
        Step("DescribeCertificate", own),
        Step("DeleteCertificate", own, "CertificateStateException"),
        Step("CreateCertificateFromCsr", {"certificateSigningRequest": request()}),
        Step("RegisterCertificateWithoutCA", {"certificatePem": stranger}),
        Step(
            "RegisterCertificateWithoutCA",
            {"certificatePem": stranger},
            "ResourceAlreadyExistsException",
        ),
        Step("ListCertificates", {"pageSize": 2, "ascendingOrder": True}),
    )


def _arn(seen: Seen) -> str:
    """Of the certificate that everything is attached to."""
    arn: str = seen["CreateKeysAndCertificate"]["certificateArn"]
    return arn


def _principals() -> tuple[Step, ...]:
    def both(seen: Seen) -> dict[str, Any]:
        return {"thingName": THING, "principal": _arn(seen)}

    def principal(seen: Seen) -> dict[str, Any]:
        return {"principal": _arn(seen)}

    return (
        Step("AttachThingPrincipal", both),
        Step("ListThingPrincipals", {"thingName": THING}),
        Step("ListThingPrincipalsV2", {"thingName": THING}),
        Step("ListPrincipalThings", principal),
        Step("ListPrincipalThingsV2", principal),
        Step("DeleteThing", {"thingName": THING}, INVALID),
    )


def _document(effect: str) -> str:
    statement = {"Effect": effect, "Action": "iot:Publish", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _policies() -> tuple[Step, ...]:
    name, second = {"policyName": POLICY}, {"policyName": POLICY, "policyVersionId": "2"}

    def target(seen: Seen) -> dict[str, Any]:
        return {"policyName": POLICY, "target": _arn(seen)}

    def principal(seen: Seen) -> dict[str, Any]:
        return {"policyName": POLICY, "principal": _arn(seen)}

    return (
        Step("CreatePolicy", {**name, "policyDocument": _document("Allow")}),
        Step("CreatePolicy", {**name, "policyDocument": "{}"}, "MalformedPolicyException"),
        Step("GetPolicy", name),
        Step("CreatePolicyVersion", {**name, "policyDocument": _document("Deny")}),
        Step("GetPolicyVersion", second),
        Step("ListPolicyVersions", name),
        Step("SetDefaultPolicyVersion", {**name, "policyVersionId": "1"}),
        Step("DeletePolicyVersion", second),
        Step("ListPolicies", {"pageSize": 5}),
        Step("AttachPrincipalPolicy", principal),
        Step("ListPolicyPrincipals", name),
        Step("ListPrincipalPolicies", lambda seen: {"principal": _arn(seen)}),
        Step("DetachPrincipalPolicy", principal),
        Step("AttachPolicy", target),
        Step("ListAttachedPolicies", lambda seen: {"target": _arn(seen)}),
        Step("ListTargetsForPolicy", name),
        Step("DeletePolicy", name, "DeleteConflictException"),
    )


def _authorization() -> tuple[Step, ...]:
    topic = "arn:aws:iot:eu:000000000000:topic/a"
    asked = [{"actionType": "PUBLISH", "resources": [topic]}]
    return (
        Step("GetEffectivePolicies", lambda seen: {"principal": _arn(seen)}),
        Step("TestAuthorization", lambda seen: {"principal": _arn(seen), "authInfos": asked}),
    )


def _ca_certificates(ca: Ca) -> tuple[Step, ...]:
    name = {"certificateId": ca.id}

    def verified(seen: Seen) -> dict[str, Any]:
        code = seen["GetRegistrationCode"]["registrationCode"]
        return {
            "caCertificate": ca.pem,
            "verificationCertificate": ca.sign(code),
            "setAsActive": True,
        }

    signed = {"certificatePem": ca.sign("tour-signed"), "caCertificatePem": ca.pem}
    return (
        Step("GetRegistrationCode"),
        Step("RegisterCACertificate", verified),
        Step("DescribeCACertificate", name),
        Step("ListCACertificates"),
        Step("RegisterCertificate", signed),
        Step("ListCertificatesByCA", {"caCertificateId": ca.id}),
        Step("DeleteCACertificate", name, "CertificateStateException"),
        Step("UpdateCACertificate", {**name, "newStatus": "INACTIVE"}),
        Step("DeleteCACertificate", name),
        Step("DeleteRegistrationCode"),
    )


def _settings() -> tuple[Step, ...]:
    enabled = {"eventConfigurations": {"THING": {"Enabled": True}}}
    alias, rule = {"roleAlias": "tour-alias"}, {"ruleName": "tour_rule"}
    role = {"roleArn": "arn:aws:iam::000000000000:role/tour"}
    payload = {"topicRulePayload": {"sql": "SELECT * FROM 'a/b'", "actions": []}}
    domain = {"domainConfigurationName": "tour-domain"}
    acm = "arn:aws:acm:eu-west-1:000000000000:certificate/tour"
    own = {"domainName": "tour.example.com", "serverCertificateArns": [acm]}
    return (
        Step("UpdateEventConfigurations", enabled),
        Step("DescribeEventConfigurations"),
        Step("CreateRoleAlias", alias | role),
        Step("UpdateRoleAlias", alias | {"credentialDurationSeconds": 900}),
        Step("DescribeRoleAlias", alias),
        Step("ListRoleAliases"),
        Step("DeleteRoleAlias", alias),
        Step("CreateTopicRule", rule | payload),
        Step("ReplaceTopicRule", rule | payload),
        Step("DisableTopicRule", rule),
        Step("EnableTopicRule", rule),
        Step("GetTopicRule", rule),
        Step("ListTopicRules"),
        Step("DeleteTopicRule", rule),
        Step("CreateDomainConfiguration", domain | own),
        Step("DeleteDomainConfiguration", domain, "InvalidRequestException"),
        Step("UpdateDomainConfiguration", domain | {"domainConfigurationStatus": "DISABLED"}),
        Step("DescribeDomainConfiguration", domain),
        Step("ListDomainConfigurations"),
        Step("DeleteDomainConfiguration", domain),
    )


def _commands(name: str) -> tuple[Step, ...]:
    command, payload = {"commandId": name}, {"payload": {"content": "eyJhIjoxfQ=="}}

    def target(seen: Seen) -> dict[str, Any]:
        return {"targetArn": seen["CreateThing"]["thingArn"]}

    def start(seen: Seen) -> dict[str, Any]:
        return {**target(seen), "commandArn": seen["CreateCommand"]["commandArn"]}

    def execution(seen: Seen) -> dict[str, Any]:
        return {**target(seen), "executionId": seen["StartCommandExecution"]["executionId"]}

    return (
        Step("CreateCommand", command | payload),
        Step("CreateCommand", command | payload, "ConflictException"),
        Step("UpdateCommand", command | {"description": "what it does"}),
        Step("GetCommand", command),
        Step("ListCommands"),
        Step("StartCommandExecution", start),
        Step("GetCommandExecution", execution),
        Step("ListCommandExecutions", target),
        # Only its device can end it.
        Step("DeleteCommandExecution", execution, "ConflictException"),
        Step("DeleteCommand", command),
    )


def _searches() -> tuple[Step, ...]:
    index = {"indexName": "AWS_Things"}
    wanted = {
        "thingIndexingConfiguration": {
            "thingIndexingMode": "REGISTRY",
            "thingConnectivityIndexingMode": "STATUS",
            "customFields": [{"name": "attributes.colour", "type": "String"}],
        },
        "thingGroupIndexingConfiguration": {"thingGroupIndexingMode": "ON"},
    }
    colours = {"queryString": "thingName:tour*", "aggregationField": "attributes.colour"}
    buckets = {"termsAggregation": {"maxBuckets": 5}}
    off = {"thingIndexingConfiguration": {"thingIndexingMode": "OFF"}}
    query = f"thingName:{THING} AND attributes.colour:blue AND connectivity.connected:false"
    return (
        Step("UpdateIndexingConfiguration", wanted),
        Step("GetIndexingConfiguration"),
        Step("DescribeIndex", index),
        Step("ListIndices"),
        Step("SearchIndex", {**index, "queryString": query}),
        Step("SearchIndex", {"indexName": "AWS_ThingGroups", "queryString": CHILD}),
        Step("SearchIndex", {**index, "queryString": "thingName:"}, "InvalidQueryException"),
        Step("GetStatistics", colours),
        Step("GetCardinality", colours),
        Step("GetPercentiles", {"queryString": "*"}),
        Step("GetPercentiles", colours, "InvalidAggregationException"),
        Step("GetBucketsAggregation", {**colours, "bucketsAggregationType": buckets}),
        Step("GetThingConnectivityData", {"thingName": THING, "includeSocketInformation": True}),
        Step("UpdateIndexingConfiguration", off),
        Step("SearchIndex", {**index, "queryString": "*"}, "ResourceNotFoundException"),
    )


def _provisioning_templates() -> tuple[Step, ...]:
    name = {"templateName": "tour-template"}
    role = {"provisioningRoleArn": "arn:aws:iam::000000000000:role/tour"}
    thing = {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": "tour-lamp-2"}}
    body = {"templateBody": json.dumps({"Resources": {"thing": thing}})}
    return (
        Step("CreateProvisioningTemplate", name | role | body | {"tags": TAGS}),
        Step("CreateProvisioningTemplate", name | role | {"templateBody": "{}"}, INVALID),
        Step("DescribeProvisioningTemplate", name),
        Step("ListProvisioningTemplates"),
        Step("CreateProvisioningTemplateVersion", name | body | {"setAsDefault": True}),
        Step("DescribeProvisioningTemplateVersion", name | {"versionId": 2}),
        Step("ListProvisioningTemplateVersions", name),
        Step("UpdateProvisioningTemplate", name | {"enabled": True, "defaultVersionId": 1}),
        Step("DeleteProvisioningTemplate", name, "DeleteConflictException"),
        Step("CreateProvisioningClaim", name),
        Step("DeleteProvisioningTemplateVersion", name | {"versionId": 2}),
        Step("DeleteProvisioningTemplate", name),
        Step("RegisterThing", body),
        Step("DeleteThing", {"thingName": "tour-lamp-2"}),
        *_registration_tasks(role["provisioningRoleArn"], body),
    )


def _registration_tasks(role: str, body: dict[str, Any]) -> tuple[Step, ...]:
    def task(seen: Seen) -> dict[str, Any]:
        return {"taskId": seen["StartThingRegistrationTask"]["taskId"]}

    file = {"inputFileBucket": BUCKET, "inputFileKey": INPUT}
    return (
        Step("StartThingRegistrationTask", body | file | {"roleArn": role}),
        Step(
            "StartThingRegistrationTask",
            body | file | {"roleArn": role, "inputFileKey": "../x"},
            INVALID,
        ),
        Step("DescribeThingRegistrationTask", task),
        Step("ListThingRegistrationTasks", {"maxResults": 5}),
        Step(
            "ListThingRegistrationTaskReports", lambda seen: {**task(seen), "reportType": "RESULTS"}
        ),
        Step("StopThingRegistrationTask", task),
    )


def _connections() -> tuple[Step, ...]:
    client, topic = {"clientId": CLIENT}, {"topic": "tour/told"}
    pairs = json.dumps([{"deviceName": "alpha"}])
    told = topic | {"qos": 1, "retain": True, "payload": "told", "userProperties": pairs}
    return (
        Step("Publish", told),
        Step("GetRetainedMessage", topic),
        Step("ListRetainedMessages", {"maxResults": 5}),
        Step("Publish", topic | {"retain": True}),
        Step("GetRetainedMessage", topic, "ResourceNotFoundException"),
        Step("Publish", {"topic": "$aws/events/x"}, INVALID),
        Step("GetConnection", client | {"includeSocketInformation": True}),
        Step("ListSubscriptions", client | {"maxResults": 5}),
        Step("DeleteConnection", client | {"cleanSession": True, "preventWillMessage": True}),
        Step("DeleteConnection", {"clientId": "tour-nobody"}, "ResourceNotFoundException"),
    )


def _shadows() -> tuple[Step, ...]:
    classic, named = {"thingName": "tour"}, {"thingName": "tour", "shadowName": "climate"}
    payload = {"payload": json.dumps({"state": {"desired": {"colour": "blue"}}})}
    stale = {"payload": json.dumps({"state": {}, "version": 9})}
    return (
        Step("GetThingShadow", classic, "ResourceNotFoundException"),
        Step("UpdateThingShadow", classic | payload),
        Step("UpdateThingShadow", classic | {"payload": "{}"}, INVALID),
        Step("UpdateThingShadow", named | payload),
        Step("UpdateThingShadow", named | stale, "ConflictException"),
        Step("GetThingShadow", named),
        Step("ListNamedShadowsForThing", {"thingName": "tour", "pageSize": 5}),
        *(Step("DeleteThingShadow", each) for each in (classic, named)),
    )


def _tags() -> tuple[Step, ...]:
    def resource(seen: Seen) -> dict[str, Any]:
        return {"resourceArn": seen["CreateThingType"]["thingTypeArn"]}

    return (
        Step("TagResource", lambda seen: {**resource(seen), "tags": TAGS}),
        Step("ListTagsForResource", resource),
        Step("UntagResource", lambda seen: {**resource(seen), "tagKeys": ["colour"]}),
    )


def _end(thing_type: str) -> tuple[Step, ...]:
    def own(seen: Seen) -> dict[str, Any]:
        return {"certificateId": seen["CreateKeysAndCertificate"]["certificateId"]}

    return (
        Step("DetachPolicy", lambda seen: {"policyName": POLICY, "target": _arn(seen)}),
        Step("DeletePolicy", {"policyName": POLICY}),
        Step("DetachThingPrincipal", lambda seen: {"thingName": THING, "principal": _arn(seen)}),
        Step("UpdateCertificate", lambda seen: {**own(seen), "newStatus": "INACTIVE"}),
        Step("DeleteCertificate", own),
        Step("DeleteThing", {"thingName": THING}),
        Step("DescribeThing", {"thingName": THING}, "ResourceNotFoundException"),
        Step("DeleteThingGroup", {"thingGroupName": CHILD}),
        Step("DeleteThingGroup", {"thingGroupName": PARENT}),
        Step("DeleteBillingGroup", {"billingGroupName": BILLING}),
        Step("DeprecateThingType", {"thingTypeName": thing_type}),
        # It may be five minutes later, and not before.
        Step("DeleteThingType", {"thingTypeName": thing_type}, INVALID),
        Step("DeprecateThingType", {"thingTypeName": thing_type, "undoDeprecate": True}),
    )
