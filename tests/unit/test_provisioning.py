"""Provisioning templates: what is read, what is refused and where, and what a device gets."""

from __future__ import annotations

import contextlib
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core import provisioning, provisioning_plan
from isthmus.core.provisioning import BODY_CHARACTERS_MAX, Override, Source
from isthmus.core.provisioning_plan import CertificatePlan, Plan, PolicyPlan, ThingPlan
from isthmus.core.registry import CertificateStatus
from isthmus.core.template_values import MADE_MAX
from isthmus.errors import InputError

POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}],
}
THING = {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "Name"}}}
CERTIFICATE = {
    "Type": "AWS::IoT::Certificate",
    "Properties": {"CertificateSigningRequest": {"Ref": "CSR"}},
}
PARAMETERS = {"Name": {"Type": "String"}, "CSR": {"Type": "String", "Default": "csr"}}


def policy(**properties):
    return {"Type": "AWS::IoT::Policy", "Properties": properties}


def document(**sections):
    return {"Parameters": PARAMETERS, "Resources": {"thing": THING}} | sections


def read(**sections):
    return provisioning.read(json.dumps(document(**sections)))


def render(parameters=None, **sections):
    return provisioning_plan.render(read(**sections), {"Name": "lamp"} | (parameters or {}))


def value(expression, parameters=None, **sections):
    """What an expression gives."""
    plan = render(parameters, DeviceConfiguration={"it": expression}, **sections)
    return plan.configuration["it"]


def refusal(**sections):
    with pytest.raises(InputError) as refused:
        read(**sections)
    return str(refused.value)


def thing(overrides=None, **properties):
    said = {"ThingName": "lamp"} | properties
    made = {"Type": "AWS::IoT::Thing", "Properties": said}
    return made if overrides is None else made | {"OverrideSettings": overrides}


def certificate(overrides=None, **properties):
    made = {"Type": "AWS::IoT::Certificate", "Properties": properties}
    return made if overrides is None else made | {"OverrideSettings": overrides}


# What a device gets


def test_a_template_as_aws_documents_it_gives_all_that_it_says():
    resources = {
        "thing": thing(
            {"AttributePayload": "MERGE", "ThingTypeName": "REPLACE", "ThingGroups": "DO_NOTHING"},
            AttributePayload={"version": "v1", "serialNumber": {"Ref": "Serial"}},
            ThingTypeName="lightBulb-versionA",
            ThingGroups=["v1-lightbulbs", {"Ref": "Location"}, "v1-lightbulbs"],
            BillingGroup="bill",
        ),
        "certificate": certificate(
            {"Status": "FAIL"}, CertificatePem="pem", CACertificatePem="ca", Status="Inactive"
        ),
        "named": policy(PolicyName={"Fn::Join": ["-", ["p", {"Ref": "Location"}]]}),
        "own": policy(PolicyDocument=POLICY),
    }
    parameters = {
        "Serial": {"Type": "String"},
        "Location": {"Type": "String", "Default": "WA"},
    }
    mappings = {"Urls": {"WA": {"Url": "https://example.com"}}}
    configuration = {
        "Fallback": "x",
        "Url": {"Fn::FindInMap": ["Urls", {"Ref": "Location"}, "Url"]},
        "Data": [1, None, {"deep": {"Ref": "Serial"}}],
    }
    plan = render(
        {"Serial": "7", "Other": "ignored"},
        Parameters=parameters,
        Mappings=mappings,
        Resources=resources,
        DeviceConfiguration=configuration,
    )
    text = json.dumps(POLICY, separators=(",", ":"), sort_keys=True)
    own = plan.policies[1]
    assert (own.document, len(own.name)) == (text, 64)
    assert plan == Plan(
        ThingPlan(
            "thing",
            "lamp",
            {"version": "v1", "serialNumber": "7"},
            "lightBulb-versionA",
            ("v1-lightbulbs", "WA"),
            "bill",
            {
                "AttributePayload": Override.MERGE,
                "ThingTypeName": Override.REPLACE,
                "ThingGroups": Override.DO_NOTHING,
            },
        ),
        CertificatePlan(
            "certificate", Source.PEM, "pem", "ca", CertificateStatus.INACTIVE, Override.FAIL
        ),
        (PolicyPlan("named", "p-WA", None), own),
        {
            "Fallback": "x",
            "Url": "https://example.com",
            "Data": [1, None, {"deep": "7"}],
        },
    )


def test_what_is_not_said_is_not_in_the_plan():
    plan = render()
    assert plan == Plan(ThingPlan("thing", "lamp", None, None, None, None, {}), None, (), {})


def test_a_certificate_is_active_unless_it_is_said_otherwise():
    plan = render(Resources={"c": CERTIFICATE})
    assert plan.thing is None
    assert plan.certificate == CertificatePlan(
        "c", Source.REQUEST, "csr", None, CertificateStatus.ACTIVE, None
    )


@pytest.mark.parametrize("spelled", ["CertificateId", "CertificateID"])
def test_a_certificate_is_named_by_its_id_as_the_device_shows_it(spelled):
    ref = {"Ref": "AWS::IoT::Certificate::Id"}
    plan = render(
        {"AWS::IoT::Certificate::Id": "AB" * 32}, Resources={"c": certificate(**{spelled: ref})}
    )
    assert (plan.certificate.source, plan.certificate.value) == (Source.ID, "ab" * 32)


def test_one_document_is_one_policy_for_all_devices_and_another_is_another():
    def name(given):
        resources = {"c": CERTIFICATE, "p": policy(PolicyDocument=given)}
        return render(Resources=resources).policies[0].name

    other = POLICY | {"Id": "x"}
    assert name(POLICY) == name(dict(reversed(POLICY.items()))) != name(other)
    assert name(json.dumps(POLICY)) == name({"Fn::Join": ["", [json.dumps(POLICY)]]})


def test_a_parameter_must_be_given_unless_it_has_a_default():
    template = read()
    with pytest.raises(InputError, match=r"^Parameters\.Name: "):
        provisioning_plan.render(template, {})
    given = {"Name": "a", "CSR": "other"}
    assert provisioning_plan.render(template, given).thing.name == "a"


# Functions


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("plain", "plain"),
        ({"Ref": "Name"}, "a,b"),
        ({"Fn::Join": ["-", ["x", {"Ref": "Name"}, "y"]]}, "x-a,b-y"),
        ({"Fn::Join": ["", {"Fn::Split": [",", {"Ref": "Name"}]}]}, "ab"),
        ({"Fn::Select": [1, {"Fn::Split": [",", {"Ref": "Name"}]}]}, "b"),
        ({"Fn::Select": ["0", ["x", "y"]]}, "x"),
        ({"Fn::Select": [{"Ref": "CSR"}, ["x", "y"]]}, "y"),
        ({"Fn::FindInMap": ["M", "k", "n"]}, "v"),
        ({"Fn::Sub": "a ${Name} ${!Name} $ {"}, "a a,b ${Name} $ {"),
        ({"Fn::Sub": ["${x}${Name}${x}", {"x": {"Ref": "CSR"}}]}, "1a,b1"),
        # Not one function, but data.
        ({"Ref": "Name", "more": 1}, {"Ref": "Name", "more": 1}),
    ],
)
def test_functions_give_what_aws_documents(expression, expected):
    mappings = {"M": {"k": {"n": "v"}}}
    assert value(expression, {"Name": "a,b", "CSR": "1"}, Mappings=mappings) == expected


@pytest.mark.parametrize(
    ("expression", "where"),
    [
        ({"Ref": "Other"}, "Ref"),
        ({"Ref": 1}, "Ref"),
        ({"Fn::None": []}, "Fn::None"),
        ({"Fn::Split": [",", "a"]}, "Fn::Split"),
        ({"Fn::Join": [","]}, "Fn::Join"),
        ({"Fn::Join": [{"Ref": "Name"}, []]}, "Fn::Join"),
        ({"Fn::Join": [",", "a"]}, "Fn::Join"),
        ({"Fn::Join": [",", ["a", {"Ref": "Other"}]]}, "Fn::Join[1].Ref"),
        ({"Fn::Join": [",", {"Fn::Split": ["", "a"]}]}, "Fn::Join.Fn::Split"),
        ({"Fn::Select": [True, ["a"]]}, "Fn::Select"),
        ({"Fn::Select": [2, ["a"]]}, "Fn::Select"),
        ({"Fn::Select": ["-1", ["a"]]}, "Fn::Select"),
        ({"Fn::FindInMap": ["M", "k", "other"]}, "Fn::FindInMap"),
        ({"Fn::FindInMap": ["M", "k"]}, "Fn::FindInMap"),
        ({"Fn::Sub": "${iot:ClientId}"}, "Fn::Sub"),
        ({"Fn::Sub": ["a", []]}, "Fn::Sub"),
        ({"Fn::Sub": {"Ref": "Name"}}, "Fn::Sub"),
    ],
)
def test_a_function_that_can_never_give_anything_is_refused_where_it_stands(expression, where):
    mappings = {"M": {"k": {"n": "v"}}}
    said = refusal(Mappings=mappings, DeviceConfiguration={"it": expression})
    assert said.startswith(f"DeviceConfiguration.it.{where}: ")


@pytest.mark.parametrize(
    "expression",
    [
        {"Fn::Select": [{"Ref": "Name"}, ["a"]]},
        {"Fn::Select": [5, {"Fn::Split": [",", "a"]}]},
        {"Fn::FindInMap": ["M", {"Ref": "Name"}, "n"]},
        {"Ref": "AWS::IoT::Certificate::Country"},
    ],
)
def test_what_only_the_parameters_make_wrong_is_refused_when_they_are_given(expression):
    with pytest.raises(InputError, match=r"^DeviceConfiguration\.it\."):
        value(expression, Mappings={"M": {"k": {"n": "v"}}})


def test_no_template_makes_much_more_than_it_is_given():
    twice = {"Ref": "Name"}
    for _ in range(10):
        twice = {"Fn::Sub": ["${x}${x}", {"x": twice}]}
    assert len(value(twice, {"Name": "a" * 20})) == 20 * 2**10
    with pytest.raises(InputError, match="characters"):
        value(twice, {"Name": "a" * 1000})
    with pytest.raises(InputError, match="characters"):
        value({"Fn::Join": ["x" * 5000, {"Fn::Split": [",", {"Ref": "Name"}]}]}, {"Name": "," * 60})
    with pytest.raises(InputError, match="characters"):
        value({"Ref": "Name"}, {"Name": "a" * MADE_MAX})


def test_what_is_too_much_is_not_made_first():
    expression = {"Fn::Join": ["x" * 5000, {"Fn::Split": [",", {"Ref": "Name"}]}]}
    template = read(DeviceConfiguration={"it": expression})
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="characters"):
            provisioning_plan.render(template, {"Name": "," * 10_000})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 50 * MADE_MAX


OVERRIDDEN = thing(
    {"AttributePayload": "MERGE", "ThingTypeName": "REPLACE", "ThingGroups": "REPLACE"},
    ThingGroups=["g"],
)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"t": THING}, {"CreateThing"}),
        ({"t": thing({"AttributePayload": "FAIL"})}, {"CreateThing"}),
        (
            {"t": OVERRIDDEN},
            {"CreateThing", "UpdateThing", "AddThingToThingGroup", "RemoveThingFromThingGroup"},
        ),
        (
            {"t": THING, "c": CERTIFICATE},
            {"CreateThing", "AttachThingPrincipal", "CreateCertificateFromCsr"},
        ),
        ({"c": certificate(CertificatePem="a")}, {"RegisterCertificate"}),
        (
            {"c": certificate({"Status": "REPLACE"}, CertificatePem="a")},
            {"RegisterCertificate", "UpdateCertificate"},
        ),
        ({"c": certificate(CertificateId="a")}, {"UpdateCertificate"}),
        ({"c": certificate({"Status": "DO_NOTHING"}, CertificateId="a")}, set()),
        (
            {"c": CERTIFICATE, "p": policy(PolicyName="p")},
            {"CreateCertificateFromCsr", "AttachPolicy"},
        ),
        (
            {"c": CERTIFICATE, "p": policy(PolicyDocument=POLICY)},
            {"CreateCertificateFromCsr", "AttachPolicy", "CreatePolicy"},
        ),
    ],
)
def test_a_template_says_which_operations_it_takes(resources, expected):
    assert read(Resources=resources).operations == expected


# What is refused


@pytest.mark.parametrize(
    ("sections", "where"),
    [
        ({"Other": 1}, "the template"),
        ({"Parameters": []}, "Parameters"),
        ({"Parameters": {"A": {}}}, "Parameters.A"),
        ({"Parameters": {"A": {"Type": "Number"}}}, "Parameters.A.Type"),
        ({"Parameters": {"A": {"Type": "String", "Default": 1}}}, "Parameters.A.Default"),
        ({"Parameters": {"A": {"Type": "String", "Default": None}}}, "Parameters.A.Default"),
        ({"Mappings": {"M": {"k": {"n": ["v"]}}}}, "Mappings.M.k.n"),
        ({"Mappings": {"M": {"k": "v"}}}, "Mappings.M.k"),
        ({"Resources": {}}, "Resources"),
        ({"Resources": {"a": thing(), "b": thing()}}, "Resources"),
        ({"Resources": {"a": CERTIFICATE, "b": CERTIFICATE}}, "Resources"),
        ({"Resources": {"a": thing(), "p": policy(PolicyName="p")}}, "Resources"),
        (
            {
                "Resources": {"a": CERTIFICATE}
                | {f"p{n}": policy(PolicyName="p") for n in range(11)}
            },
            "Resources",
        ),
        ({"Resources": {"a": {"Type": "AWS::IoT::Thing"}}}, "Resources.a"),
        ({"Resources": {"a": {"Type": ["x"], "Properties": {}}}}, "Resources.a.Type"),
        ({"Resources": {"a": thing(PackageVersions={})}}, "Resources.a.Properties"),
        ({"Resources": {"a": thing(ThingName=1)}}, "Resources.a.Properties.ThingName"),
        (
            {"Resources": {"a": thing(AttributePayload={"x": 1})}},
            "Resources.a.Properties.AttributePayload.x",
        ),
        ({"Resources": {"a": thing(ThingGroups="x")}}, "Resources.a.Properties.ThingGroups"),
        (
            {"Resources": {"a": thing(ThingGroups=["x", 1])}},
            "Resources.a.Properties.ThingGroups[1]",
        ),
        (
            {"Resources": {"a": thing({"ThingTypeName": "MERGE"})}},
            "Resources.a.OverrideSettings.ThingTypeName",
        ),
        (
            {"Resources": {"a": thing({"ThingGroups": ["MERGE"]})}},
            "Resources.a.OverrideSettings.ThingGroups",
        ),
        ({"Resources": {"a": thing({"BillingGroup": "FAIL"})}}, "Resources.a.OverrideSettings"),
        ({"Resources": {"a": certificate(Status="ACTIVE")}}, "Resources.a.Properties"),
        (
            {"Resources": {"a": certificate(CertificatePem="a", CertificateId="b")}},
            "Resources.a.Properties",
        ),
        (
            {"Resources": {"a": certificate(CertificateId="a", CACertificatePem="b")}},
            "Resources.a.Properties.CACertificatePem",
        ),
        (
            {"Resources": {"a": certificate(CertificateId="a", Status="REVOKED")}},
            "Resources.a.Properties.Status",
        ),
        (
            {"Resources": {"a": certificate({"Status": "MERGE"}, CertificateId="a")}},
            "Resources.a.OverrideSettings.Status",
        ),
        ({"Resources": {"a": CERTIFICATE, "p": policy()}}, "Resources.p.Properties"),
        (
            {"Resources": {"a": CERTIFICATE, "p": policy(PolicyName="p", PolicyDocument=POLICY)}},
            "Resources.p.Properties",
        ),
        (
            {"Resources": {"p": policy(PolicyDocument="{}")}},
            "Resources.p.Properties.PolicyDocument",
        ),
        (
            {"Resources": {"p": policy(PolicyDocument={"Version": "x"})}},
            "Resources.p.Properties.PolicyDocument",
        ),
        (
            {"Resources": {"p": policy(PolicyName="p") | {"OverrideSettings": {"a": "FAIL"}}}},
            "Resources.p.OverrideSettings",
        ),
        ({"DeviceConfiguration": []}, "DeviceConfiguration"),
        ({"DeviceConfiguration": {"a": [10**300]}}, "DeviceConfiguration.a[0]"),
    ],
)
def test_what_could_not_be_carried_out_is_refused_where_it_stands(sections, where):
    assert refusal(**sections).startswith(f"{where}: ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"x"',
        '{"Resources": {}, "Resources": {}}',
        "[" * 5000,
        '{"Resources": {"\ud800": 1}}',
        '{"Resources": {"a": NaN}}',
        json.dumps(document()) + " " * BODY_CHARACTERS_MAX,
    ],
)
def test_what_is_no_document_is_refused(text):
    with pytest.raises(InputError, match=r"^the template"):
        provisioning.read(text)


def test_a_policy_is_read_again_once_the_parameters_are_known():
    given = POLICY | {"Version": {"Ref": "Name"}}
    template = read(Resources={"c": CERTIFICATE, "p": policy(PolicyDocument=given)})
    assert provisioning_plan.render(template, {"Name": "2012-10-17"}).policies[0].document
    with pytest.raises(InputError, match=r"^Resources\.p\.Properties\.PolicyDocument: "):
        provisioning_plan.render(template, {"Name": "2008"})


def test_a_status_is_read_again_once_the_parameters_are_known():
    template = read(Resources={"c": certificate(CertificateId="a", Status={"Ref": "Name"})})
    status = provisioning_plan.render(template, {"Name": "INACTIVE"}).certificate.status
    assert status is CertificateStatus.INACTIVE
    with pytest.raises(InputError, match=r"^Resources\.c\.Properties\.Status: "):
        provisioning_plan.render(template, {"Name": "REVOKED"})


# Whatever is written


_NAMES = st.sampled_from(
    [
        *("Parameters", "Mappings", "Resources", "DeviceConfiguration", "Type", "Default"),
        *("Properties", "OverrideSettings", "ThingName", "AttributePayload", "ThingGroups"),
        *("CertificateId", "CertificatePem", "Status", "PolicyName", "PolicyDocument", "a"),
        *("Ref", "Fn::Join", "Fn::Select", "Fn::FindInMap", "Fn::Split", "Fn::Sub", "Name"),
    ]
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["AWS::IoT::Thing", "AWS::IoT::Certificate", "AWS::IoT::Policy"])
    | st.sampled_from(["String", "Name", "a", "${Name}", "${a}", "0", "ACTIVE", "MERGE", "FAIL"])
)
_ANY = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=20,
)
_LEAVES = st.sampled_from(["", "a", "0", "1", "k", ",", {"Ref": "Name"}, {"Ref": "CSR"}])


def call(function, *arguments):
    return st.tuples(*arguments).map(lambda given: {function: list(given)})


def expressions(depth):
    """What gives a text, nested so deep."""
    if not depth:
        return _LEAVES
    inner = expressions(depth - 1)
    items = st.lists(inner, max_size=3) | call("Fn::Split", st.sampled_from(["a", ","]), inner)
    return st.one_of(
        _LEAVES,
        call("Fn::Join", st.sampled_from(["", ",", "ab"]), items),
        call("Fn::Select", inner | st.integers(0, 2), items),
        call("Fn::FindInMap", st.just("M"), inner, st.just("n")),
        call(
            "Fn::Sub",
            st.sampled_from(["${x}", "${Name}${x}${!x}"]),
            st.fixed_dictionaries({"x": inner}),
        ),
    )


def naive(expression, parameters, mappings):
    """What an expression gives, straight from the documentation; LookupError where nothing."""
    if isinstance(expression, str | int):
        return str(expression)
    if isinstance(expression, list):
        return [naive(each, parameters, mappings) for each in expression]
    ((name, argument),) = expression.items()
    if name == "Ref":
        return parameters[argument]
    if name == "Fn::Sub":
        text, values = argument
        found = parameters | {k: naive(v, parameters, mappings) for k, v in values.items()}
        # What is put in is not looked through again.
        pieces = text.replace("${!x}", "\0").split("${")
        made = pieces[0]
        for piece in pieces[1:]:
            variable, _, rest = piece.partition("}")
            made += found[variable].replace("\0", "\1") + rest
        return made.replace("\0", "${x}").replace("\1", "\0")
    first, *others = (naive(each, parameters, mappings) for each in argument)
    match name:
        case "Fn::Join":
            return first.join(others[0])
        case "Fn::Split":
            return others[0].split(first)
        case "Fn::Select":
            if not first.isascii() or not first.isdigit() or len(first) > 4:
                raise LookupError(first)
            return others[0][int(first)]
        case "Fn::FindInMap":
            return mappings[first][others[0]][others[1]]


@given(expressions(3), st.text(max_size=6), st.sampled_from(["", "0", "1", "k", "a,b"]))
@settings(max_examples=400)
def test_expressions_give_what_a_naive_reading_does(expression, name, other):
    parameters, mappings = {"Name": name, "CSR": other}, {"M": {"k": {"n": "v"}, "a": {"n": "w"}}}
    try:
        expected = naive(expression, parameters, mappings)
    except LookupError:
        with pytest.raises(InputError, match=r"^DeviceConfiguration\.it\."):
            value(expression, parameters, Mappings=mappings)
    else:
        assert value(expression, parameters, Mappings=mappings) == expected


@given(st.text() | _ANY.map(json.dumps))
@settings(max_examples=400)
def test_no_text_makes_anything_but_a_template_or_that_refusal(text):
    with contextlib.suppress(InputError):
        provisioning.read(text)


@given(
    st.dictionaries(
        st.sampled_from(["Parameters", "Mappings", "Resources", "DeviceConfiguration"]), _ANY
    ),
    st.dictionaries(st.sampled_from(["thing", "certificate", "policy"]), _ANY),
    st.dictionaries(_NAMES, _ANY),
    st.dictionaries(st.sampled_from(["Name", "CSR", "a"]), st.text(max_size=4)),
)
@settings(max_examples=400)
def test_no_document_makes_anything_but_a_plan_or_that_refusal(
    sections, resources, properties, parameters
):
    """Each is a good document of which some part is anything."""
    good = {
        "thing": thing(AttributePayload={"x": {"Ref": "Name"}}) | {"Properties": properties},
        "certificate": CERTIFICATE,
        "policy": policy(PolicyDocument=POLICY),
    }
    made = document(Resources=good | resources) | sections
    with contextlib.suppress(InputError):
        plan = provisioning_plan.render(provisioning.read(json.dumps(made)), parameters)
        assert plan.thing is not None or plan.certificate is not None
