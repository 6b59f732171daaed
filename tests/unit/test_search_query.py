"""What a query of the fleet index says: read from its text, and of what it is true."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.search.expression import (
    Bound,
    Every,
    Everything,
    Not,
    Pattern,
    Phrase,
    Range,
    Some,
    Term,
)
from isthmus.core.search.matching import matches
from isthmus.core.search.query import InvalidQuery, parse


class Known:
    """A document as a mapping."""

    def __init__(self, **fields):
        self.fields = {name.replace("__", "."): values for name, values in fields.items()}

    def values(self, field):
        return self.fields.get(field, ())

    def anywhere(self):
        return [(name, each) for name, values in self.fields.items() for each in values]


LAMP = Known(
    thingName=("Lamp-1",),
    thingGroupNames=("kitchen", "House"),
    attributes__colour=("red",),
    attributes__watts=("75",),
    attributes__low=("-5.5",),
    attributes__serial=("abcd",),
    connectivity__connected=(True,),
    connectivity__timestamp=(1557651600000,),
    description=("Where we Cook  and eat",),
)


@pytest.mark.parametrize(
    "query",
    [
        "*",
        "lamp-1",
        "RED",
        "thingName:lamp-1",
        "thingName : lamp-1",
        "thingName:LAMP*",
        "thingName:l*-?",
        "thingName:*mp*",
        'thingName:"lamp-1"',
        r"thingName:lamp\-1",
        "attributes.colour:*",
        "thingGroupNames:house thingGroupNames:kitchen",
        "thingGroupNames:(house AND -garage)",
        "attributes.watts:75",
        "attributes.watts:[75 TO 80]",
        "attributes.watts:[75 80]",
        "attributes.watts:{70 TO 75]",
        "attributes.watts:[* TO 80]",
        "attributes.watts:[9 TO *]",
        "attributes.watts>9",
        "attributes.watts > 7.45e1",
        "attributes.watts>=75 attributes.watts<=75",
        "attributes.low>-6 && attributes.low<-5",
        "attributes.low:-5.5",
        "attributes.low:[-6 TO -5]",
        'attributes.serial:["abcc" TO "abce"]',
        "attributes.serial>abcc",
        "attributes.colour:red AND attributes.watts<80 NOT attributes.watts>90",
        "NOT attributes.model:legacy",
        "connectivity.connected:true",
        "connectivity.timestamp : [1557651600000 TO 1557867600000]",
        "thingName:x OR thingName:lamp-1",
        "x OR lamp-1 red",
        "red AND x || red",
        "red OR x AND y",
        "x AND y OR red",
        "!x",
        "red -x",
        "description:cook",
        "description:e?t",
        'description:"we cook and"',
        "ANDROID OR red",
    ],
)
def test_a_query_that_is_true_of_the_lamp(query):
    assert matches(parse(query), LAMP)
    assert not matches(parse(f"NOT ({query})"), LAMP)


@pytest.mark.parametrize(
    "query",
    [
        "thingName:lamp",
        "THINGNAME:lamp-1",
        "thingName:lam?",
        r"thingName:lamp\*",
        'thingName:"lamp*"',
        "attributes.watts:{75 TO 80]",
        "attributes.watts:[70 TO 75}",
        "attributes.watts>75",
        'attributes.watts>"9"',
        "attributes.serial>5",
        "attributes.model:*",
        "NOT attributes.model:legacy AND blue",
        # Joined last: (red OR x) AND blue, and not red OR (x AND blue).
        "red OR x blue",
        "red OR x -red",
        "description:coo",
        'description:"we and"',
        "connectivity.connected:false",
    ],
)
def test_a_query_that_is_not_true_of_the_lamp(query):
    assert not matches(parse(query), LAMP)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "invalid syntax at the end"),
        ("thingName:a AND", "invalid syntax at the end"),
        ("(a", "invalid syntax at the end"),
        ("a)", "invalid syntax at character 2"),
        ("a OR OR b", "invalid syntax at character 6"),
        ("a:b:c", "invalid syntax at character 4"),
        ("a:<5", "invalid syntax at character 3"),
        ("a:[1 TO 2", "invalid syntax at the end"),
        ("a:[TO 2]", "invalid syntax at character 4"),
        ("NOT NOT a", "invalid syntax at character 5"),
        ('a "b', "invalid syntax at character 3"),
        ("a:(b:c)", "a field within the field a at character 4"),
        ("a:b~2", "unsupported query type - fuzzy at character 3"),
        ("a:b^2", "unsupported query type - boost at character 3"),
        ("a:/b/", "unsupported query type - regular expression at character 3"),
        ("x +b", 'unsupported operator - "+" at character 3'),
        ("a:b*c*d*", "too many wildcards"),
        ("a:?b", "wildcard character (?) is not allowed at the start"),
        ("a:*b c:*d", "more than one term begins with a wildcard"),
        ("a:*b" + " OR a:b" * 11 + "c" * 30, "over 100 characters"),
        ("a " * 13, "number of terms cannot exceed 12, terms found: 13"),
        ("-(" * 200 + "a" + ")" * 200, "nested"),
    ],
)
def test_what_is_no_query_is_refused_with_the_place(query, reason):
    with pytest.raises(InvalidQuery) as refused:
        parse(query)
    assert reason in str(refused.value)


SOME_OF_IT = st.lists(
    st.sampled_from(
        [
            *'ab:*?"\\()[]{}<>=-+!~^/ .5',
            " AND ",
            " OR ",
            " NOT ",
            " TO ",
            "&&",
            "||",
            "x:",
            "[1 TO ",
        ]
    )
).map("".join)


@given(st.text() | SOME_OF_IT)
def test_whatever_is_asked_is_a_query_or_refused(text):
    with contextlib.suppress(InvalidQuery):
        matches(parse(text), LAMP)


# What was said is what is read

texts = st.text('ab5:*?"\\()[]<>- /~^+AND', min_size=1, max_size=4)
bounds = st.builds(Bound, texts.map(str.lower), st.none(), st.booleans())
numbers = st.integers(-99, 99)
fields = st.sampled_from(["thingName", "attributes.a:b"])
patterns = st.builds(
    lambda literals, wildcards: Pattern((*literals, "")[: len(wildcards) + 1], wildcards),
    st.tuples(texts.map(str.lower), texts.map(str.lower)),
    st.sampled_from(["", "*", "?", "*?"]),
)
values = st.one_of(
    patterns,
    texts.map(str.lower).map(Phrase),
    st.builds(Range, bounds, bounds),
    st.builds(
        lambda low, high: Range(Bound(f"{low}", low, True), Bound(f"{high}", high, False)),
        numbers,
        numbers,
    ),
)
expressions = st.recursive(
    st.just(Everything()) | st.builds(Term, st.none() | fields, values),
    lambda inner: (
        st.builds(Every, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Some, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Not, inner)
    ),
    max_leaves=12,
)


def written(expression):
    """An expression as somebody would write it who trusts no rule of precedence."""
    match expression:
        case Everything():
            return "*"
        case Term(None, value):
            return value_written(value)
        case Term(field, value):
            return f"{escaped(field)}:{value_written(value)}"
        case Every(parts):
            return f"({' AND '.join(map(written, parts))})"
        case Some(parts):
            return f"({' OR '.join(map(written, parts))})"
        case Not(part):
            return f"(NOT {written(part)})"


def value_written(value):
    match value:
        case Pattern(literals, wildcards):
            pairs = zip(map(escaped, literals), (*wildcards, ""), strict=True)
            return "".join(part for pair in pairs for part in pair)
        case Phrase(text):
            return quoted(text)
        case Range(low, high):
            ends = [quoted(each.text) if each.number is None else each.text for each in (low, high)]
            signs = "[{"[not low.is_within], "]}"[not high.is_within]
            return f"{signs[0]}{ends[0]} TO {ends[1]}{signs[1]}"


def escaped(text):
    return "".join(f"\\{each}" for each in text)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(expressions)
def test_what_is_written_is_what_is_read(expression):
    assert parse(written(expression)) == expression
