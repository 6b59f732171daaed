"""What `isthmus lint` finds, and that it finds nothing where there is nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_cases import CLIENTS, DOCUMENTS, SUFFIXES, authorizer
from typer.testing import CliRunner

from isthmus.cli.app import app
from isthmus.core.policy_document import parse
from isthmus.core.policy_fields import System
from isthmus.core.policy_lint import lint
from isthmus.errors import InputError

SYSTEM = System("1", frozenset({"eu", "us"}))
THING = "${iot:Connection.Thing.ThingName}"
DATA = ["iot:Publish", "iot:RetainPublish", "iot:Receive"]


def arn(suffix, region="*", account="1"):
    return f"arn:aws:iot:{region}:{account}:{suffix}"


def allow(action, *resources, **more):
    return {"Effect": "Allow", "Action": action, "Resource": list(resources), **more}


def deny(action, *resources, **more):
    return allow(action, *resources, **more) | {"Effect": "Deny"}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def found(*statements, system=SYSTEM):
    return [
        (each.severity.value, each.statement, each.value)
        for each in lint(document(*statements), system)
    ]


GOOD = (
    allow("iot:Connect", arn(f"client/{THING}")),
    allow(DATA, arn(f"topic/dt/{THING}/*")),
    allow("iot:Subscribe", arn(f"topicfilter/dt/{THING}/#")),
    deny(["iot:Subscribe"], arn("topicfilter/secret/*")),
    deny(["iot:Receive"], arn("topic/secret/*")),
)


def test_there_is_nothing_to_say_of_a_good_policy():
    assert lint(document(*GOOD), SYSTEM) == []


@pytest.mark.parametrize(
    ("statement", "severity", "value"),
    [
        (allow(DATA, arn("topic/a", region="eu")), "note", arn("topic/a", region="eu")),
        (allow(DATA, arn("topic/a", region="mars")), "warning", arn("topic/a", region="mars")),
        (allow(DATA, arn("topic/a", account="2")), "warning", arn("topic/a", account="2")),
        (
            allow(DATA, "*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
            "warning",
            "aws:SourceIp",
        ),
        (
            allow(DATA, "*", Condition={"StringEquals": {"iot:ClientId": "${aws:SourceIp}"}}),
            "warning",
            "aws:SourceIp",
        ),
        (allow(DATA, arn("topic/${aws:SourceIp}")), "warning", "aws:SourceIp"),
        (allow("iot:Connect", arn("client/*")), "warning", arn("client/*")),
        (allow("iot:Connect", "*"), "warning", "*"),
        (deny("iot:Subscribe", arn("topicfilter/a/*")), "warning", arn("topicfilter/a/*")),
        (allow("iot:Pubish", "*"), "warning", "iot:Pubish"),
        (allow("iot:CreateThing", "*"), "warning", "iot:CreateThing"),
        (allow(DATA, arn("topic/a/+/b")), "warning", arn("topic/a/+/b")),
        (allow(DATA, arn("topic/a/#")), "warning", arn("topic/a/#")),
        (allow("iot:Publish", arn("topic/a")), "note", "iot:Publish"),
        (allow("iot:Subscribe", arn("topicfilter/a")), "warning", "iot:Subscribe"),
        (allow("iot:Receive", arn("topicfilter/a")), "warning", "iot:Receive"),
        (deny("iot:Connect", arn("topic/a")), "warning", "iot:Connect"),
        (allow("iot:ListRetainedMessages", arn("topic/a")), "warning", "iot:ListRetainedMessages"),
        (deny("iot:GetThingShadow", arn("topic/a")), "warning", "iot:GetThingShadow"),
    ],
)
def test_what_is_doubtful_is_found_and_nothing_else(statement, severity, value):
    assert found(statement) == [(severity, "0", value)]
    named = statement | {"Sid": "Mine"}
    assert found(named) == [(severity, "Mine", value)]


@pytest.mark.parametrize(
    "statements",
    [
        [allow("iot:Connect", arn("client/*"), Condition={"Null": {"iot:ClientId": "false"}})],
        [allow("iot:Connect", arn("client/a-*"))],
        [deny("iot:Connect", arn("client/*"))],
        [deny("iot:Subscribe", arn(f"topicfilter/{THING}/#")), deny("iot:Receive", "*")],
        [deny("iot:*", "*")],
        [deny("iot:Receive", arn("*"))],
        [deny("iot:Receive", arn("top*"))],
        [deny("iot:Receive", arn(f"{THING}/a"))],
        [deny("*", arn("client/x"))],
        [{"Effect": "Deny", "NotAction": "iot:Connect", "Resource": "*"}],
        [{"Effect": "Deny", "Action": "iot:Publish", "NotResource": arn("client/x")}],
        [allow("iot:ListRetainedMessages", "*")],
        [allow("iot:ListNamedShadowsForThing", "*")],
        [allow("iot:ListNamedShadowsForThing", arn("thing/a"))],
        [allow("iot:GetThingShadow", arn("thing/a/b"))],
    ],
)
def test_what_is_not_doubtful_is_not_found(statements):
    assert found(*statements) == []


def test_a_system_that_is_not_known_is_not_guessed():
    elsewhere = allow(DATA, arn("topic/a", region="mars", account="2"))
    assert found(elsewhere, system=None) == [("note", "0", elsewhere["Resource"][0])]


def test_each_statement_that_would_be_refused_is_named():
    refused = lint(
        document(
            allow("iot:Connect", arn("client/${iot:Certificate.Subject.Locality}"), Sid="Where"),
            *GOOD,
            allow("iot:Connect", "*", Condition={"DateLessThan": {"aws:CurrentTime": "2027"}}),
        ),
        SYSTEM,
    )
    assert [(each.severity, each.statement) for each in refused] == [
        ("error", "Where"),
        ("error", "6"),
    ]
    assert "iot:Certificate.Subject.Locality" in refused[0].value
    assert "'DateLessThan'" in refused[1].value
    assert all(each.why and each.instead for each in refused)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"Statement": 7}', "[" * 2000])
def test_what_is_no_policy_is_an_error_of_the_document(text):
    (finding,) = lint(text)
    assert finding.severity == "error"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(DOCUMENTS | JSON.map(json.dumps) | st.text(max_size=50))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_errors_are_what_would_be_refused(text):
    errors = [each for each in lint(text, SYSTEM) if each.severity == "error"]
    try:
        parse(text)
    except InputError:
        assert errors
    else:
        assert not errors


@given(DOCUMENTS, CLIENTS, SUFFIXES)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_said_to_match_nothing_matches_nothing(text, client, suffixes):
    for each in lint(text, SYSTEM):
        if not each.why.endswith("it matches nothing"):
            continue
        alone = document(allow("*", each.value))
        rights = authorizer([([alone], False)], client)
        for suffix in suffixes:
            if "+" not in suffix and "#" not in suffix:
                assert not rights.allows("iot:Publish", suffix).allowed


# The command


def run(*arguments, stdin=""):
    return CliRunner().invoke(app, ["lint", *arguments], input=stdin)


def test_the_command_reads_files_directories_and_stdin(tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(document(*GOOD))
    bad.write_text(document(allow("iot:Connect", arn("client/*"), Sid="All")))
    assert (run(str(good)).exit_code, run(str(good)).output) == (0, "")
    shown = run(str(tmp_path))
    assert shown.exit_code == 1
    assert f"{bad}, statement All: warning: {arn('client/*')}\n" in shown.output
    assert "Try: client/${iot:Connection.Thing.ThingName}" in shown.output
    listed = run("--json", "-", stdin=bad.read_text())
    (finding,) = json.loads(listed.output)["findings"]
    assert (listed.exit_code, finding["file"], finding["statement"]) == (1, "stdin", "All")
    assert finding.keys() == {"file", "severity", "statement", "value", "why", "instead"}
    refused = run("-", str(good), stdin="\udcff".encode(errors="surrogateescape"))
    assert refused.exit_code == 2
    mine = run("--account", "2", "--region", "eu", str(good))
    assert mine.exit_code == 1
    assert "account 2, region eu, or *" in mine.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.json"], "nowhere.json: No such file"),
        (["."], "has no *.json"),
        (["--account", "1", "-"], "one of --account and --region"),
    ],
)
def test_the_command_says_what_is_wrong_with_its_arguments(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in str(run(*arguments).exception)


def test_a_file_is_not_read_without_end(tmp_path):
    large = tmp_path / "large.json"
    large.write_text(" " * (1024 * 1024 + 1))
    assert "is above 1048576 bytes" in str(run(str(large)).exception)
