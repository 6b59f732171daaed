"""The lake's files: what counts, what a crash leaves, and what each view shows."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from isthmus.adapters import lake
from isthmus.adapters.lake import Lake, LakeRow
from isthmus.wire.properties import PublishProperties


def row(number: int, **fields: Any) -> LakeRow:
    return LakeRow(
        origin="eu",
        position=f"writer:1:{number}",
        at_ms=1_000,
        stored_s=1.0,
        client="device",
        principal="0" * 64,
        connection="c",
        topic="vehicles/device/telemetry",
        qos=1,
        **(fields or {"payload": str(number)}),
    )


def commit(found: Lake) -> None:
    found.prepare()()


def payloads(found: Lake, *, raw: bool = False) -> list[str]:
    return [each.payload for each in lake.read(found.path, raw=raw)]


def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    first = Lake(tmp_path / "lake")
    first.append([row(1), row(2)])
    first.cursor.streams["eu"] = (7, "writer:2")
    first.cursor.writers["eu"] = {"writer": 2}
    commit(first)
    first.close()

    again = Lake(tmp_path / "lake")

    assert payloads(again) == ["1", "2"]
    assert again.cursor.streams == {"eu": (7, "writer:2")}
    assert again.cursor.writers == {"eu": {"writer": 2}}
    again.close()


def test_what_was_appended_and_not_committed_is_cut_off_at_the_next_start(tmp_path: Path) -> None:
    first = Lake(tmp_path)
    first.append([row(1)])
    commit(first)
    first.append([row(2), row(3)])
    first.close()

    again = Lake(tmp_path)
    again.append([row(4)])
    commit(again)

    assert payloads(again) == ["1", "4"]
    again.close()


def test_a_line_that_a_crash_tore_is_cut_off_and_never_read(tmp_path: Path) -> None:
    first = Lake(tmp_path)
    first.append([row(1)])
    commit(first)
    first.close()
    whole = first.path.read_bytes()
    for length in range(1, len(whole)):
        first.path.write_bytes(whole + whole[:length])
        assert payloads(first) == ["1"] + ["1"] * (length == len(whole))

        again = Lake(tmp_path)
        again.append([row(2)])
        assert payloads(again) == ["1", "2"]
        again.close()


def test_without_a_cursor_everything_is_read_from_the_beginning_again(tmp_path: Path) -> None:
    first = Lake(tmp_path)
    first.append([row(1)])
    commit(first)
    first.close()
    for damage in (b"", b"{", b'{"length":"many"}'):
        (tmp_path / "cursor.json").write_bytes(damage)
        again = Lake(tmp_path)
        assert payloads(again) == []
        assert again.cursor.streams == {}
        again.close()


def test_the_default_view_leaves_out_what_may_be_a_repeat(tmp_path: Path) -> None:
    found = Lake(tmp_path)
    found.append([row(1), lake.marked(row(2), "writer:1:1"), row(3)])
    commit(found)

    assert payloads(found) == ["1", "3"]
    assert payloads(found, raw=True) == ["1", "2", "3"]
    found.close()


@pytest.mark.parametrize("payload", [b"", b"text", b"\xff\x00binary", "grüße".encode(), b"\n"])
def test_any_payload_comes_back_as_it_was(tmp_path: Path, payload: bytes) -> None:
    found = Lake(tmp_path)
    found.append([row(1, **lake.payload_fields(payload))])
    commit(found)

    (read,) = lake.read(found.path)

    assert read.body() == payload
    found.close()


def test_what_came_with_a_message_in_mqtt_5_is_kept(tmp_path: Path) -> None:
    found = Lake(tmp_path)
    pairs = (("k", "v"), ("k", ""), ("", "w"))
    properties = PublishProperties(1, 60, "re/1", b"\0\xff", "text/plain", pairs)
    found.append([row(1, payload="x", **lake.property_fields(properties)), row(2)])
    commit(found)

    first, second = lake.read(found.path)

    assert (first.content_type, first.response_topic) == ("text/plain", "re/1")
    assert base64.b64decode(first.correlation_data_base64) == b"\0\xff"
    assert first.user_properties == pairs
    # A line without properties is as long as it was before there were any.
    assert second == row(2)
    assert b"user_properties" not in found.path.read_bytes().splitlines()[1]
    assert lake.property_fields(None) == {}
    found.close()


def test_reading_may_begin_in_the_middle_of_a_line(tmp_path: Path) -> None:
    found = Lake(tmp_path)
    found.append([row(number) for number in range(5)])
    commit(found)
    second = found.path.read_bytes().index(b"\n") + 1

    for start, first in ((0, 0), (1, 1), (second - 1, 1), (second, 2), (10_000, 5)):
        read = [int(each.payload) for each in lake.read(found.path, after_byte=start)]
        assert read == list(range(first, 5)), start
    found.close()


def test_there_is_nothing_to_read_where_there_is_no_lake(tmp_path: Path) -> None:
    assert list(lake.read(tmp_path / "missing")) == []


def test_a_lake_is_for_its_owner_only(tmp_path: Path) -> None:
    found = Lake(tmp_path)
    commit(found)

    assert found.path.stat().st_mode & 0o077 == 0
    found.close()
