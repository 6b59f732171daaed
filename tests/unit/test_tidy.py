"""The style that can be counted: sizes, and what has no place in the tree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
#: Tests of one module stand in one file; a long list of cases is no hard reading.
TEST_FILE_LINES_MAX = 800
#: Spelled apart, so that this file may say what it looks for.
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function without its docstring, and without its decorators."""
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_there_is_something_to_test():
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_functions_can_be_read_at_once(path):
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    sizes = {f"{each.name} in line {each.lineno}": lines_of(each) for each in functions}
    assert {name: n for name, n in sizes.items() if n > FUNCTION_LINES_MAX} == {}


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_files_have_one_responsibility(path):
    limit = FILE_LINES_MAX if path in SOURCES else TEST_FILE_LINES_MAX
    assert len(path.read_text().splitlines()) <= limit
    assert path.stem not in ("utils", "util", "helpers", "common", "misc")


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_says_what_it_is_responsible_for(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, "a module begins with its responsibility"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_the_command_line_prints(path):
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert calls == [] or "cli" in path.relative_to(ROOT).parts


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_nothing_is_left_unfinished_without_an_issue(path):
    assert UNFINISHED.findall(path.read_text()) == []
