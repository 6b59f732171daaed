"""The models' patterns mean what they mean in Java, and no text makes them slow."""

from __future__ import annotations

import re
import unicodedata

import pytest
from aws_inputs import SERVICES
from aws_patterns import MATCHING, OTHERS, PATTERNS
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.aws import patterns, requests, validation
from isthmus.errors import BrokenInvariant

#: With the greatest length at which each is tried.
OF_THE_MODELS: dict[str, int] = {}
for _service in SERVICES:
    for _name in _service.model.shape_names:
        _metadata = _service.model.shape_for(_name).metadata
        if "pattern" in _metadata:
            _most = _metadata.get("max", validation.PATTERN_CHARACTERS_MAX)
            OF_THE_MODELS[_metadata["pattern"]] = max(
                OF_THE_MODELS.get(_metadata["pattern"], 0), _most
            )
every_pattern = pytest.mark.parametrize("pattern", sorted(PATTERNS))


def test_every_pattern_of_the_models_is_in_the_table_and_no_other_one():
    assert PATTERNS.keys() == OF_THE_MODELS.keys()


@every_pattern
def test_a_pattern_matches_what_it_does_in_java(pattern):
    matches = patterns.compiled(pattern).fullmatch
    assert [each for each in MATCHING[pattern] if not matches(each)] == []
    assert [each for each in OTHERS[pattern] if matches(each)] == []


@every_pattern
@settings(max_examples=10)
@given(data=st.data())
def test_no_text_makes_a_pattern_slow(pattern, data):
    """One that goes back over all it has read would take longer than the test may."""
    most = OF_THE_MODELS[pattern]
    seeds = [*MATCHING[pattern], *OTHERS[pattern], "a", "1", "aA1", "11.1", " ", "="]
    seed = data.draw(st.sampled_from([each for each in seeds if each]))
    end = data.draw(st.sampled_from(["", "\n", "!", "ä", '"', "\x7f"]))
    begin = data.draw(st.sampled_from(["", "arn:", "https://", "https://ingestion-a."]))
    text = f"{begin}{seed * most}"[: most - len(end)] + end
    patterns.compiled(pattern).fullmatch(text)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        (r"a.b", "aäb", ["a\x85b", "a\u2029b", "a\rb"]),
        (r"a\.b", "a.b", ["aab"]),
        (r"[.]", ".", ["a"]),
        (r"[\].]+", "].", ["a"]),
        (r"\p{L}\p{N}", "ä\u0661", ["1ä", "_1"]),
        (r"\p{Z}", "\u2003", ["\u200b", "a"]),
        (r"\w\d\s", "_1 ", ["ä1 ", "a\u0661 ", "a1\u2003"]),
    ],
)
def test_classes_and_dots_are_those_of_java(pattern, matching, others):
    assert patterns.compiled(pattern).fullmatch(matching)
    assert not any(patterns.compiled(pattern).fullmatch(each) for each in others)


@given(st.characters(), st.sampled_from("CLZN"))
def test_a_category_has_the_characters_of_it(character, category):
    matched = patterns.compiled(rf"\p{{{category}}}").fullmatch(character)
    assert bool(matched) == (unicodedata.category(character)[0] == category)
    negated = patterns.compiled(rf"[^\p{{{category}}}]").fullmatch(character)
    assert bool(negated) != bool(matched)


@pytest.mark.parametrize("pattern", [r"\p{Greek}", r"[\p{Alpha}]", "[a[b]]", "[a&&[b]]"])
def test_what_is_not_known_of_java_is_a_bug_and_no_guess(pattern):
    with pytest.raises(BrokenInvariant):
        patterns.compiled(pattern)


def test_whoever_prepares_waits_for_no_pattern_later():
    patterns.compiled.cache_clear()
    for service in SERVICES:
        requests.prepare(service)
    compiled = patterns.compiled.cache_info().misses
    for pattern in OF_THE_MODELS:
        patterns.compiled(pattern)
    assert patterns.compiled.cache_info().misses == compiled == len(OF_THE_MODELS)


def test_every_pattern_is_compiled_as_ascii():
    assert all(patterns.compiled(each).flags & re.ASCII for each in OF_THE_MODELS)
