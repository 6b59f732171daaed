"""Devices that nobody has registered, with the certificates of a CA that vouches for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import ssl
from pathlib import Path
from typing import Any

from aws_clients import Caller
from made_certificates import Ca, identity, name, new_ca, new_key, pem, private_pem, signed
from mqtt_wire import CLOSED
from regions import HOME, Regions

from isthmus.adapters.pki import Identity

#: Between two attempts of one device.
AGAIN_S = 0.2
ALLOWED = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'


class Factory:
    """Makes devices, and has regions know its CA."""

    def __init__(self, regions: Regions, directory: Path, ca: Ca | None = None) -> None:
        self.regions = regions
        self.ca = ca or new_ca("factory")
        self._directory = directory
        directory.mkdir(exist_ok=True)

    def with_another_ca(self) -> Factory:
        """One whose CA has the same subject, and another key."""
        return Factory(self.regions, self._directory / secrets.token_hex(4))

    async def register_ca(self, call: Caller, **parameters: Any) -> str:
        """Register the CA, active and registering devices; returns its id."""
        code = (await call("get_registration_code"))["registrationCode"]
        made = await call(
            "register_ca_certificate",
            caCertificate=self.ca.pem,
            verificationCertificate=self.ca.sign(code),
            setAsActive=True,
            allowAutoRegistration=True,
            **parameters,
        )
        return str(made["certificateId"])

    def device(self, common_name: str, **changes: Any) -> Identity:
        """A new device, with its files."""
        key: Any = new_key()
        subject = changes.get("subject", name(common_name))
        text = pem(signed(subject, key.public_key(), self.ca.certificate.subject, self.ca.key))
        file, key_file = (self._directory / f"{common_name}.{end}" for end in ("pem", "key"))
        file.write_text(text)
        key_file.write_text(private_pem(key))
        return Identity(file, key_file, file, identity(text))


def jitp_template(policy: str) -> str:
    """Each device becomes a thing of its own name."""
    parameter = "AWS::IoT::Certificate::"
    return json.dumps(
        {
            "Resources": {
                "thing": {
                    "Type": "AWS::IoT::Thing",
                    "Properties": {"ThingName": {"Ref": f"{parameter}CommonName"}},
                },
                "certificate": {
                    "Type": "AWS::IoT::Certificate",
                    "Properties": {"CertificateId": {"Ref": f"{parameter}Id"}},
                },
                "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": policy}},
            }
        }
    )


#: Of a CA whose devices become things, and may do everything, as they come.
PROVISIONING = {
    "templateBody": jitp_template("all"),
    "roleArn": "arn:aws:iam::123456789012:role/r",
}


async def a_factory(regions: Regions, call: Caller, directory: Path, **ca: Any) -> Factory:
    """One whose CA is registered, beside a policy ``all`` for its devices."""
    await call("create_policy", policyName="all", policyDocument=ALLOWED)
    factory = Factory(regions, directory)
    await factory.register_ca(call, **ca)
    return factory


async def attempt(regions: Regions, device: Identity, client: str, region: str = HOME) -> int:
    """Connect and leave; the code of the CONNACK, or that there was none."""
    async with regions.wire(region, device) as wire:
        return await wire.connect(client)


async def until_admitted(
    regions: Regions, device: Identity, client: str, region: str = HOME
) -> int:
    """Connect until the region lets it in, as devices do; returns how often it took."""
    times = 0
    while True:
        times += 1
        with contextlib.suppress(OSError, ssl.SSLError):
            code = await attempt(regions, device, client, region)
            if code == 0:
                return times
            assert code == CLOSED, code
        await asyncio.sleep(AGAIN_S)


async def activate(call: Caller, device: Identity, policy: str) -> None:
    """What a user's own activator does with an event."""
    found = await call("describe_certificate", certificateId=device.certificate_id)
    arn = found["certificateDescription"]["certificateArn"]
    await call("attach_policy", policyName=policy, target=arn)
    await call("update_certificate", certificateId=device.certificate_id, newStatus="ACTIVE")
