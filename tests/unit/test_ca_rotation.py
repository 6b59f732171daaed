"""How a CA ends, and what its successor is when that is asked for again."""

from __future__ import annotations

import asyncio

import pytest
from aws_asking import exchange, writes
from aws_region import AwsRegion
from made_certificates import identity, new_ca, private_pem
from test_api_newcomers import CA, INACTIVE, PENDING, X509, come, register_ca, status

from isthmus.cli import ca_rotation
from isthmus.cli.aws_calls import AwsCalls
from isthmus.core.registry import CERTIFICATE
from isthmus.errors import InputError


class Calls(AwsCalls):
    """Those of a region without a network."""

    def __init__(self, region):
        self._client = region.client()


@pytest.fixture
def region():
    return AwsRegion(x509=X509)


def test_who_waits_and_who_another_region_still_registers_is_deactivated_too(region, client):
    register_ca(client)
    other = AwsRegion("us-east-1", x509=X509)
    exchange(region, other)
    active, waiting, late = (CA.sign(each) for each in ("active", "waiting", "late"))
    for each in (active, waiting):
        come(region, each)
    client.update_certificate(certificateId=identity(active), newStatus="ACTIVE")
    come(other, late)
    counted = []

    def deactivated(number):
        if not counted:
            arrives = other.store.get(CERTIFICATE, identity(late))
            asyncio.run(region.store.merge(arrives))
        counted.append(number)

    assert ca_rotation.retire(Calls(region), CA.id, deactivated, is_forced=False) == 0
    assert counted == [1, 2, 3]
    for each in (active, waiting, late):
        assert status(region, identity(each)) is INACTIVE


def test_who_waits_keeps_no_ca_from_being_retired_and_stays(region, client):
    register_ca(client)
    waiting = CA.sign("waiting")
    come(region, waiting)
    assert ca_rotation.retire(Calls(region), CA.id, None, is_forced=False) == 0
    assert status(region, identity(waiting)) is PENDING


def test_a_successor_that_is_asked_for_again_stays_as_it_is(region, client):
    register_ca(client)
    calls, new = Calls(region), new_ca()

    def rotate():
        return ca_rotation.rotate(calls, CA.id, new.pem, private_pem(new.key).encode(), "")

    assert rotate() == new.id
    before = writes(region)
    assert rotate() == new.id
    assert writes(region) == before
    ca_rotation.retire(calls, new.id, None, is_forced=False)
    before = writes(region)
    with pytest.raises(InputError, match="registered and inactive"):
        rotate()
    assert writes(region) == before
    assert ca_rotation.authority(calls, new.id).status == "INACTIVE"
