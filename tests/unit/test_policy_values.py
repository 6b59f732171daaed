"""Values of devices in the policies that templates make: they are text there, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.core import provisioning, provisioning_plan
from isthmus.core.pattern import Wildcard, wildcards
from isthmus.errors import InputError

SERIAL = {"Ref": "Serial"}
RESOURCE = "arn:aws:iot:*:1:topic/site/${Serial}"
TEXT = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "iot:Publish", "Resource": RESOURCE}],
    }
)


def a_document(resource):
    statement = {"Effect": "Allow", "Action": "iot:Publish", "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement]}


#: Ways to put a value into a policy, as data and as text.
DOCUMENTS = {
    "sub": a_document({"Fn::Sub": RESOURCE}),
    "join": a_document({"Fn::Join": ["/", ["arn:aws:iot:*:1:topic/site", SERIAL]]}),
    "select": a_document(
        {
            "Fn::Join": [
                "/",
                [
                    "arn:aws:iot:*:1:topic/site",
                    {"Fn::Select": [0, {"Fn::Split": ["|", SERIAL]}]},
                ],
            ]
        }
    ),
    "behind a dollar": a_document({"Fn::Sub": "arn:aws:iot:*:1:topic/site/$${Serial}"}),
    "text": {"Fn::Sub": TEXT},
}
WAYS = pytest.mark.parametrize("way", DOCUMENTS)


def rendered(way, value, **declared):
    """The statements of the policy that a device with this serial number gets."""
    template = {
        "Parameters": {"Serial": {"Type": "String", **declared}},
        "Resources": {
            "c": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": "a"}},
            "p": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": DOCUMENTS[way]}},
        },
    }
    parameters = {} if value is None else {"Serial": value}
    plan = provisioning_plan.render(provisioning.read(json.dumps(template)), parameters)
    return json.loads(plan.policies[0].document)["Statement"]


@WAYS
@given(value=st.text() | st.text(alphabet='*?+#${}"\\ab,:[]/iot:'))
@example(value="*")
@example(value="+")
@example(value="{iot:ClientId}")
@example(value='x"},{"Effect":"Allow","Action":"*","Resource":"*')
def test_a_value_is_one_text_without_a_meaning_or_refused(way, value):
    try:
        (statement,) = rendered(way, value)
    except InputError:
        return
    resource = statement.pop("Resource")
    assert statement == {"Effect": "Allow", "Action": "iot:Publish"}
    # The one that the template has.
    assert [each for each in wildcards(resource) if isinstance(each, Wildcard)] == [Wildcard.ANY]
    assert not any(each in resource for each in ("${", "+", "#"))


@WAYS
@pytest.mark.parametrize("value", ["", "7", "a/b", "lamp-1.5 (kitchen)", "Ä=ö;,:@_~!'&%"])
def test_what_is_plain_is_taken_as_it_is(way, value):
    (statement,) = rendered(way, value)
    assert statement["Resource"].endswith(value)


@WAYS
@pytest.mark.parametrize("character", [*'*?+#${}"\\'])
def test_what_has_a_meaning_is_named_and_not_shown(way, character):
    with pytest.raises(InputError) as refused:
        rendered(way, f"secret{character}")
    assert f"the parameter 'Serial' has {character!r}" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_default_is_the_templates_own_word():
    (statement,) = rendered("sub", None, Default="*")
    assert statement["Resource"] == "arn:aws:iot:*:1:topic/site/*"
    with pytest.raises(InputError):
        rendered("sub", "*", Default="7")
