"""The stories of ``stories/``: what a newcomer reads to understand Isthmus is what really happens.

After a change that is meant, ``ISTHMUS_REWRITE=1 pytest tests/sim/test_stories.py`` writes what
happens now into the files. Read the difference as you would read code: every line of it is a change
of what Isthmus does.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.errors import InputError
from isthmus.sim import story, verbs
from isthmus.sim.story import perform
from isthmus.sim.verbs import Verbs

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))
REWRITE = os.environ.get("ISTHMUS_REWRITE") == "1"
SYSTEM = "system regions=eu,us clients=device:car-1,plain:van-1\n----\n\n"
#: Performs every story that is named, and prints what came of it.
PERFORM_ALL = """
import pathlib, sys
from isthmus.sim.story import perform
for each in map(pathlib.Path, sys.argv[1:]):
    sys.stdout.write(perform(each.read_text(), each.name))
"""


def name_of(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", STORIES, ids=name_of)
def test_a_story_is_what_happens(path):
    told = path.read_text()
    happened = perform(told, path.name)
    if REWRITE:
        path.write_text(happened)
        return
    names = (f"told in {path.name}", "happened")
    difference = difflib.unified_diff(told.splitlines(), happened.splitlines(), *names, lineterm="")
    if told != happened:
        pytest.fail("\n".join(["the story is another one:", *difference]), pytrace=False)


@pytest.mark.parametrize("path", STORIES, ids=name_of)
def test_a_story_tells_why_and_ends_well(path):
    lines = path.read_text().splitlines()
    number, _, title = path.stem.partition("-")
    assert lines[0].startswith(f"# {int(number)}. ")
    assert re.sub("[^a-z]+", "-", lines[0].split(". ")[1].lower()).startswith(title[:20])
    assert lines[-1] == "every promise holds"
    comments = [line for line in lines if line.startswith("#")]
    assert len(comments) >= 7
    assert [line for line in comments if len(line) > 100] == []


def test_there_are_stories_in_order():
    assert [int(path.stem[:2]) for path in STORIES] == list(range(1, len(STORIES) + 1))
    assert len(STORIES) >= 12


def test_the_stories_do_not_depend_on_the_order_of_hashes():
    seeds = [
        subprocess.Popen(
            [sys.executable, "-c", PERFORM_ALL, *map(str, STORIES)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (each.communicate()[0] for each in seeds)
    assert [each.returncode for each in seeds] == [0, 0]
    assert first == second
    assert first.count("every promise holds") >= len(STORIES)


@pytest.mark.parametrize(
    ("text", "where", "what", "hint"),
    [
        ("run 1\n----\n", 1, "run before there is a system", "begin with: system"),
        ("system regions=\n----\n", 1, "regions names none", "regions=eu,us"),
        ("system clients=car-1\n----\n", 1, "kind is 'car-1'", "one of device, plain, subscriber"),
        ("system clients=device:\n----\n", 1, "a device of no name", "device:car-1"),
        ("system witness=maybe\n----\n", 1, "witness is 'maybe'", "one of yes, no"),
        ("system gateways=0\n----\n", 1, "gateways is '0'", "a number from 1 on"),
        (SYSTEM + "explode eu\n----\n", 4, "'explode' is no command", "kill-gateway"),
        (SYSTEM + "# why\n\nrun 1\nrun x\n----\n", 7, "SECONDS is 'x'", "a number"),
        (SYSTEM + "run -1\n----\n", 4, "SECONDS is '-1'", "a number from 0 on"),
        (SYSTEM + "run\n----\n", 4, "run was given ''", "run SECONDS"),
        (SYSTEM + "quiet\n----\n", 4, "'quiet' names no command", "one of system"),
        (SYSTEM + 'publish car-1 "x\n----\n', 4, "No closing quotation", "close the quotes"),
        (SYSTEM + "kill eu disk-kept\n----\n", 4, "'eu disk-kept'", "kill REGION DISK SECONDS"),
        (SYSTEM + "kill eu gone 1\n----\n", 4, "disk is 'gone'", "restored, wiped"),
        (SYSTEM + "kill witness wiped 1\n----\n", 4, "region is 'witness'", "one of eu, us"),
        (SYSTEM + "cut eu uk 1\n----\n", 4, "other is 'uk'", "one of eu, us, witness"),
        (SYSTEM + "publish bus-1\n----\n", 4, "client is 'bus-1'", "one of car-1, van-1"),
        (SYSTEM + "show\n----\n", 4, "what to show is ''", "one of alone"),
        (SYSTEM + "show items thing\n----\n", 4, "show items was given", "KIND KEY"),
        (SYSTEM + "show items shoe car-1\n----\n", 4, "KIND is 'shoe'", "thing, certificate"),
        (SYSTEM + "check only=eu\n----\n", 4, "check was given 'only=eu'", "write check"),
        (SYSTEM + "run 1\n", 4, "'run 1' has no ----", "end the commands"),
        (SYSTEM + "run 1\n\n----\n", 4, "'run 1' has no ----", "end the commands"),
        (SYSTEM + "----\n", 4, "---- without a command", "what to do above it"),
        (SYSTEM + "run 1\n----\n# why\n", 6, "'# why' stands in the output", "an empty line"),
    ],
)
def test_a_story_that_cannot_be_understood_is_refused_by_name_and_line(text, where, what, hint):
    with pytest.raises(InputError) as caught:
        perform(text, "01-a-tale.txt")
    assert str(caught.value).startswith(f"01-a-tale.txt:{where}: ")
    assert what in str(caught.value)
    assert hint in caught.value.hint


def test_what_was_told_before_makes_no_difference():
    text = SYSTEM + 'publish car-1 "speed 50"\nrun 0.5 only=car-1\n----\n'
    happened = perform(text, "tale")
    assert '"speed 50" is acknowledged\n' in happened
    assert perform(text + "  0.100  car-1  something else\n", "tale") == happened
    assert perform(happened, "tale") == happened


@pytest.mark.parametrize(
    ("command", "speakers"),
    [
        ("run 4 only=services", {"eu/services", "us/services"}),
        ("run 4 only=us/services,car-1", {"us/services", "car-1"}),
        ('run 4 only="site us"', {"site us"}),
        ("run 4 only=services about=alone", {"us/services"}),
        ("quiet run 4", set()),
    ],
)
def test_who_is_heard(command, speakers):
    begin = "system clients=device:car-1\n----\n\nquiet kill eu disk-kept 1.5\n"
    heard = perform(f"{begin}publish car-1\n{command}\n----\n", "tale").split("----\n")[2]
    assert {line[9:22].strip() for line in heard.splitlines()} == speakers


def test_a_broken_promise_ends_a_story():
    text = SYSTEM + "publish car-1 hello\ncheck\nrun 1\n----\n"
    *_, broken, rest = perform(text, "tale").splitlines()
    assert broken.startswith("BROKEN: everybody-is-served: car-1 ")
    assert rest == "not performed: a promise was broken"


def test_every_word_of_every_verb_is_checked():
    """So that a new verb calls its words by names that a story knows."""
    methods = [getattr(Verbs, f"do_{verb.replace('-', '_')}") for verb in verbs.names()]
    named = {name for method in methods for name in inspect.signature(method).parameters}
    free = {"self", "client", "payload", "name", "value"}
    assert named - free <= set(story.KNOWN) | set(story.NUMBERS)
