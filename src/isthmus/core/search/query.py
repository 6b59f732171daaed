"""Reads the text of a query.

NOT binds tightest, then AND, then OR. Clauses that stand beside each other must all match, and are
joined last: ``a OR b c`` is ``(a OR b) AND c``, as others have measured on AWS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from isthmus.core.search.expression import (
    Bound,
    Every,
    Everything,
    Expression,
    Not,
    Pattern,
    Phrase,
    Range,
    Some,
    Term,
    Value,
    fold,
    number,
)
from isthmus.errors import InputError

#: AWS's; of a query whose one term begins with a wildcard it allows less.
CHARACTERS_MAX = 1000
CHARACTERS_WITH_LEADING_MAX = 100
TERMS_MAX = 12
WILDCARDS_MAX = 2
#: A dozen terms need a fraction of it, and it is a fraction of what Python's stack takes.
NODES_MAX = 100

_GRAMMAR = r"""
?start: clauses
?clauses: either | either either+ -> every
?either: both | both (_or both)+ -> some
?both: clause | clause (_and clause)+ -> every
?clause: one | _not one -> negation
?one: "(" clauses ")"
    | _value -> anywhere
    | WORD ":" (_value | NEGATIVE) -> within
    | WORD ":" "(" clauses ")" -> each_within
    | WORD COMPARISON (WORD | PHRASE | NEGATIVE) -> compared
_value: WORD | PHRASE | range
range: OPEN _bound "TO"? _bound CLOSE
_bound: BOUND | PHRASE
_or: "OR" | "||"
_and: "AND" | "&&"
_not: "NOT" | "-" | "!"

OPEN: "[" | "{"
CLOSE: "]" | "}"
COMPARISON: /[<>]=?/
NEGATIVE: /-[0-9][^\s:"()\[\]{}\\<>]*/
PHRASE: /"(?:[^"\\]|\\.)*"/s
BOUND: /(?:[^\s"\[\]{}\\]|\\.)+/s
WORD: /(?:[^\s:"()\[\]{}\\<>!-]|\\.)(?:[^\s:"()\[\]{}\\<>]|\\.)*/s
%ignore /\s+/
"""
_PARSER = Lark(_GRAMMAR, parser="lalr")
_KEYWORDS = {"AND", "OR", "NOT", "&&", "||"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PIECE = re.compile(r"\\(.)|([*?])", re.DOTALL)


class InvalidQuery(InputError):
    """This is not a query."""


def parse(text: str) -> Expression:
    """What a query asks for; raises InvalidQuery, and nothing else, for what is none."""
    try:
        tree = _PARSER.parse(text)
    except UnexpectedToken as error:
        is_over = error.token.type == "$END"
        at = "the end" if is_over else _place(error.token)
        raise _invalid(text, f"invalid syntax at {at}") from None
    except UnexpectedCharacters as error:
        raise _invalid(
            text, f"invalid syntax at character {(error.pos_in_stream or 0) + 1}"
        ) from None
    return _Reader(text).read(tree)


def _invalid(text: str, reason: str) -> InvalidQuery:
    return InvalidQuery(f"Unable to parse query, {reason}, query string: {text}")


class _Reader:
    """From the parser's tree to what it says."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._leading = 0

    def read(self, tree: Tree[Token]) -> Expression:
        nodes = list(tree.iter_subtrees())
        # What is in no field, in one, or compared.
        count = sum(1 for node in nodes if node.data in ("anywhere", "within", "compared"))
        if count > TERMS_MAX:
            self._refuse(f"number of terms cannot exceed {TERMS_MAX}, terms found: {count}")
        if len(nodes) > NODES_MAX:
            self._refuse(f"clauses are nested in each other more than {NODES_MAX} times")
        expression = self._expression(tree)
        if self._leading > 1:
            self._refuse("more than one term begins with a wildcard")
        if self._leading and len(self._text) > CHARACTERS_WITH_LEADING_MAX:
            most = CHARACTERS_WITH_LEADING_MAX
            self._refuse(f"one with a term that begins with a wildcard has over {most} characters")
        return expression

    def _refuse(self, reason: str) -> NoReturn:
        raise _invalid(self._text, reason)

    def _expression(self, tree: Tree[Token], field: str | None = None) -> Expression:
        match tree.data, tree.children:
            case "every", parts:
                return Every(tuple(self._all(parts, field)))
            case "some", parts:
                return Some(tuple(self._all(parts, field)))
            case "negation", [Tree() as part]:
                return Not(self._expression(part, field))
            case "anywhere", [value]:
                return self._term(field, value)
            case "within", [Token() as name, value]:
                return self._term(self._field(name, field), value)
            case "each_within", [Token() as name, Tree() as part]:
                return self._expression(part, self._field(name, field))
            case "compared", [Token() as name, Token() as sign, Token() as value]:
                return Term(self._field(name, field), self._compared(sign, value))
        raise AssertionError(tree)

    def _all(self, parts: list[Any], field: str | None) -> Iterator[Expression]:
        return (self._expression(part, field) for part in parts)

    def _field(self, token: Token, outer: str | None) -> str:
        if outer is not None:
            self._refuse(f"a field within the field {outer} at {_place(token)}")
        self._check(token)
        return _ESCAPED.sub(r"\1", token)

    def _check(self, token: Token) -> None:
        """Raise InvalidQuery for what is no word, or means what Lucene has and AWS has not."""
        plain = _ESCAPED.sub("", token)
        at = _place(token)
        if token in _KEYWORDS:
            self._refuse(f"invalid syntax at {at}")
        if token.startswith("+"):
            self._refuse(f'unsupported operator - "+" at {at}')
        if token.startswith("/"):
            self._refuse(f"unsupported query type - regular expression at {at}")
        for sign, name in (("~", "fuzzy"), ("^", "boost")):
            if sign in plain:
                self._refuse(f"unsupported query type - {name} at {at}")

    # Values

    def _term(self, field: str | None, value: Token | Tree[Token]) -> Expression:
        if isinstance(value, Token):
            if field is None and value == "*":
                return Everything()
            return Term(field, self._phrase(value) or self._pattern(value))
        return Term(field, self._range(value.children))

    def _phrase(self, token: Token) -> Phrase | None:
        if token.type != "PHRASE":
            return None
        return Phrase(fold(_ESCAPED.sub(r"\1", token[1:-1])))

    def _pattern(self, token: Token) -> Value:
        self._check(token)
        literals, wildcards, end = [""], "", 0
        for piece in _PIECE.finditer(token):
            literals[-1] += token[end : piece.start()] + (piece[1] or "")
            end = piece.end()
            if piece[2]:
                wildcards += piece[2]
                literals.append("")
        literals[-1] += token[end:]
        found = Pattern(tuple(map(fold, literals)), wildcards)
        if wildcards.count("*") > WILDCARDS_MAX:
            self._refuse(
                "invalid value - too many wildcards (*). The maximum allowed per term is "
                f"{WILDCARDS_MAX}, at {_place(token)}"
            )
        if wildcards and not found.begins and not found.is_any:
            if wildcards[0] == "?":
                self._refuse(
                    "invalid value - wildcard character (?) is not allowed at the start of the "
                    f"value, at {_place(token)}"
                )
            self._leading += 1
        return found

    def _compared(self, sign: Token, value: Token) -> Range:
        bound = self._bound(value, is_within=sign.endswith("="))
        return Range(bound, None) if sign.startswith(">") else Range(None, bound)

    def _range(self, children: list[Any]) -> Range:
        opening, low, high, closing = children
        return Range(
            self._bound(low, is_within=opening == "["),
            self._bound(high, is_within=closing == "]"),
        )

    def _bound(self, end: Token, *, is_within: bool) -> Bound | None:
        phrase = self._phrase(end)
        if phrase is not None:
            return Bound(phrase.text, None, is_within)
        if end == "TO":
            self._refuse(f"invalid syntax at {_place(end)}")
        if end == "*":
            return None
        text = _ESCAPED.sub(r"\1", end)
        return Bound(fold(text), number(text), is_within)


def _place(token: Token) -> str:
    return f"character {(token.start_pos or 0) + 1}"
