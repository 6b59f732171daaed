"""A view says the same whichever versions of the items its region's log still had."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from logged_items import LoggedItems

from isthmus.core import policies, registry
from isthmus.core.item import Item, Write, join
from isthmus.core.registry import CertificateStatus
from isthmus.core.stamp import StampClock
from isthmus.core.view import AttachedPolicy, Concerned, View

PRINCIPALS = ("c" * 64, "d" * 64)
POLICIES = ("p", "q:1")
THINGS = ("t", "u:v")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("register", "deactivate", "activate", "revoke", "delete-certificate"),
                *("put-policy", "version", "delete-policy", "put-thing", "delete-thing"),
                *("attach-policy", "attach-thing", "detach-policy", "detach-thing", "contest"),
            ]
        ),
        st.integers(0, 1),
        st.integers(0, 1),
    ),
    max_size=25,
)


class Region(LoggedItems):
    """One whose items are attached to each other, step by step."""

    def step(self, what: str, one: int, other: int) -> None:
        principal = PRINCIPALS[one]
        certificate = self.get(registry.CERTIFICATE, principal)
        kind = registry.THING if what.endswith("thing") else registry.POLICY
        target = self.get(kind, (THINGS if kind == registry.THING else POLICIES)[other])
        version = policies.version_key(target.key, 1, f"document-{one}")
        key = registry.attachment_key(f"{kind}:{target.key}", principal)
        attachment = self.get(registry.ATTACHMENT, key)
        match what:
            case "register":
                self.put(registry.register_certificate(certificate, self.writer, "x", active=True))
            case "deactivate":
                self.put(registry.deactivate(certificate, self.writer))
            case "activate":
                self.put(registry.activate(certificate, self.writer))
            case "revoke":
                self.put(registry.revoke(certificate, self.writer))
            case "delete-certificate":
                self.put(registry.delete(certificate, self.writer))
            case "put-policy":
                self.put(policies.put(target, self.writer, version))
            case "version":
                item = self.get(registry.POLICY_VERSION, version)
                self.put(policies.put_version(item, self.writer, f"document-{one}"))
            case "put-thing":
                self.put(registry.put_thing(target, self.writer, {"n": str(one)}))
            case "delete-policy" | "delete-thing":
                self.put(registry.delete(target, self.writer))
            case "attach-policy" | "attach-thing":
                self.put(registry.attach(attachment, self.writer, target, certificate))
            case "detach-policy" | "detach-thing":
                self.put(registry.detach(attachment, self.writer))
            case "contest":
                here = registry.attach(attachment, self.writer, target, certificate)
                there = registry.detach(attachment, self.elsewhere)
                self.put(join(here, there))


def region(steps) -> Region:
    made = Region()
    for step in steps:
        made.step(*step)
    return made


def rights(view: View, principal: str):
    return view.status(principal), view.policies(principal), view.things(principal)


def everything(view: View):
    return [rights(view, each) for each in PRINCIPALS], view.digest, view.digests(), len(view)


def fed(items) -> View:
    view = View()
    for item in items:
        view.apply(item)
    return view


@given(STEPS, st.data())
def test_any_order_that_a_log_can_deliver_ends_in_the_same_view(steps, data):
    made = region(steps)
    # The log is compacted: of each item it delivers some versions, in order, and the newest.
    queues = {}
    for item in made.log:
        queues.setdefault((item.kind, item.key), []).append(item)
    for name, versions in queues.items():
        queues[name] = [each for each in versions[:-1] if data.draw(st.booleans())] + versions[-1:]
    delivered = []
    while queues:
        name = data.draw(st.sampled_from(sorted(queues)))
        delivered.append(queues[name].pop(0))
        if not queues[name]:
            del queues[name]
    assert everything(fed(delivered)) == everything(fed(made.items.values()))


@given(STEPS, STEPS)
def test_digests_are_equal_if_and_only_if_the_items_are(one, other):
    here, there = region(one), region(other)
    bytes_here = {name: item.encode() for name, item in here.items.items()}
    bytes_there = {name: item.encode() for name, item in there.items.items()}
    first, second = fed(here.log), fed(there.log)
    assert (first.digest == second.digest) == (bytes_here == bytes_there)
    assert (first.digests() == second.digests()) == (bytes_here == bytes_there)


@given(STEPS)
@settings(max_examples=300)
def test_whose_rights_changed_is_said_whenever_an_item_is_applied(steps):
    view = View()
    for item in region(steps).log:
        before = {each: rights(view, each) for each in PRINCIPALS}
        said = view.concerned([view.apply(item)])
        changed = {each for each in PRINCIPALS if rights(view, each) != before[each]}
        assert changed <= set(said.principals)


@given(STEPS, st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_that_is_so_in_any_order_of_the_items_too(steps, chance):
    items = list(region(steps).items.values())
    chance.shuffle(items)
    view = View()
    for item in items:
        before = {each: rights(view, each) for each in PRINCIPALS}
        said = view.concerned([view.apply(item)])
        changed = {each for each in PRINCIPALS if rights(view, each) != before[each]}
        assert changed <= set(said.principals)


def complete() -> Region:
    return region(
        [
            ("register", 0, 0),
            ("put-policy", 0, 0),
            ("version", 0, 0),
            ("put-thing", 0, 0),
            ("attach-policy", 0, 0),
            ("attach-thing", 0, 0),
        ]
    )


def test_a_principal_has_its_status_its_policies_and_its_things():
    view = fed(complete().log)
    assert view.status(PRINCIPALS[0]) is CertificateStatus.ACTIVE
    assert view.policies(PRINCIPALS[0]) == (AttachedPolicy("p", ("document-0",), False),)
    assert view.things(PRINCIPALS[0]) == ("t",)
    assert rights(view, PRINCIPALS[1]) == (None, (), ())


def test_names_with_colons_are_told_apart():
    made = region(
        [
            ("register", 0, 0),
            ("put-policy", 0, 1),
            ("put-thing", 0, 1),
            ("attach-policy", 0, 1),
            ("attach-thing", 0, 1),
        ]
    )
    view = fed(made.log)
    assert view.things(PRINCIPALS[0]) == ("u:v",)
    assert [each.name for each in view.policies(PRINCIPALS[0])] == ["q:1"]
    made.step("version", 0, 1)
    assert view.concerned([view.apply(made.log[-1])]) == Concerned((PRINCIPALS[0],), False)


def test_a_version_that_is_not_here_yet_reads_as_nothing_and_not_as_absent():
    made = complete()
    view = fed(each for each in made.log if each.kind != registry.POLICY_VERSION)
    assert view.policies(PRINCIPALS[0]) == (AttachedPolicy("p", ("",), False),)


def test_all_defaults_that_were_set_at_once_count():
    made = complete()
    policy = made.get(registry.POLICY, "p")
    there = policies.put(policy, made.elsewhere, policies.version_key("p", 1, "document-1"))
    here = policies.put(policy, made.writer, policies.version_key("p", 1, "document-0"))
    made.put(join(here, there))
    made.step("version", 1, 0)
    (found,) = fed(made.log).policies(PRINCIPALS[0])
    assert sorted(found.documents) == ["document-0", "document-1"]


def test_a_contested_attachment_is_told_of_a_policy_and_not_counted_for_a_thing():
    made = complete()
    for kind, name in ((registry.POLICY, "p"), (registry.THING, "t")):
        key = registry.attachment_key(f"{kind}:{name}", PRINCIPALS[0])
        item, target = made.get(registry.ATTACHMENT, key), made.get(kind, name)
        certificate = made.get(registry.CERTIFICATE, PRINCIPALS[0])
        here = registry.attach(item, made.writer, target, certificate)
        made.put(join(here, registry.detach(item, made.elsewhere)))
    view = fed(made.log)
    assert [each.contested for each in view.policies(PRINCIPALS[0])] == [True]
    assert view.things(PRINCIPALS[0]) == ()


def test_tombstones_and_kinds_of_a_later_release_are_in_the_digest():
    clock = StampClock("eu", "i")
    tombstone = Write(Item("thing", "gone"), clock, 1).delete().done()
    later = Write(Item("later", "x"), clock, 1).set("a", 1).done()
    view = View()
    assert view.concerned([view.apply(later)]) == Concerned((), False)
    alone = view.digest
    view.apply(tombstone)
    assert view.digest != alone
    assert set(view.digests()) == {"thing/gone", "later/x"}
