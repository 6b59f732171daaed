"""Every cell of the tables in docs/clients.md is measured, so that the document cannot rot."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import losses
import pytest
from client_documents import DOCUMENT, table
from client_programs import CLIENTS, Program
from losses import SESSIONS, Resent, Return
from scripted_server import ScriptedServer, scripted_server

from isthmus.adapters.pki import Pki

#: Measured at once: a start costs much more than what follows.
AT_ONCE = 16
#: What the table says where it happens or not.
BY_CHANCE = "by chance"
MEASURED = {row["client"]: row["version"] for row in table("client", "version")}

Key = tuple[str, ...]
#: Measures a row at this server, for a client id; answers the library's version too.
Measure = Callable[[ScriptedServer, str], Awaitable[tuple[str, Any]]]


def test_every_client_stands_in_every_table_once() -> None:
    everyone = sorted((program.name, version) for program, version in CLIENTS)
    assert sorted(MEASURED) == sorted({program.name for program, _ in CLIENTS})
    assert sorted(returns_told()) == everyone
    assert sorted(resent_told()) == sorted((*each, s) for each in everyone for s in SESSIONS)


def expand(row: Mapping[str, str]) -> list[tuple[str, str]]:
    versions = ("3.1.1", "5") if row["MQTT"] == "both" else (row["MQTT"],)
    return [(row["client"], version) for version in versions]


def resent_told() -> dict[Key, Resent]:
    """What the document says, by client, version and session."""
    told: dict[Key, Resent] = {}
    for row in table("client", "MQTT", "session"):
        sessions = SESSIONS if row["session"] == "any" else row["session"].split(" / ")
        for each in itertools.product(expand(row), sessions):
            key = (*each[0], each[1])
            assert key not in told, f"{key} stands twice in {DOCUMENT.name}"
            told[key] = Resent(*list(row.values())[3:])
    return told


def returns_told() -> dict[Key, Return]:
    """What the document says, by client and version."""
    told: dict[Key, Return] = {}
    for row in table("client", "MQTT", "first attempt"):
        for key in expand(row):
            assert key not in told, f"{key} stands twice in {DOCUMENT.name}"
            told[key] = Return(*list(row.values())[2:])
    return told


async def measure_all(
    rows: Mapping[Key, tuple[Program, Measure]], directory: Path
) -> tuple[dict[Key, Any], set[str]]:
    """Measure what can be measured here; returns why the rest cannot, too."""
    pki = Pki(directory / "pki")
    at_once = asyncio.Semaphore(AT_ONCE)
    missing: set[str] = set()
    found: dict[Key, Any] = {}

    async def one(number: int, key: Key, program: Program, measure: Measure) -> None:
        async with at_once, scripted_server(pki) as server:
            try:
                library, row = await measure(server, f"client-{number}")
            except AssertionError as error:
                library, row = MEASURED[program.name], str(error)
        if library == MEASURED[program.name] or program.is_locked:
            assert library == MEASURED[program.name], f"{program.name} is {library} now"
            found[key] = row
        else:
            missing.add(f"{program.name} is {library} here, and not {MEASURED[program.name]}")

    async with asyncio.TaskGroup() as group:
        for number, (key, (program, measure)) in enumerate(rows.items()):
            if reason := program.missing():
                missing.add(reason)
            else:
                group.create_task(one(number, key, program, measure))
    return found, missing


async def test_what_is_sent_again_is_as_the_document_says(tmp_path: Path) -> None:
    told = resent_told()

    def measure(program: Program, version: str, session: str) -> Measure:
        return lambda server, client_id: losses.resent(
            server, program, version, session, tmp_path, client_id
        )

    rows = {
        (program.name, version, session): (program, measure(program, version, session))
        for program, version in CLIENTS
        for session in SESSIONS
    }
    found, missing = await measure_all(rows, tmp_path)
    assert found == {key: told[key] for key in found}
    if missing:
        pytest.skip("not all is measured: " + "; ".join(sorted(missing)))


async def test_who_comes_back_is_as_the_document_says(tmp_path: Path) -> None:
    told = returns_told()

    def measure(program: Program, version: str) -> Measure:
        expected = told[program.name, version]._asdict()
        return lambda server, client_id: losses.returns(
            server, program, version, expected, tmp_path, client_id
        )

    rows = {
        (program.name, version): (program, measure(program, version))
        for program, version in CLIENTS
    }
    found, missing = await measure_all(rows, tmp_path)
    for key, row in found.items():
        if isinstance(row, Return):
            by_chance = {how: BY_CHANCE for how in row._fields if how in uncertain(told[key])}
            found[key] = row._replace(**by_chance)
    assert found == {key: told[key] for key in found}
    if missing:
        pytest.skip("not all is measured: " + "; ".join(sorted(missing)))


def uncertain(row: Return) -> set[str]:
    return {how for how, cell in row._asdict().items() if cell == BY_CHANCE}
