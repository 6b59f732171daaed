r"""The patterns of the models, which are Java's, as Python's ``re`` takes them.

Three things differ. In Java ``\w``, ``\d`` and ``\s`` are ASCII, which a flag says here too. It has
classes by name: POSIX ones as ``\p{Graph}``, of ASCII, and Unicode's categories as ``\p{L}``. And a
dot is none of five line terminators, not only of one.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import groupby

from isthmus.errors import BrokenInvariant

_POSIX = {
    "Graph": "!-~",
    "Upper": "A-Z",
    "Digit": "0-9",
    "Cntrl": r"\x00-\x1f\x7f",
}
_CODE_POINTS = range(0x110000)
_ANY = r"[^\n\r\x85\u2028\u2029]"
_TOKEN = re.compile(r"\\p\{(\w+)\}|\\.|.", re.DOTALL)


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern, to be matched with the whole of a text, as AWS does."""
    parts = []
    is_in_class = False
    for token in _TOKEN.finditer(pattern):
        part = token[0]
        if token[1]:
            part = _class(token[1]) if is_in_class else f"[{_class(token[1])}]"
        elif part == "." and not is_in_class:
            part = _ANY
        elif part == "[":
            if is_in_class:
                raise BrokenInvariant(f"{pattern!r}: a class within a class is not known here")
            is_in_class = True
        elif part == "]":
            is_in_class = False
        parts.append(part)
    return re.compile("".join(parts), re.ASCII)


def _class(name: str) -> str:
    """What stands between brackets for a class that has a name."""
    ranges = _POSIX.get(name) or _categories().get(name)
    if ranges is None:
        raise BrokenInvariant(f"the class {name!r} is not known here")
    return ranges


@cache
def _categories() -> dict[str, str]:
    """The ranges of each of Unicode's major categories, in a fifth of a second."""
    found: dict[str, list[str]] = {}
    start = 0
    for category, run in groupby(unicodedata.category(chr(each))[0] for each in _CODE_POINTS):
        end = start + sum(1 for _ in run)
        found.setdefault(category, []).append(rf"\U{start:08x}-\U{end - 1:08x}")
        start = end
    return {category: "".join(ranges) for category, ranges in found.items()}
