"""What every table does, the one in memory like the one in a file."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters import sqlite_table
from isthmus.adapters.sqlite_table import SqliteTable
from isthmus.core.item import Item
from isthmus.core.lattice import Fields, Flag
from isthmus.core.table import MemoryTable, Path, Row, Table, item_hash
from isthmus.errors import Unavailable

KINDS = st.sampled_from(["thing", "policy"])
KEYS = st.text(max_size=2) | st.sampled_from(["a", "a\0b", "ä", "🌍", "a.b"])
PATHS = st.sampled_from([("all",), ("of", "x"), ("of", "y"), ("of",), ('of","x',)])
STEPS = st.lists(
    st.tuples(st.just("put"), KINDS, KEYS, st.booleans())
    | st.tuples(st.sampled_from(["enlist", "strike"]), PATHS, KEYS)
    | st.tuples(st.just("save"))
)


@dataclass
class Model:
    """What a table has, in the plainest form."""

    position: int = 0
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    names: set[tuple[Path, str]] = field(default_factory=set)

    def copy(self) -> Model:
        return Model(self.position, dict(self.rows), set(self.names))

    def check(self, table: Table) -> None:
        """A table has just this."""
        assert table.position == self.position
        assert len(table) == len(self.rows)
        assert all(table.get(*at) == row for at, row in self.rows.items())
        assert table.get("other", "a") is None
        for kind in ("thing", "policy", "other"):
            wanted = [self.rows[at].item for at in sorted(self.rows) if at[0] == kind]
            assert list(table.of_kind(kind)) == wanted
        hashes = {at: item_hash(row.item.encode()) for at, row in self.rows.items()}
        assert list(table.hashes()) == [(*at, hashes[at]) for at in sorted(hashes)]
        digest = 0
        for each in hashes.values():
            digest ^= each
        assert table.digest == digest

    def check_names(self, table: Table, path: Path, start: str | None) -> None:
        held = sorted(name for at, name in self.names if at == path)
        assert table.count(path) == len(held)
        first = start or ""
        assert list(table.names(path, start, inclusive=True)) == [n for n in held if n >= first]
        behind = [n for n in held if start is None or n > start]
        assert list(table.names(path, start, inclusive=False)) == behind
        before = [n for n in reversed(held) if start is None or n < start]
        assert list(table.names_down(path, start)) == before


def play(table: Table, model: Model, steps: list[tuple[str, ...]]) -> None:
    for number, (what, *of) in enumerate(steps, model.position + 1):
        match what, of:
            case "put", [kind, key, flag]:
                item = Item(kind, key, {"eu.a": number}, Fields({"revoked": Flag(bool(flag))}))
                table.put(item, number)
                model.rows[kind, key] = Row(item, number)
            case "enlist", [path, name]:
                table.enlist([(path, name), (path, name)])
                model.names.add((path, name))
            case "strike", [path, name]:
                table.strike([(path, name)])
                model.names.discard((path, name))
            case "save", _:
                table.save()
        table.position = model.position = number


@contextmanager
def new_table(kind: str) -> Iterator[Table]:
    if kind == "memory":
        yield MemoryTable()
        return
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        if kind == "sqlite in small steps":
            for name, size in (("ROWS_MAX", 1), ("NAMES_FIRST", 1), ("ITEMS_MAX", 1)):
                patch.setattr(sqlite_table, name, size)
        table = SqliteTable(FilePath(directory) / "views" / "a.sqlite", "test")
        yield table
        table.close()


EVERY = pytest.mark.parametrize("kind", ["memory", "sqlite", "sqlite in small steps"])


@EVERY
@given(steps=STEPS, path=PATHS, start=st.none() | KEYS)
def test_a_table_has_what_was_put_and_what_is_listed(kind, steps, path, start):
    model = Model()
    with new_table(kind) as table:
        play(table, model, steps)
        model.check(table)
        model.check_names(table, path, start)


@EVERY
def test_who_reads_a_list_may_change_it(kind):
    seen = []
    with new_table(kind) as table:
        table.enlist((("all",), f"{number:03}") for number in range(600))
        for name in table.names(("all",), None, inclusive=True):
            seen.append(name)
            table.strike([(("all",), name)])
        assert table.count(("all",)) == 0
    assert seen == [f"{number:03}" for number in range(600)]


@given(STEPS, STEPS, PATHS)
def test_a_file_that_was_closed_is_as_it_was(steps, more, path):
    with TemporaryDirectory() as directory:
        file = FilePath(directory) / "views" / "a.sqlite"
        table, model = SqliteTable(file, "test"), Model()
        play(table, model, steps)
        last_put = list(table.last_put())
        table.close()
        again = SqliteTable(file, "test")
        model.check(again)
        assert list(again.last_put()) == last_put
        play(again, model, more)
        model.check(again)
        model.check_names(again, path, None)
        again.close()


@given(STEPS, STEPS, PATHS)
def test_a_crash_leaves_what_was_saved_last_and_nothing_of_what_came_after(steps, more, path):
    with TemporaryDirectory() as directory:
        file = FilePath(directory) / "views" / "a.sqlite"
        table, model = SqliteTable(file, "test"), Model()
        # Something is put before each save: a save of nothing new is none.
        play(table, model, [*steps, ("put", "thing", "last", True)])
        table.save()
        saved = model.copy()
        play(table, model, [each for each in more if each[0] != "save"])
        left = FilePath(directory) / "left"
        shutil.copytree(file.parent, left)
        left.chmod(0o700)
        crashed = SqliteTable(left / file.name, "test")
        saved.check(crashed)
        saved.check_names(crashed, path, None)
        crashed.close()
        table.close()


def test_sqlites_own_log_is_emptied_while_the_table_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_table, "CHECKPOINT_CHANGES", 1)
    table = SqliteTable(tmp_path / "views" / "a.sqlite", "test")
    for number in range(50):
        table.put(Item("thing", str(number), {"eu.a": 1}), number)
    table.save()
    table._checkpoint.join()
    # What is not in the write-ahead log any more is in the file itself.
    alone = tmp_path / "alone.sqlite"
    shutil.copy(table.file, alone)
    assert sqlite3.connect(alone).execute("SELECT count(*) FROM item").fetchone() == (50,)
    table.close()


def test_a_file_of_another_purpose_and_one_that_is_garbage_are_begun_anew(tmp_path):
    file = tmp_path / "views" / "a.sqlite"
    for purpose in ("one", "two"):
        table = SqliteTable(file, purpose)
        assert (table.position, len(table)) == (0, 0)
        table.position = 7
        table.put(Item("thing", "a", {"eu.a": 1}), 7)
        table.close()
    file.write_bytes(b"garbage" * 1000)
    table = SqliteTable(file, "two")
    assert (table.position, len(table)) == (0, 0)
    table.close()


def test_a_file_belongs_to_one_process_and_to_its_owner(tmp_path):
    file = tmp_path / "views" / "a.sqlite"
    table = SqliteTable(file, "test")
    table.put(Item("thing", "a", {"eu.a": 1}), 1)
    with pytest.raises(Unavailable, match="another process's"):
        SqliteTable(file, "test")
    assert {each.stat().st_mode & 0o777 for each in file.parent.iterdir()} == {0o600}
    table.close()
    SqliteTable(file, "test").close()


def test_an_error_of_the_file_is_raised_and_it_is_begun_anew_when_some_time_has_passed(
    tmp_path, monkeypatch
):
    file = tmp_path / "views" / "a.sqlite"
    table = SqliteTable(file, "test")
    table.put(Item("thing", "a", {"eu.a": 1}), 1)
    table._execute("DROP TABLE name")
    with pytest.raises(sqlite3.OperationalError):
        table.enlist([(("all",), "a")])
    with pytest.raises(OSError, match="met an error"):
        SqliteTable(file, "test")
    monkeypatch.setattr(sqlite_table, "LATELY_S", -1.0)
    again = SqliteTable(file, "test")
    assert len(again) == 0
    again.close()


def test_it_is_known_what_was_put_last(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_table, "LAST_PUT_MAX", 2)
    table = SqliteTable(tmp_path / "views" / "a.sqlite", "test")
    for key in "abcb":
        table.put(Item("thing", key, {"eu.a": 1}), 1)
    assert list(table.last_put()) == [("thing", "b"), ("thing", "c")]
    table.close()
