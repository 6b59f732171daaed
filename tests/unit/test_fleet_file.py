"""A fleet file is read whole, or every bad line of it is named and nothing is read."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.fleet.fleet_file import FleetThing, read_fleet

EXAMPLE = Path(__file__).parents[2] / "examples" / "vehicles.jsonl"


@pytest.fixture
def write(tmp_path):
    def write(*lines):
        path = tmp_path / "fleet.jsonl"
        path.write_bytes(b"\n".join(x if isinstance(x, bytes) else x.encode() for x in lines))
        return path

    return write


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_fleet(path)
    return str(caught.value).replace(f"{path}", "FILE").splitlines()


def thing(name="v-1", **attributes):
    return json.dumps({"ThingName": name} | attributes)


def test_parameters_are_kept_as_attributes(write):
    path = write(thing("v-1", SerialNumber="S1", Market="EU"), thing("V:_2", SerialNumber=""))
    assert read_fleet(path) == (
        FleetThing("v-1", {"SerialNumber": "S1", "Market": "EU"}),
        FleetThing("V:_2", {"SerialNumber": ""}),
    )


def test_a_byte_order_mark_blank_lines_and_crlf_are_no_mistakes(write):
    path = write(b"\xef\xbb\xbf" + thing("a").encode() + b"\r", "", "  \t", thing("b"), "", "")
    assert [each.name for each in read_fleet(path)] == ["a", "b"]
    assert read_fleet(write(b"\xef\xbb\xbf", thing("c")))[0].name == "c"


def test_the_limits_themselves_are_allowed(write):
    names = {f"{index:0128d}": "v" * 800 for index in range(50)}
    every = "azAZ09_.,@/:#=[]-"
    path = write(thing("n" * 128, **names), thing("b", **{"azAZ09_.,@/:#-": every}))
    assert len(read_fleet(path)[0].attributes) == 50
    assert read_fleet(path)[1].attributes == {"azAZ09_.,@/:#-": every}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON: Expecting property name enclosed in double quotes at column 2"),
        ("ThingName,Serial", "not JSON: Expecting value at column 1"),
        (thing("a") + thing("b"), "not JSON: Extra data at column 19"),
        ("[" * 60_000, "not JSON: "),
        ("9" * 5000, "not JSON: "),
        ("[]", "a list, not an object"),
        ('"x"', "a string, not an object"),
        ("null", "null, not an object"),
        ("{}", "ThingName is missing"),
        ('{"thingName": "a"}', "ThingName is missing"),
        ('{"ThingName": 7}', "ThingName is a number, not a string: write it in quotes"),
        ('{"ThingName": ""}', "ThingName '' does not match"),
        (thing("a b"), "ThingName 'a b' does not match"),
        (thing("a\n"), "ThingName 'a\\n' does not match"),
        (thing("é"), "ThingName '\\xe9' does not match"),
        (thing("n" * 129), "ThingName 'nnn"),
        (thing(Year=2024), "Year is a number, not a string: write it in quotes"),
        (thing(Year=1.5), "Year is a number, not a string"),
        (thing(Electric=True), "Electric is a boolean, not a string"),
        (thing(Owner=None), "Owner is null, not a string"),
        (thing(Tags=["a"]), "Tags is a list, not a string"),
        (thing(Tags={"a": "b"}), "Tags is an object, not a string"),
        ('{"ThingName": "a", "Year": NaN}', "Year is a number, not a string"),
        (thing(**{"": "x"}), "attribute name '' does not match"),
        (thing(**{"a b": "x"}), "attribute name 'a b' does not match"),
        (thing(**{"a=": "x"}), "attribute name 'a=' does not match"),
        (thing(**{"n" * 129: "x"}), "attribute name 'nnn"),
        (thing(Model="a b"), "Model 'a b' does not match"),
        (thing(Model="\x1b[31m"), "Model '\\x1b[31m' does not match"),
        (thing(Model="v" * 801), "Model 'vvv"),
        (thing(**{f"a{index}": "" for index in range(51)}), "51 attributes, at most 50"),
        ('{"ThingName": "a", "x": "1", "x": "2"}', "'x' is there twice"),
        ('{"ThingName": "a", "ThingName": "b"}', "'ThingName' is there twice"),
        (b'{"ThingName": "\xff"}', "not UTF-8 at byte 16"),
        (thing(Model="v") + " " * 65_536, "longer than 65536 bytes"),
        (thing("good"), "ThingName 'good' is on line 1 already"),
    ],
)
def test_a_bad_line_is_named_with_its_reason_and_nothing_is_read(write, line, reason):
    lines = refusal(write(thing("good"), "", line, thing("also-good")))
    assert lines[0].startswith(f"FILE:3: {reason}")
    assert len(lines) == 2
    assert lines[1].startswith("Try: ")
    assert all(len(each) < 200 and each.isprintable() for each in lines)


def test_every_bad_line_is_named_up_to_a_number(write):
    good = [thing(f"v-{index}") for index in range(30)]
    lines = refusal(write(*good[:5], "x", *good[5:], "[]", b"\xff", "{}"))
    assert [each.split(" ")[0] for each in lines[:4]] == [
        f"FILE:{number}:" for number in (6, 32, 33, 34)
    ]
    lines = refusal(write(*["x"] * 20))
    assert len(lines) == 21
    assert not any("more" in each for each in lines)
    lines = refusal(write(*["x"] * 1021))
    assert lines[19].startswith("FILE:20: ")
    assert lines[20] == "and 1001 more"


def test_a_line_of_exactly_the_limit_is_read_and_a_longer_one_keeps_the_count(write):
    line = thing("a").ljust(65_536)
    assert [each.name for each in read_fleet(write(line, thing("b")))] == ["a", "b"]
    assert read_fleet(write(thing("b"), line))[1].name == "a"
    for extra in (1, 65_536, 65_537, 200_000):
        lines = refusal(write(line + " " * extra, thing("b"), "x"))
        assert [each.split(" ")[0] for each in lines[:2]] == ["FILE:1:", "FILE:3:"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file_is_a_mistake(write, content):
    assert refusal(write(content))[0] == "FILE: no thing in it"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert refusal(tmp_path / "none.jsonl")[0] == "FILE: No such file or directory"
    assert refusal(tmp_path)[0] == "FILE: Is a directory"


def test_one_endless_line_is_not_held_in_memory(tmp_path):
    path = tmp_path / "endless.jsonl"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    tracemalloc.start()
    assert refusal(path)[0] == "FILE:1: longer than 65536 bytes"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1024 * 1024


NAMES = st.from_regex(r"\A[a-zA-Z0-9:_-]{1,128}\Z")
ATTRIBUTES = st.dictionaries(
    st.from_regex(r"\A[a-zA-Z0-9_.,@/:#-]{1,128}\Z").filter(lambda name: name != "ThingName"),
    st.from_regex(r"\A[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}\Z"),
    max_size=5,
)


@given(st.lists(st.builds(FleetThing, NAMES, ATTRIBUTES), min_size=1, unique_by=lambda t: t.name))
def test_what_is_written_is_read(tmp_path_factory, things):
    path = tmp_path_factory.mktemp("fleet") / "fleet.jsonl"
    path.write_text("".join(thing(each.name, **each.attributes) + "\n" for each in things))
    assert read_fleet(path) == tuple(things)


@given(st.lists(st.binary(max_size=40) | st.builds(lambda n: thing(n).encode(), NAMES)))
def test_whatever_the_bytes_are_the_answer_is_things_or_an_input_error(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("fleet") / "fleet.jsonl"
    path.write_bytes(b"\n".join(lines))
    try:
        things = read_fleet(path)
    except InputError:
        return
    assert len({each.name for each in things}) == len(things) > 0


WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
VALUES = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", "12345678123457923456789", strict=True))


def test_the_example_is_a_fleet_of_200_vehicles():
    things = read_fleet(EXAMPLE)
    assert len(things) == 200
    assert {each.attributes["Market"] for each in things} == {"EU", "US"}
    assert len({each.attributes["SerialNumber"] for each in things}) == 200
    for vin in (each.name for each in things):
        digits = [int(VALUES.get(character, character)) for character in vin]
        remainder = sum(w * d for w, d in zip(WEIGHTS, digits, strict=True)) % 11
        assert vin[8] == "0123456789X"[remainder]
