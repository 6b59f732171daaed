"""Directories that stand for buckets: what is opened in them, and what never is."""

from __future__ import annotations

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters import buckets
from isthmus.adapters.buckets import Buckets
from isthmus.errors import InputError


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "bucket"
    (made / "a" / "b").mkdir(parents=True)
    (made / "a" / "b" / "in.jsonl").write_text("one\ntwo\n")
    (tmp_path / "secret").write_text("secret")
    return made


@pytest.fixture
def opened(root):
    return Buckets({"things": str(root)})


def texts(lines, count=100):
    return [each.text for each in lines.read(count)]


def test_a_file_in_a_bucket_is_read_line_by_line_from_an_offset_on(opened):
    lines = opened.lines("things", "a/b/in.jsonl", 0)
    first, *_ = lines.read(1)
    assert (first.text, first.offset, first.end, lines.size) == (b"one\n", 0, 4, 8)
    assert texts(lines) == [b"two\n"]
    assert texts(lines) == []
    lines.close()
    lines = opened.lines("things", "a/b/in.jsonl", first.end)
    assert texts(lines) == [b"two\n"]
    lines.close()


def test_a_task_has_an_id_and_a_directory_of_its_own(root, opened):
    one, other = (opened.new_task("things", "a/b/in.jsonl") for _ in range(2))
    assert one.id != other.id
    assert one.directory == f"file://{root}/{one.id}"


@pytest.mark.parametrize(
    "key",
    [
        *("../secret", "a/../../secret", "/etc/passwd", "a//b/in.jsonl", "./a/b/in.jsonl", ""),
        *("a", "a/", "a/b/..", "none", "link", "way/secret", "way/../secret", "in/in.jsonl"),
        *("pipe", "a/b/in.jsonl/x"),
    ],
)
def test_nothing_outside_and_nothing_but_a_file_is_opened(root, opened, key):
    (root / "link").symlink_to(root.parent / "secret")
    (root / "way").symlink_to(root.parent)
    (root / "in").symlink_to(root / "a" / "b")
    os.mkfifo(root / "pipe")
    with pytest.raises(InputError):
        opened.new_task("things", key)


def test_a_bucket_that_is_not_named_says_where_to_name_it(opened):
    with pytest.raises(InputError, match="no bucket 'other'") as refused:
        opened.new_task("other", "x")
    assert "aws_api.buckets" in refused.value.hint


@given(st.lists(st.integers(0, 40), max_size=8), st.booleans())
def test_lines_are_where_a_split_finds_them_and_long_ones_have_no_text(
    tmp_path_factory, sizes, end
):
    most = 16
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "LINE_BYTES_MAX", most)
        directory = tmp_path_factory.mktemp("bucket")
        whole = b"\n".join(b"x" * n for n in sizes) + (b"\n" if end else b"")
        (directory / "in").write_bytes(whole)
        lines = Buckets({"things": str(directory)}).lines("things", "in", 0)
        found = lines.read(100)
        lines.close()
    expected = whole.splitlines(keepends=True)
    assert [whole[each.offset : each.end] for each in found] == expected
    assert [each.text for each in found] == [
        each if len(each) <= most else None for each in expected
    ]


def test_a_report_goes_on_behind_what_was_counted_and_is_for_its_owner_only(root, opened):
    first = opened.report("things", "task", "results.jsonl", 0)
    first.append(b"one\n")
    first.sync()
    counted = first.size
    first.append(b"lost\n")
    second = opened.report("things", "task", "results.jsonl", counted)
    # Whoever was frozen writes on, and nobody reads it.
    first.append(b"late\n")
    second.append(b"two\n")
    first.close()
    second.close()
    file = root / "task" / "results.jsonl"
    assert file.read_text() == "one\ntwo\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [each.name for each in file.parent.iterdir()] == ["results.jsonl"]


def test_a_report_that_lost_its_end_is_as_long_as_it_is(root, opened):
    opened.report("things", "task", "r", 0).append(b"one\n")
    third = opened.report("things", "task", "r", 100)
    assert third.size == 4
    third.append(b"x")
    assert (root / "task" / "r").read_text() == "one\nx"


def test_a_report_of_a_task_whose_directory_leads_elsewhere_is_not_begun(root, opened):
    (root / "task").symlink_to(root.parent)
    with pytest.raises(OSError):  # noqa: PT011
        opened.report("things", "task", "r", 0)
    assert not (root.parent / "r").exists()
