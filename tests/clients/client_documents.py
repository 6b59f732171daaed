"""Reads docs/clients.md: its tables, and the code in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"
_CODE = re.compile(r"^### (.+?)\n(.*?)^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def table(*begin: str) -> list[dict[str, str]]:
    """The rows of the table whose first columns are these."""
    lines = DOCUMENT.read_text().splitlines()
    heads = [n for n, line in enumerate(lines) if _cells(line)[: len(begin)] == list(begin)]
    assert len(heads) == 1, f"{DOCUMENT.name} has {len(heads)} tables of {', '.join(begin)}"
    names = _cells(lines[heads[0]])
    rows = []
    for line in lines[heads[0] + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(names, _cells(line), strict=True)))
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


class Snippet(NamedTuple):
    """The code of one client's section."""

    title: str
    language: str
    code: str


def snippets() -> list[Snippet]:
    """The first code of every section that has some."""
    found = _CODE.findall(DOCUMENT.read_text())
    return [Snippet(title, language, code) for title, _, language, code in found]
