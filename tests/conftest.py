"""Options and markers of the whole test suite."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import settings

from isthmus.process import look_for_cycles_seldom

# Tests start hundreds of processes, and each would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Tests make millions of objects beside those of the suite, which stay.
look_for_cycles_seldom()

settings.register_profile("default", deadline=None, database=None)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nightly", action="store_true", help="run the long tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--nightly"):
        return
    skip = pytest.mark.skip(reason="long; run with ./dev nightly")
    for item in items:
        if "nightly" in item.keywords:
            item.add_marker(skip)
