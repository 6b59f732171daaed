"""Bulk registrations over the API: what is asked, and what is said of them."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest
from aws_asking import exchange, refusal, writes
from aws_region import AwsRegion

from isthmus.adapters.buckets import Buckets
from isthmus.core import registration_tasks
from isthmus.core.registration_tasks import OPEN_MAX, REGISTRATION_TASK, Progress, TaskStatus
from isthmus.core.registry import Writer

ROLE = "arn:aws:iam::123456789012:role/r"
THING = {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "Name"}}}
BODY = json.dumps({"Parameters": {"Name": {"Type": "String"}}, "Resources": {"thing": THING}})
INVALID, MISSING = "InvalidRequestException", "ResourceNotFoundException"


@pytest.fixture
def region(tmp_path):
    (tmp_path / "in.jsonl").write_text("{}\n")
    made = AwsRegion()
    made.buckets = Buckets({"things": str(tmp_path)})
    return made


def start(client, **more):
    asked = {"templateBody": BODY, "inputFileBucket": "things", "inputFileKey": "in.jsonl"}
    return client.start_thing_registration_task(**asked | {"roleArn": ROLE} | more)["taskId"]


def change(region, task, how, *arguments):
    """Do as the process that holds a task does."""
    writer = Writer(region.clock, region.now_ms)

    def changed(item):
        return how(item, writer, *arguments)

    asyncio.run(region.store.update(REGISTRATION_TASK, task, changed))


def test_a_task_is_started_described_and_ends(region, client):
    task = start(client)
    found = client.describe_thing_registration_task(taskId=task)
    del found["ResponseMetadata"]
    created = found.pop("creationDate")
    assert created.timestamp() * 1000 == region.now_ms
    assert found.pop("lastModifiedDate") == created
    said = {
        "taskId": task,
        "templateBody": BODY,
        "inputFileBucket": "things",
        "inputFileKey": "in.jsonl",
        "roleArn": ROLE,
    }
    counts = {"successCount": 0, "failureCount": 0, "percentageProgress": 0}
    assert found == {**said, **counts, "status": "InProgress"}
    change(region, task, registration_tasks.claim, "a", None)
    progress = Progress(offset=1, size=3, succeeded=2, failed=1, results=7)
    change(region, task, registration_tasks.keep, "a", progress)
    found = client.describe_thing_registration_task(taskId=task)
    counts = {"successCount": 2, "failureCount": 1, "percentageProgress": 33}
    assert counts.items() <= found.items()
    assert "message" not in found
    change(region, task, registration_tasks.end, "a", progress, TaskStatus.FAILED, "why")
    found = client.describe_thing_registration_task(taskId=task)
    assert (found["status"], found["message"]) == ("Failed", "why")


def test_reports_are_where_they_were_written_once_there_is_something_in_them(
    region, client, tmp_path
):
    task = start(client)
    asked = {"taskId": task, "reportType": "RESULTS"}
    found = client.list_thing_registration_task_reports(**asked)
    assert (found["resourceLinks"], found["reportType"]) == ([], "RESULTS")
    change(region, task, registration_tasks.claim, "a", None)
    change(region, task, registration_tasks.keep, "a", Progress(results=7))
    found = client.list_thing_registration_task_reports(**asked)
    assert found["resourceLinks"] == [f"file://{tmp_path}/{task}/results.jsonl"]
    found = client.list_thing_registration_task_reports(taskId=task, reportType="ERRORS")
    assert found["resourceLinks"] == []


def test_a_task_is_stopped_from_any_region_by_the_one_that_has_it(region, client):
    other = AwsRegion("us-east-1")
    task = start(client)
    exchange(region, other)
    there = other.client()
    there.stop_thing_registration_task(taskId=task)
    there.stop_thing_registration_task(taskId=task)
    assert there.describe_thing_registration_task(taskId=task)["status"] == "Cancelling"
    exchange(region, other)
    assert client.describe_thing_registration_task(taskId=task)["status"] == "Cancelling"
    count = writes(region)
    client.stop_thing_registration_task(taskId=task)
    assert writes(region) == count


def test_tasks_are_listed_newest_first_in_pages_and_by_status(region, client):
    made = []
    for _ in range(3):
        region.now_ms += 1
        made.insert(0, start(client))
    client.stop_thing_registration_task(taskId=made[1])
    pages = client.get_paginator("list_thing_registration_tasks")
    for asked, expected in (
        ({}, made),
        ({"status": "InProgress"}, [made[0], made[2]]),
        ({"status": "Cancelling"}, [made[1]]),
        ({"status": "Completed"}, []),
    ):
        found = pages.paginate(**asked, PaginationConfig={"PageSize": 2}).build_full_result()
        assert found["taskIds"] == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"templateBody": "{}"}, "templateBody: the template: there is no Resources"),
        ({"inputFileBucket": "other"}, "there is no bucket 'other' in this region"),
        ({"inputFileKey": "none"}, "'none' in bucket 'things': No such file or directory"),
        ({"inputFileKey": "../x"}, "'..' is no part of a key in a bucket"),
    ],
)
def test_what_could_not_be_carried_out_is_not_begun(region, client, given, said):
    code, message = refusal(partial(start, client), **given)
    assert code == INVALID
    assert message.startswith(said)
    assert writes(region) == 0


def test_a_task_does_nothing_for_whom_that_is_not_allowed(region, client):
    region.never = {"CreateThing"}
    assert refusal(partial(start, client))[0] == "AccessDeniedException"
    assert writes(region) == 0


def test_so_many_tasks_of_a_region_wait_and_no_more(client):
    for _ in range(OPEN_MAX):
        start(client)
    assert refusal(partial(start, client))[0] == INVALID


def test_what_is_not_there_is_not_found(client):
    for call in (client.describe_thing_registration_task, client.stop_thing_registration_task):
        assert refusal(call, taskId="x") == (MISSING, "There is no task x")
    # The model of this one knows no such error.
    call = client.list_thing_registration_task_reports
    assert refusal(call, taskId="x", reportType="ERRORS")[0] == INVALID
