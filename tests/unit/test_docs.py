"""Documents speak of what is there: links, paths and commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from isthmus.cli.app import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {".venv", ".git", ".pytest_cache", "node_modules"} & set(path.relative_to(ROOT).parts)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)\)")
#: `core/item.py`, `drill/scenarios/`, `tests/unit/test_imports.py`
PATH = re.compile(r"`((?:[a-z_.]+/)+[a-z_0-9]*(?:\.[a-z]+)?)`")
COMMAND = re.compile(
    r"(?:\./dev|\bisthmus) (drill|up|serve|fleet|api)((?: +--[a-z-]+(?: [^-\s#`]\S*)?)*)"
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_documents() -> None:
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"} <= {path.name for path in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_to_a_file(document: Path) -> None:
    targets = [each for each in LINK.findall(document.read_text()) if "://" not in each]
    assert [each for each in targets if not (document.parent / each).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_path_that_is_named_exists(document: Path) -> None:
    roots = (ROOT, ROOT / "src" / "isthmus")
    named = set(PATH.findall(document.read_text()))
    assert [each for each in named if not any((root / each).exists() for root in roots)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_and_option_that_is_named_exists(document: Path) -> None:
    group = typer.main.get_command(app)
    for name, options in COMMAND.findall(document.read_text()):
        command = group.commands[name]  # type: ignore[attr-defined]
        known = {each for parameter in command.params for each in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", options)) <= known, f"{name}{options}"


def test_every_command_is_in_some_document() -> None:
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    group = typer.main.get_command(app)
    visible = [name for name, each in group.commands.items() if not each.hidden]  # type: ignore[attr-defined]
    assert [name for name in visible if f"isthmus {name}" not in text] == []
