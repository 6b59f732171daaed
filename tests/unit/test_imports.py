"""Imports go in the one direction that isthmus/__init__.py states, read from the source itself.

A name that is imported for type checking only counts too: what a module speaks of, it depends on.
The device's own needs are the exception, as they are about what must be installed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SOURCE / "isthmus").rglob("*.py"))
}

SERVICE = {"core", "wire", "errors", "ports", "adapters", "config", "protocol", "clock"}
#: What each package may import of ours, beside itself. Whoever is not here joins everything.
OURS = {
    "core": {"wire", "errors"},
    "wire": {"core", "errors"},
    "errors": set(),
    "ports": {"core", "wire", "errors"},
    "protocol": {"core", "wire", "errors"},
    "plan_file": {"core", "wire", "errors"},
    "config": {"core", "wire", "errors"},
    "log": {"core", "wire", "errors"},
    "process": {"core", "wire", "errors"},
    "tasks": set(),
    "clock": set(),
    "aws": {"core", "wire", "errors"},
    "adapters": {"core", "wire", "errors", "ports", "config", "protocol"},
    "device": {"core", "wire", "errors", "ports", "adapters"},
    "director": SERVICE,
    "region": SERVICE | {"tasks"},
    "sim": {"core", "wire", "errors", "ports", "protocol"},
    "gateway": SERVICE | {"region", "tasks"},
    "aws_server": SERVICE | {"region", "aws", "tasks"},
}
JOIN_EVERYTHING = {"local", "fleet", "drill", "bench", "cli", "testing", "__main__"}
#: What is pure, and what else it may import.
PURE = {
    "core": {"lark", "msgspec", "sortedcontainers"},
    "wire": set(),
    "aws": {"cbor2", "msgspec", "botocore"},
}
#: What a decision must not reach for: time and chance are arguments.
NOT_IN_CORE = {"time", "random", "asyncio", "socket", "ssl", "os", "secrets", "threading", "uuid"}
CLOCKS = {"now", "utcnow", "today"}


def _imports(path: Path, *, at_run_time: bool = False) -> Iterator[str]:
    """Every module that a file imports, by its full name."""
    tree = ast.parse(path.read_text())
    if at_run_time:
        tree = _WithoutTypeChecking().visit(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its direction"
            assert node.module
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module


class _WithoutTypeChecking(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | None:
        is_guard = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if is_guard else self.generic_visit(node)


@cache
def imports(module: str, *, at_run_time: bool = False) -> frozenset[str]:
    return frozenset(_imports(MODULES[module], at_run_time=at_run_time))


def package(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_there_is_something_to_test():
    assert {"isthmus.core.item", "isthmus.gateway.lane", "isthmus.device"} <= MODULES.keys()


@pytest.mark.parametrize("module", [each for each in MODULES if package(each)])
def test_imports_go_in_one_direction(module):
    own = package(module)
    if own in JOIN_EVERYTHING:
        return
    assert own in OURS, f"{module}: say in OURS what the package {own!r} may import"
    for name in imports(module):
        if name.split(".")[0] == "isthmus" and package(name) not in ("", own):
            assert package(name) in OURS[own], f"{module} imports {name}"


@pytest.mark.parametrize("module", [each for each in MODULES if package(each) in PURE])
def test_what_is_pure_imports_little_but_the_standard_library(module):
    allowed = {"isthmus", *sys.stdlib_module_names, *PURE[package(module)]}
    assert {name.split(".")[0] for name in imports(module)} <= allowed


@pytest.mark.parametrize("module", [each for each in MODULES if package(each) in ("core", "aws")])
def test_what_decides_has_no_clock_no_chance_and_no_io(module):
    source = MODULES[module].read_text()
    reached_for = {name.split(".")[0] for name in imports(module)} & NOT_IN_CORE
    # A random.Random that is passed in is an argument like any other; only its type is named.
    if "random" in reached_for and _names_only(source, "random", "Random"):
        reached_for.remove("random")
    assert reached_for == set()
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert called & CLOCKS == set()
    names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    assert names & {"open", "input"} == set()


@pytest.mark.parametrize("module", [each for each in MODULES if package(each) == "sim"])
def test_the_simulation_has_no_time_and_no_chance_but_its_own(module):
    """Chance comes from seeds: random.Random, made of a text that begins with one."""
    source = MODULES[module].read_text()
    reached_for = {name.split(".")[0] for name in imports(module)} & NOT_IN_CORE
    assert reached_for <= {"random"}
    used = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "random"
    }
    assert used <= {"Random"}


def _names_only(source: str, module: str, attribute: str) -> bool:
    """Whether a module is used for one of its names, and that one is never called."""
    tree = ast.parse(source)
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    of_module = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == module
    ]
    imported_from = any(
        isinstance(node, ast.ImportFrom) and node.module == module for node in ast.walk(tree)
    )
    only = all(node.attr == attribute and node not in calls for node in of_module)
    return only and not imported_from


def test_a_device_needs_nothing_but_python():
    """Transitively, and with the packages whose __init__ runs on the way."""
    reached, left = set(), {each for each in MODULES if package(each) == "device"}
    while left:
        module = left.pop()
        reached.add(module)
        for name in imports(module, at_run_time=True):
            if name.split(".")[0] != "isthmus":
                assert name.split(".")[0] in sys.stdlib_module_names, f"{module} imports {name}"
                continue
            parts = name.split(".")
            ancestors = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
            left |= (ancestors & MODULES.keys()) - reached
    assert "isthmus.wire.mqtt3" in reached
