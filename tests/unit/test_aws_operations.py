"""Handlers are declared by the models' names, and what has none says so."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from isthmus.aws import handlers, models, requests, responses
from isthmus.aws.operations import OPERATIONS, Operations
from isthmus.aws.requests import HttpRequest
from isthmus.aws.service_error import ServiceError
from isthmus.cli.api import ServiceName
from isthmus.cli.app import app
from isthmus.errors import BrokenInvariant, InputError

IOT = models.service("iot")


def call(method="GET", target="/things/lamp"):
    return requests.read(IOT, HttpRequest(method, target))


def test_a_request_is_read_carried_out_and_answered():
    operations = Operations()

    @operations.handles("DescribeThing")
    def describe_thing(context, parameters):
        return {"thingName": parameters["thingName"], "version": context}

    asked = call()
    output = operations.handler(asked)(7, asked.parameters)
    response = responses.write(asked, output, "r")
    assert (response.status, response.body) == (200, b'{"thingName":"lamp","version":7}')


def test_what_is_not_implemented_says_so_and_what_lists_the_rest():
    with pytest.raises(ServiceError) as refused:
        Operations().handler(call())
    response = responses.refuse(IOT, refused.value, "r")
    assert response.status == 501
    assert response.headers["x-amzn-ErrorType"] == "NotImplementedException"
    assert json.loads(response.body)["message"] == (
        "DescribeThing is not implemented here. `isthmus api --list` lists what is."
    )


def test_a_name_that_no_model_has_is_a_bug_and_so_is_a_second_handler():
    operations = Operations()
    with pytest.raises(BrokenInvariant, match="no service has an operation 'DescribeThings'"):
        operations.handles("DescribeThings")
    operations.handles("Publish")(lambda context, parameters: {})
    with pytest.raises(BrokenInvariant, match="Publish has a handler already"):
        operations.handles("Publish")


def test_a_name_is_of_one_service():
    names = [set(models.service(each).operations) for each in models.SERVICES]
    assert not set.intersection(*names)


def test_all_operations_are_listed():
    operations = Operations()
    operations.handles("Publish")(lambda context, parameters: {})
    listed = operations.listed()
    assert len(listed) == sum(len(models.service(each).operations) for each in models.SERVICES)
    assert [each for each in listed if each.is_there] == [("iot-data", "Publish", True)]


# The command


@pytest.fixture
def two_handlers(monkeypatch):
    operations = Operations()
    for name in ("Publish", "ListThings"):
        operations.handles(name)(lambda context, parameters: {})
    assert handlers.OPERATIONS is OPERATIONS
    monkeypatch.setattr(handlers, "OPERATIONS", operations)


def run(*arguments):
    done = CliRunner().invoke(app, ["api", *arguments])
    assert done.exit_code == (0 if "--list" in arguments else 2), done.output
    return done.output


@pytest.mark.usefixtures("two_handlers")
def test_the_command_lists_what_is_there_and_what_is_missing():
    output = run("--list", "--service", "iot-data")
    assert "iot-data: 1 of 11 are there" in output
    assert "+ Publish" in output
    assert "GetThingShadow" in output
    assert "ListThings" not in output
    missing = run("--list", "--service", "iot-data", "--missing")
    assert "iot-data: 1 of 11 are there" in missing
    assert "Publish" not in missing


@pytest.mark.usefixtures("two_handlers")
def test_the_command_lists_for_programs():
    found = json.loads(run("--list", "--json"))["operations"]
    assert {"service": "iot-data", "operation": "Publish", "implemented": True} in found
    assert {"service": "iot", "operation": "ListThings", "implemented": True} in found
    assert len(found) == len(OPERATIONS.listed())
    missing = json.loads(run("--list", "--json", "--missing"))["operations"]
    assert len(missing) == len(found) - 2


def test_the_command_without_more_tells_how_it_is_used():
    assert "--missing" in run()
    done = CliRunner().invoke(app, ["api", "--json"])
    assert isinstance(done.exception, InputError)


def test_the_command_knows_the_services():
    assert tuple(ServiceName) == models.SERVICES
