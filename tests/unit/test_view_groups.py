"""The policies of groups count for the things in them, and who is here is asked as that changes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logged_items import LoggedItems

from isthmus.core import memberships, policies, registry, suspensions, thing_groups
from isthmus.core.item import Item, join
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.permissions import Permissions
from isthmus.core.rechecks import Rechecks
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, POLICY, POLICY_VERSION, THING
from isthmus.core.suspensions import SUSPENSION
from isthmus.core.thing_groups import THING_GROUP
from isthmus.core.view import NAMED_MAX, View

PRINCIPALS = ("c" * 64, "d" * 64)
THINGS = ("t", "u:v")
#: Each is created in the one before it.
GROUPS = ("g", "h:i", "j")
DOCUMENT = (
    '{"Version":"2012-10-17","Statement":'
    '{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:eu:1:topic/p"}}'
)
WHAT = [
    *("certificate", "thing", "group", "policy", "delete-thing", "delete-group", "delete-policy"),
    *("attach-thing", "detach-thing", "attach-group", "detach-group", "contest", "enter", "leave"),
    *("suspend-thing", "suspend-group", "resume-thing", "resume-group"),
]
STEPS = st.lists(
    st.tuples(st.sampled_from(WHAT), st.integers(0, 1), st.integers(0, 2)), max_size=30
)


class Region(LoggedItems):
    """One whose items are attached to each other, step by step."""

    def attachment(self, target: Item, principal: Item) -> Item:
        text = registry.principal_text(principal.kind, principal.key)
        return self.get(ATTACHMENT, registry.attachment_key(f"{target.kind}:{target.key}", text))

    def step(self, what: str, one: int, other: int) -> None:
        certificate = self.get(CERTIFICATE, PRINCIPALS[one])
        thing, policy = self.get(THING, THINGS[one]), self.get(POLICY, "p")
        group, held = self.get(THING_GROUP, GROUPS[other]), self.get(MEMBERSHIPS, THINGS[one])
        of_thing = self.attachment(thing, self.get(CERTIFICATE, PRINCIPALS[other % 2]))
        of_group, writer = self.attachment(policy, group), self.writer
        suspended = group if what.endswith("group") else thing
        suspension = self.get(SUSPENSION, suspensions.key(suspended.kind, suspended.key))
        match what:
            case "certificate":
                self.put(registry.register_certificate(certificate, writer, "x", active=True))
            case "thing":
                self.put(registry.put_thing(thing, writer, {}))
            case "group" if not group.lives:
                parent = self.get(THING_GROUP, GROUPS[other - 1]) if other else None
                parent = parent if parent and parent.lives else None
                self.put(thing_groups.create(group, writer, {}, {}, parent))
            case "policy":
                key = policies.version_key("p", 1, DOCUMENT)
                version = self.get(POLICY_VERSION, key)
                self.put(policies.keep_version(version, writer, DOCUMENT))
                self.put(policies.put(policy, writer, key))
            case "delete-thing" | "delete-policy":
                self.put(registry.delete(thing if what == "delete-thing" else policy, writer))
            case "delete-group":
                self.put(thing_groups.delete(group, writer))
            case "attach-thing":
                end = self.get(CERTIFICATE, PRINCIPALS[other % 2])
                self.put(registry.attach(of_thing, writer, thing, end))
            case "detach-thing":
                self.put(registry.detach(of_thing, writer))
            case "attach-group":
                self.put(registry.attach(of_group, writer, policy, group))
            case "detach-group":
                self.put(registry.detach(of_group, writer))
            case "contest":
                here = registry.attach(of_group, writer, policy, group)
                self.put(join(here, registry.detach(of_group, self.elsewhere)))
            case "enter":
                self.put(memberships.changed(held, writer, thing, add=[group]))
            case "leave":
                self.put(memberships.changed(held, writer, thing, remove=[group.key]))
            case "suspend-thing" | "suspend-group":
                self.put(suspensions.suspend(suspension, writer, suspended, "why"))
            case "resume-thing" | "resume-group":
                self.put(suspensions.resume(suspension, writer))


def region(*steps) -> Region:
    made = Region()
    for step in steps:
        made.step(*step)
    return made


def fed(items) -> View:
    view = View()
    for item in items:
        view.apply(item)
    return view


def rights(view: View, principal: str):
    things = view.things(principal)
    of_things = [view.policies(principal, each) for each in things]
    return view.policies(principal), things, of_things, view.refusal(principal)


class Gateway:
    """Two clients of each principal, who come and go, and what each was last told it may do."""

    def __init__(self) -> None:
        self.view = View()
        self.rechecks: Rechecks[tuple[str, int]] = Rechecks()
        self.told: dict[tuple[str, int], object] = {}

    def comes_or_goes(self, client: tuple[str, int]) -> None:
        if self.told.pop(client, None) is None:
            self.rechecks.came(client[0], client)
            self.told[client] = rights(self.view, client[0])
        else:
            self.rechecks.went(client[0], client)

    def apply(self, items: list[Item]) -> None:
        changes = [self.view.apply(each) for each in items]
        self.rechecks.changed(self.view.concerned(changes))

    def turn(self) -> None:
        if self.rechecks:
            client = self.rechecks.next()
            assert client in self.told
            self.told[client] = rights(self.view, client[0])

    def sweep(self) -> None:
        for _ in self.told:
            self.turn()
        assert not self.rechecks
        assert self.told == {each: rights(self.view, each[0]) for each in self.told}


CLIENTS = [(principal, number) for principal in PRINCIPALS for number in (0, 1)]


@pytest.mark.parametrize("named_max", [0, 1, NAMED_MAX])
@given(STEPS, st.randoms(use_true_random=False), st.data())
@settings(max_examples=70)
def test_after_the_sweep_everybody_has_been_asked_whose_answer_differs(
    named_max, steps, chance, data
):
    made = region(*complete(), *steps)
    shuffled = list(made.items.values())
    chance.shuffle(shuffled)
    for log in (made.log, shuffled):
        gateway = Gateway()
        for client in CLIENTS:
            gateway.comes_or_goes(client)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("isthmus.core.view.NAMED_MAX", named_max)
            while log:
                for client in data.draw(st.lists(st.sampled_from(CLIENTS), max_size=2)):
                    gateway.comes_or_goes(client)
                at_once = data.draw(st.integers(1, 10))
                gateway.apply(log[:at_once])
                log = log[at_once:]
                if data.draw(st.booleans()):
                    gateway.sweep()
                else:
                    gateway.turn()
            gateway.sweep()


@given(STEPS, st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_any_order_of_the_items_ends_in_the_same_rights(steps, chance):
    made = region(*complete(), *steps)
    shuffled = list(made.items.values())
    chance.shuffle(shuffled)
    for log in (made.log, shuffled):
        view = View()
        for item in log:
            view.apply(item)
            # What was asked for meanwhile is forgotten where it changed.
            for each in PRINCIPALS:
                rights(view, each)
        for each in PRINCIPALS:
            assert rights(view, each) == rights(fed(made.items.values()), each)


def complete() -> list[tuple[str, int, int]]:
    return [
        *(("certificate", 0, 0), ("thing", 0, 0), ("attach-thing", 0, 0)),
        *(("group", 0, 0), ("group", 0, 1), ("enter", 0, 1)),
        *(("policy", 0, 0), ("attach-group", 0, 0)),
    ]


def allowed(view: View, client_id: str) -> bool:
    permissions = Permissions("1", frozenset({"eu"}), view)
    authorizer = permissions.of(PRINCIPALS[0], client_id, "::1")
    return authorizer.allows("iot:Publish", "topic/p").allowed


def test_a_policy_of_a_group_counts_for_things_in_it_and_below_it():
    view = fed(region(*complete()).log)
    assert allowed(view, "t")
    assert not allowed(view, "anybody")
    assert view.policies(PRINCIPALS[0]) == ()
    assert [each.key for each in view.groups("t")] == ["g", "h:i"]
    assert view.groups("nothing") == []


@pytest.mark.parametrize(
    "ends",
    [
        ("leave", 0, 1),
        ("delete-group", 0, 0),
        ("delete-group", 0, 1),
        ("delete-policy", 0, 0),
        ("delete-thing", 0, 0),
        ("detach-group", 0, 0),
        ("detach-thing", 0, 0),
        ("contest", 0, 0),
    ],
)
def test_it_counts_no_longer_when_anything_between_them_ends(ends):
    view = fed(region(*complete(), ends).log)
    assert not allowed(view, "t")


def test_a_group_that_is_created_again_has_no_policy_and_no_things():
    view = fed(region(*complete(), ("delete-group", 0, 0), ("group", 0, 0)).log)
    assert not allowed(view, "t")
    assert [each.key for each in view.groups("t")] == ["h:i"]


def test_a_group_that_is_created_again_has_policies_of_its_own_only_for_its_own_things():
    again = [("delete-group", 0, 1), ("group", 0, 1), ("attach-group", 0, 1)]
    made = region(*complete(), *again)
    assert not allowed(fed(made.log), "t")
    made.step("enter", 0, 1)
    assert allowed(fed(made.log), "t")


def test_a_group_with_the_id_of_a_certificate_is_not_that_certificate():
    made = region(("certificate", 0, 0), ("policy", 0, 0))
    group = thing_groups.create(Item(THING_GROUP, PRINCIPALS[0]), made.writer, {}, {}, None)
    made.put(group)
    policy = made.get(POLICY, "p")
    made.put(registry.attach(made.attachment(policy, group), made.writer, policy, group))
    assert fed(made.log).policies(PRINCIPALS[0]) == ()
