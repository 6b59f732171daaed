"""CreateProvisioningClaim: a certificate for minutes, and what it is good for."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from aws_asking import refusal
from aws_region import ACCOUNT
from cryptography import x509
from fleet_devices import CREATE, PROVISION, ROLE, TEMPLATE, body
from made_certificates import identity

from isthmus.aws import expiring, models
from isthmus.aws.handlers import provisioning_claims
from isthmus.aws.requests import Call
from isthmus.core import registry
from isthmus.core.permissions import Permissions
from isthmus.core.registry import CERTIFICATE, CertificateStatus


@pytest.fixture
def template(client):
    def make(name=TEMPLATE, **parameters):
        client.create_provisioning_template(
            templateName=name, templateBody=body(), provisioningRoleArn=ROLE, **parameters
        )
        return name

    return make


def test_a_claim_lasts_for_five_minutes(region, client, template):
    claim = client.create_provisioning_claim(templateName=template())
    assert set(claim) - {"ResponseMetadata"} == {
        "certificateId",
        "certificatePem",
        "keyPair",
        "expiration",
    }
    ends = datetime.fromtimestamp(region.now_ms / 1000, UTC) + timedelta(minutes=5)
    assert claim["expiration"] == ends
    assert identity(claim["certificatePem"]) == claim["certificateId"]
    read = x509.load_pem_x509_certificate(claim["certificatePem"].encode())
    assert read.not_valid_after_utc == ends
    assert claim["keyPair"]["PrivateKey"].startswith("-----BEGIN RSA PRIVATE KEY")
    item = region.store.get(CERTIFICATE, claim["certificateId"])
    assert registry.certificate_status(item) is CertificateStatus.ACTIVE


def test_a_claim_may_use_its_template_and_nothing_else(region, client, template):
    claim = client.create_provisioning_claim(templateName=template())
    rights = Permissions(ACCOUNT, region.naming.regions, region.store.view).of(
        claim["certificateId"], "new-1", "192.0.2.1"
    )
    theirs = PROVISION.replace(TEMPLATE, "others")
    assert rights.allows("iot:Connect", "client/new-1")[0]
    for each in (CREATE, PROVISION):
        topic = each.format("json")
        assert rights.allows("iot:Publish", f"topic/{topic}")[0]
        assert rights.allows("iot:Subscribe", f"topicfilter/{topic}/accepted")[0]
        assert rights.allows("iot:Receive", f"topic/{topic}/rejected")[0]
    for each in (theirs.format("json"), "lamps/7", "$aws/events/presence/connected/x"):
        assert not rights.allows("iot:Publish", f"topic/{each}")[0]
        assert not rights.allows("iot:Receive", f"topic/{each}")[0]
        assert not rights.allows("iot:Subscribe", f"topicfilter/{each}")[0]


def test_claims_for_one_template_share_a_policy(region, client, template):
    name = template()
    for _ in range(2):
        client.create_provisioning_claim(templateName=name)
    assert len(client.list_policies()["policies"]) == 1


def test_no_claim_may_do_what_somebody_has_made_of_its_policy(client, template):
    name = template()
    client.create_provisioning_claim(templateName=name)
    (policy,) = (each["policyName"] for each in client.list_policies()["policies"])
    allows = [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]
    document = json.dumps({"Version": "2012-10-17", "Statement": allows})
    client.create_policy_version(policyName=policy, policyDocument=document, setAsDefault=True)
    held = client.list_certificates()["certificates"]
    code, message = refusal(client.create_provisioning_claim, templateName=name)
    assert code == "InvalidRequestException"
    assert policy in message
    assert client.list_certificates()["certificates"] == held
    # As the message says.
    client.set_default_policy_version(policyName=policy, policyVersionId="1")
    client.create_provisioning_claim(templateName=name)


def test_there_is_no_claim_for_what_provisions_nobody(client, template):
    name = template(type="JITP")
    code, _ = refusal(client.create_provisioning_claim, templateName=name)
    assert code == "InvalidRequestException"
    code, _ = refusal(client.create_provisioning_claim, templateName="none")
    assert code == "ResourceNotFoundException"


@pytest.mark.parametrize("is_alone", [False, True])
def test_a_claim_that_is_over_is_deleted_also_by_a_region_that_is_alone(
    region, client, template, is_alone
):
    key = client.create_provisioning_claim(templateName=template())["certificateId"]
    service = models.service(models.IOT)
    call = Call(service, service.operations["DeleteCertificate"], {})
    for late_ms, is_over in ((-1, False), (1, True)):
        then = region.now_ms
        region.now_ms += provisioning_claims.LASTS_MS + late_ms
        assert expiring.due(region.context(call), is_alone=is_alone) == ([key] if is_over else [])
        ended = asyncio.run(expiring.end(region.context(call), key, is_alone=is_alone))
        assert ended is is_over
        region.now_ms = then
    assert registry.certificate_status(region.store.get(CERTIFICATE, key)) is None
    assert not region.store.view.policies(key, None)
    # Nothing is left that names it, so the policy can be deleted.
    (policy,) = client.list_policies()["policies"]
    client.delete_policy(policyName=policy["policyName"])
