"""To which thing a principal's connection belongs, and what is known of that thing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logged_items import LoggedItems

from isthmus.core import registry, thing_types, things
from isthmus.core.item import join
from isthmus.core.permissions import Permissions
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, THING
from isthmus.core.thing_types import THING_TYPE
from isthmus.core.view import View

PRINCIPAL = "c" * 64
THINGS = ("t", "u", "v")


class Region(LoggedItems):
    """One certificate, and things that it is attached to."""

    def __init__(self):
        super().__init__()
        certificate = self.get(CERTIFICATE, PRINCIPAL)
        self.put(registry.register_certificate(certificate, self.writer, "pem", active=True))
        for name in THINGS:
            self.thing(name)

    def thing(self, name):
        self.put(registry.put_thing(self.get(THING, name), self.writer, {}))

    def attachment(self, name):
        return self.get(ATTACHMENT, registry.attachment_key(f"thing:{name}", PRINCIPAL))

    def attach(self, name, *, exclusive=False, writer=None):
        ends = self.get(THING, name), self.get(CERTIFICATE, PRINCIPAL)
        item = self.attachment(name)
        self.put(registry.attach(item, writer or self.writer, *ends, exclusive=exclusive))

    def detach(self, name):
        self.put(registry.detach(self.attachment(name), self.writer))

    def contest(self, name):
        before = self.attachment(name)
        self.attach(name)
        self.put(join(self.attachment(name), registry.detach(before, self.elsewhere)))

    def delete(self, name):
        self.put(registry.delete(self.get(THING, name), self.writer))

    def view(self):
        view = View()
        for item in self.log:
            view.apply(item)
        return view

    def associated(self, client_id):
        return self.view().associated(PRINCIPAL, client_id)


def test_a_client_is_the_thing_of_its_name_or_the_one_that_its_certificate_has_alone():
    region = Region()
    assert region.associated("t") is None
    region.attach("t")
    assert [region.associated(each) for each in ("t", "other", None)] == ["t", None, None]
    region.detach("t")
    region.attach("t", exclusive=True)
    assert [region.associated(each) for each in ("t", "other", None)] == ["t", "t", "t"]


def test_of_two_that_regions_made_exclusive_at_once_none_is_the_only_one():
    region = Region()
    region.attach("t", exclusive=True)
    region.attach("u", exclusive=True, writer=region.elsewhere)
    assert region.associated("other") is None
    assert [region.associated(each) for each in ("t", "u")] == ["t", "u"]


@pytest.mark.parametrize("end", ["detach", "contest", "delete"])
def test_what_does_not_hold_associates_nothing(end):
    region = Region()
    region.attach("t", exclusive=True)
    getattr(region, end)("t")
    assert region.associated("t") is None
    assert region.associated("other") is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["attach", "attach-alone", "detach", "contest", "delete", "thing"]),
        st.sampled_from(THINGS),
    ),
    max_size=12,
)


@given(STEPS)
@settings(max_examples=200)
def test_the_association_follows_the_attachments_and_every_change_is_said(steps):
    region = Region()
    view = region.view()
    for what, name in steps:
        known = len(region.log)
        if what == "attach-alone":
            region.attach(name, exclusive=True)
        elif what != "delete" or region.get(THING, name).lives:
            getattr(region, what)(name)
        for item in region.log[known:]:
            before = {each: view.associated(PRINCIPAL, each) for each in (*THINGS, "other", None)}
            said = view.concerned([view.apply(item)])
            after = {each: view.associated(PRINCIPAL, each) for each in before}
            assert before == after or PRINCIPAL in said.principals
        held = view.things(PRINCIPAL)
        for each in THINGS:
            assert (view.associated(PRINCIPAL, each) == each) is (each in held)
        alone = view.associated(PRINCIPAL, "other")
        assert alone is None or held == (alone,)
        assert alone == view.associated(PRINCIPAL, None)


def test_type_and_attributes_are_those_of_the_thing_as_it_is_now():
    region = Region()
    region.attach("t", exclusive=True)
    kind = thing_types.put(region.get(THING_TYPE, "car"), region.writer, {})
    region.put(kind)
    item = region.get(THING, "t")
    region.put(things.put(item, region.writer, {"a": "1"}, {things.TYPE: kind}))

    def context():
        return Permissions("1", frozenset({"eu"}), region.view()).context(PRINCIPAL, "x", "::1")

    found = context()
    assert (found.thing_name, found.thing_type, found.attributes) == ("t", "car", {"a": "1"})
    region.put(registry.delete(kind, region.writer))
    assert context().thing_type is None


def test_names_are_read_from_the_registered_certificate_once():
    region, read = Region(), []

    def names_of(pem):
        read.append(pem)
        return {"iot:Certificate.SerialNumber": ["7"]}

    permissions = Permissions("1", frozenset({"eu"}), region.view(), names_of=names_of)
    for _ in range(2):
        found = permissions.context(PRINCIPAL, "x", "::1").certificate_names()
        assert found == {"iot:Certificate.SerialNumber": ["7"]}
    assert permissions.context("d" * 64, "x", "::1").certificate_names() == {}
    assert read == ["pem"]
