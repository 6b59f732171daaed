"""Access keys under concurrent writes, and what their roles may do."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.aws import models
from isthmus.core import access_keys, registry
from isthmus.core.access_keys import ACCESS_KEY, AccessKeyStatus, Grant, Role
from isthmus.core.item import Item, conflicts, decode, join
from isthmus.core.permissions import Permissions
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.core.view import View

REGISTRY = set(models.service(models.IOT).operations)
KEY = "AKIAABCDEFGHIJKLMNOP"
REGIONS = ("eu", "us", "ap")


def writers() -> dict[str, Writer]:
    return {region: Writer(StampClock(region, "i"), 1_000) for region in REGIONS}


def created(role: Role = Role.ADMIN, writer: Writer | None = None) -> Item:
    made = access_keys.create(Item(ACCESS_KEY, KEY), writer or writers()["eu"], role, "sealed")
    assert decode(made.encode()) == made
    return made


def test_a_new_key_is_active_and_says_what_it_was_made_with() -> None:
    item = created(Role.OPERATOR)
    assert access_keys.status(item) is AccessKeyStatus.ACTIVE
    assert access_keys.grant(item) == Grant("operator", "sealed", 1_000)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(REGIONS), st.sampled_from(("activate", "deactivate", "delete", *REGIONS))
    ),
    max_size=20,
)


@given(STEPS)
def test_what_takes_rights_away_wins_in_every_merge(steps: list[tuple[str, str]]) -> None:
    """Against a model that keeps what each writer had seen, and knows nothing of lattices."""
    actors = writers()
    items = dict.fromkeys(REGIONS, created())
    seen: dict[str, frozenset[int]] = dict.fromkeys(REGIONS, frozenset())
    done: dict[int, tuple[str, frozenset[int]]] = {}
    for number, (region, what) in enumerate(steps):
        if what in REGIONS:
            items[region] = join(items[region], items[what])
            seen[region] |= seen[what]
            continue
        items[region] = getattr(access_keys, what)(items[region], actors[region])
        done[number] = (what, seen[region])
        seen[region] |= {number}
    for region in REGIONS:
        here = {number: done[number] for number in seen[region]}
        lifted = {n for what, before in here.values() if what == "activate" for n in before}
        blocks = {number for number, (what, _) in here.items() if what == "deactivate"} - lifted
        expected: AccessKeyStatus | None = AccessKeyStatus.ACTIVE
        if any(what == "delete" for what, _ in here.values()):
            expected = None
        elif blocks:
            expected = AccessKeyStatus.INACTIVE
        assert access_keys.status(items[region]) is expected
    merged = {
        join(join(items[a], items[b]), items[c]).encode()
        for a, b, c in itertools.permutations(REGIONS)
    }
    assert len(merged) == 1


def test_a_deleted_key_has_no_secret_and_no_second_life() -> None:
    eu, us = writers()["eu"], writers()["us"]
    item = created()
    deleted = access_keys.delete(item, eu)
    assert b"sealed" not in deleted.encode()
    for revived in (
        access_keys.activate(deleted, us),
        access_keys.create(deleted, us, Role.ADMIN, "sealed"),
        join(deleted, access_keys.activate(item, us)),
        # It was deleted where nobody had heard of it yet.
        join(access_keys.delete(Item(ACCESS_KEY, KEY), us), item),
    ):
        assert access_keys.status(revived) is None


def test_no_conflict_repeats_a_sealed_secret() -> None:
    item = created()
    other = access_keys.delete(Item(ACCESS_KEY, KEY), writers()["us"])
    assert conflicts(item, other) == []


def test_two_grants_are_none() -> None:
    both = join(created(Role.READ_ONLY), created(Role.ADMIN, writers()["us"]))
    assert access_keys.grant(both) is None
    view = View()
    view.apply(both)
    assert view.policies(KEY) == ()


# Roles

MAY = {
    Role.ADMIN: {
        *("connect", "publish", "retain", "receive", "subscribe", "provision", "make"),
        *("read", "change"),
    },
    Role.OPERATOR: {
        *("connect", "publish", "receive", "subscribe", "provision", "make", "read", "change"),
    },
    Role.READ_ONLY: {"connect", "receive", "subscribe", "read"},
    Role.PROVISIONER: {"connect", "provision", "make"},
}
ASKED = {
    "connect": [("iot:Connect", "client/any")],
    "publish": [("iot:Publish", "topic/a/b"), ("iot:Publish", "topic/$aws/things/a/shadow")],
    "retain": [("iot:RetainPublish", "topic/a/b")],
    "receive": [("iot:Receive", "topic/a/b")],
    "subscribe": [("iot:Subscribe", "topicfilter/#")],
    "provision": [
        ("iot:Publish", "topic/$aws/certificates/create/json"),
        ("iot:Publish", "topic/$aws/provisioning-templates/t/provision/json"),
    ],
    "make": [
        ("iot:CreateThing", "*"),
        ("iot:CreateKeysAndCertificate", "*"),
        ("iot:AttachThingPrincipal", "*"),
        ("iot:AttachPolicy", "*"),
    ],
    "read": [("iot:GetThingShadow", "thing/a"), ("iot:ListThings", "*"), ("iot:SearchIndex", "*")],
    "change": [
        ("iot:CreatePolicy", "*"),
        ("iot:DeleteThing", "*"),
        ("iot:UpdateCertificate", "*"),
        ("iot:UpdateThingShadow", "*"),
        ("iot:DetachPolicy", "*"),
    ],
}
PROVISIONER_TOO = [
    ("iot:Subscribe", "topicfilter/$aws/certificates/create/json/accepted"),
    ("iot:Receive", "topic/$aws/provisioning-templates/t/provision/json/rejected"),
]


def allows(view: View, action: str, resource: str) -> bool:
    permissions = Permissions("000000000000", frozenset({"eu", "us"}), view)
    return permissions.of(KEY, "any", "127.0.0.1").allows(action, resource).allowed


@pytest.mark.parametrize("role", Role)
def test_a_role_may_do_what_it_is_for_and_no_more(role: Role) -> None:
    view = View()
    change = view.apply(created(role))
    assert view.concerned([change]).principals == (KEY,)
    for what, asked in ASKED.items():
        assert [allows(view, *each) for each in asked] == [what in MAY[role]] * len(asked), what
    for each in PROVISIONER_TOO:
        assert allows(view, *each)


READS = ("Describe", "Get", "List", "Search", "Test", "Validate")


@pytest.mark.parametrize("role", Role)
def test_a_role_holds_for_every_operation_of_the_registry(role: Role) -> None:
    view = View()
    view.apply(created(role))
    allowed = {name for name in REGISTRY if allows(view, f"iot:{name}", "*")}
    assert "DescribeEndpoint" in allowed
    reading = {name for name in REGISTRY if name.startswith(READS)}
    match role:
        case Role.READ_ONLY:
            assert allowed == reading
        case Role.PROVISIONER:
            # What takes something away is not for who makes devices.
            taking = ("Delete", "Detach", "Update", "Set", "Cancel", "Remove", "Deprecate")
            assert not [name for name in allowed if name.startswith(taking)]
        case _:
            assert allowed == REGISTRY


def test_a_role_of_a_later_release_may_do_nothing() -> None:
    view, later = View(), created()
    raw = later.encode().replace(b'"admin"', b'"auditor"')
    view.apply(decode(raw))
    assert view.refusal(KEY) == ""
    assert not allows(view, "iot:Connect", "client/any")


# Who is let in


def test_a_principal_is_a_certificate_or_an_access_key() -> None:
    view, writer = View(), writers()["eu"]
    certificate = "0f" * 32
    assert view.refusal(certificate) == "the certificate is unknown"
    assert view.refusal("") == "the certificate is unknown"
    assert view.refusal(KEY) == "the access key is unknown"
    pending = registry.register_certificate(
        Item(registry.CERTIFICATE, certificate), writer, "pem", active=True
    )
    view.apply(pending)
    assert view.refusal(certificate) == ""
    view.apply(registry.revoke(pending, writer))
    assert view.refusal(certificate) == "the certificate is REVOKED"
    item = created()
    view.apply(item)
    assert view.refusal(KEY) == ""
    view.apply(access_keys.deactivate(item, writer))
    assert view.refusal(KEY) == "the access key is Inactive"
    view.apply(access_keys.delete(item, writer))
    assert view.refusal(KEY) == "the access key is unknown"


def test_no_text_is_a_certificate_and_an_access_key() -> None:
    assert access_keys.is_id(KEY)
    for other in ("0f" * 32, KEY.lower(), KEY + "A", KEY[:-1], KEY + "\n", ""):
        assert not access_keys.is_id(other)
