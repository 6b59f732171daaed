"""Whom a gateway asks its region about, how many of them, and what it makes of the answer."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from isthmus import protocol
from isthmus.core import ca_certificates, certificates
from isthmus.core.ca_certificates import CA_CERTIFICATE
from isthmus.core.certificates import Mode
from isthmus.core.connecting import Refusal
from isthmus.core.item import Item
from isthmus.core.registry import CERTIFICATE, CertificateStatus, Writer
from isthmus.core.stamp import StampClock
from isthmus.core.view import View
from isthmus.gateway import newcomers
from isthmus.gateway.newcomers import ASKED_MAX, STRANGERS_AT_ONCE, STRANGERS_PER_S, Newcomers
from isthmus.protocol import CERTIFICATE_MAX, RegionEvent, RegistrationReply
from isthmus.wire.packets import LEVEL_3, LEVEL_5
from isthmus.wire.reason_codes import ReasonCode

ID, CA = "c" * 64, "a" * 64
WRITER = Writer(StampClock("eu", "i"), 1)
WAITS = CertificateStatus.PENDING_ACTIVATION


class Region:
    """What a gateway knows of its region, and the answers that it gets."""

    def __init__(self, *, is_asked: bool = True) -> None:
        self.view = View()
        self.asked: list[bytes] = []
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.events: list[tuple[str, bytes]] = []
        self.newcomers = Newcomers(self, self.view, self._say, is_asked=is_asked)  # type: ignore[arg-type]

    async def request(self, subject: str, payload: bytes, **limits: float) -> Any:
        assert (subject, limits) == ("region.registration", {"timeout": protocol.REGISTRATION_S})
        self.asked.append(payload)
        return SimpleNamespace(data=await asyncio.shield(self.answer))

    def _say(self, topic: str, payload: bytes) -> None:
        self.events.append((topic, payload))

    def has_ca(self, *, registers: bool) -> None:
        made = ca_certificates.register(
            Item(CA_CERTIFICATE, CA),
            WRITER,
            "pem",
            "s",
            Mode.DEFAULT,
            is_active=True,
            auto_registers=registers,
        )
        self.view.apply(made)

    def has(self, status: CertificateStatus, ca: str | None = CA) -> None:
        item = Item(CERTIFICATE, ID)
        self.view.apply(certificates.register(item, WRITER, "pem", status, Mode.DEFAULT, ca))


class Device:
    """A connection that has sent its CONNECT."""

    def __init__(
        self, principal: str = ID, certificate: str = "pem", address: str = "192.0.2.1"
    ) -> None:
        self.principal = principal
        self.address = address
        self.certificate = lambda: certificate
        self.refusal: asyncio.Future[Refusal] = asyncio.get_running_loop().create_future()
        self.refuse = self.refusal.set_result

    def comes(self, region: Region) -> Refusal | None:
        return region.newcomers.refuse(self, "it is unknown")  # type: ignore[arg-type]


def is_passing(refusal: Refusal | None) -> bool:
    """Whether its client hears nothing, and comes again."""
    assert refusal is not None
    silent = [refusal.answer(level) == b"" for level in (LEVEL_3, LEVEL_5)]
    assert silent[0] == silent[1]
    return silent[0]


async def decided(reply: RegistrationReply | bytes) -> tuple[Refusal, Region]:
    region, device = Region(), Device()
    assert device.comes(region) is None
    region.answer.set_result(reply if isinstance(reply, bytes) else protocol.encode(reply))
    return await device.refusal, region


async def test_the_region_is_asked_about_a_newcomer_and_its_events_are_said() -> None:
    events = [RegionEvent("$aws/events/x", b"told")]
    refusal, region = await decided(RegistrationReply(WAITS, events))
    request = protocol.decode(region.asked[0], protocol.RegistrationRequest)
    assert request == protocol.RegistrationRequest("pem", "192.0.2.1")
    assert is_passing(refusal)
    assert region.events == [("$aws/events/x", b"told")]


@pytest.mark.parametrize(
    ("reply", "passes"),
    [
        (RegistrationReply(None), False),
        (RegistrationReply("REVOKED"), False),
        (RegistrationReply("INACTIVE"), False),
        (RegistrationReply("ACTIVE"), True),
        (RegistrationReply(None, is_decided=False), True),
        (b"not a reply", True),
    ],
    ids=str,
)
async def test_who_may_still_be_let_in_comes_again(
    reply: RegistrationReply | bytes, passes: bool
) -> None:
    refusal, _ = await decided(reply)
    assert is_passing(refusal) == passes
    assert passes or refusal.code is ReasonCode.NOT_AUTHORIZED


async def test_events_of_what_is_not_promised_yet_are_said_too() -> None:
    events = [RegionEvent("$aws/events/x", b"told")]
    refusal, region = await decided(RegistrationReply(None, events, is_decided=False))
    assert is_passing(refusal)
    assert region.events == [("$aws/events/x", b"told")]


async def test_who_is_asked_about_and_hears_nothing_comes_again() -> None:
    region, device = Region(), Device()
    device.comes(region)
    region.answer.set_exception(TimeoutError())
    assert is_passing(await device.refusal)


async def refused_at_once(region: Region, device: Device) -> None:
    refusal = device.comes(region)
    assert refusal is not None
    assert not is_passing(refusal)
    assert region.asked == []


async def test_a_region_without_an_api_refuses_at_once() -> None:
    await refused_at_once(Region(is_asked=False), Device())


@pytest.mark.parametrize(
    "device",
    [("AKIA" + "A" * 16, "pem"), (ID, ""), (ID, "x" * (CERTIFICATE_MAX + 1))],
    ids=["access key", "no certificate", "too long"],
)
async def test_what_cannot_be_registered_is_not_asked_about(device: tuple[str, str]) -> None:
    await refused_at_once(Region(), Device(*device))


@pytest.mark.parametrize("status", [CertificateStatus.INACTIVE, CertificateStatus.REVOKED])
async def test_who_is_shut_out_is_not_asked_about(status: CertificateStatus) -> None:
    region = Region()
    region.has_ca(registers=True)
    region.has(status)
    await refused_at_once(region, Device())


async def test_who_waits_is_asked_about_as_long_as_his_ca_registers_devices() -> None:
    region = Region()
    region.has(WAITS)
    await refused_at_once(region, Device())
    region.has_ca(registers=False)
    await refused_at_once(region, Device())
    region.has_ca(registers=True)
    assert Device().comes(region) is None


async def test_who_waits_without_a_ca_is_not_asked_about() -> None:
    region = Region()
    region.has_ca(registers=True)
    region.has(WAITS, None)
    await refused_at_once(region, Device())


async def test_who_waits_is_asked_about_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    region, now_s = Region(), 100.0
    monkeypatch.setattr(newcomers, "monotonic_s", lambda: now_s)
    assert Device().comes(region) is None
    region.has_ca(registers=True)
    region.has(WAITS)
    assert is_passing(Device().comes(region))
    now_s += 1.0
    assert Device().comes(region) is None
    assert is_passing(Device().comes(region))
    # Others are not delayed by it.
    assert Device("d" * 64).comes(region) is None


async def test_who_is_not_known_is_asked_about_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    region, now_s = Region(), 100.0
    monkeypatch.setattr(newcomers, "monotonic_s", lambda: now_s)
    assert Device().comes(region) is None
    assert is_passing(Device().comes(region))
    assert Device("d" * 64).comes(region) is None
    now_s += 1.0
    assert Device().comes(region) is None


async def test_strangers_from_one_address_leave_those_from_others_their_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(newcomers, "ASKED_MAX", 2 * STRANGERS_AT_ONCE)
    region, now_s, made = Region(), 100.0, itertools.count()
    monkeypatch.setattr(newcomers, "monotonic_s", lambda: now_s)

    def stranger(address: str = "192.0.2.1") -> Refusal | None:
        return Device(f"{next(made):064x}", address=address).comes(region)

    assert [stranger() for _ in range(STRANGERS_AT_ONCE)] == [None] * STRANGERS_AT_ONCE
    assert is_passing(stranger())
    assert stranger("192.0.2.2") is None
    # Nor is one that is known kept waiting by them.
    region.has_ca(registers=True)
    region.has(WAITS)
    assert Device().comes(region) is None
    now_s += 1.0
    assert [stranger() for _ in range(int(STRANGERS_PER_S))] == [None] * int(STRANGERS_PER_S)
    assert is_passing(stranger())


async def test_no_more_than_so_many_are_asked_about_at_once() -> None:
    region = Region()
    devices = [Device(f"{n:064x}") for n in range(ASKED_MAX)]
    assert [each.comes(region) for each in devices] == [None] * ASKED_MAX
    late = Device()
    assert is_passing(late.comes(region))
    region.answer.set_result(protocol.encode(RegistrationReply(WAITS)))
    await asyncio.gather(*(each.refusal for each in devices))
    await asyncio.sleep(0)
    assert late.comes(region) is None
    assert len(region.asked) == ASKED_MAX


async def test_a_gateway_that_ends_waits_for_nobody() -> None:
    region, device = Region(), Device()
    device.comes(region)
    (asking,) = region.newcomers._asking
    region.newcomers.close()
    await asyncio.wait({asking})
    assert asking.cancelled()
