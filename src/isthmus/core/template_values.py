"""Values in a provisioning template: texts, parameters, and AWS's functions of them.

An expression is read once, with its template, and is known from then on to give one text or a list
of texts. So whatever can be wrong with it without its parameters is found before it is stored.

The functions are those of AWS's provisioning templates, in the form that CloudFormation gives them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from isthmus.errors import InputError

Table = Mapping[str, Mapping[str, Mapping[str, str]]]

#: Characters of all values that are made on the way to one device: functions of functions of long
#: parameters must not make more. A certificate and its CA have less than a tenth.
MADE_MAX = 256 * 1024
#: What AWS fills in for the certificate that a device shows; a template need not declare them.
CERTIFICATE_PARAMETER = "AWS::IoT::Certificate::"
CERTIFICATE_PARAMETERS = frozenset(
    f"{CERTIFICATE_PARAMETER}{name}"
    for name in (
        *("Country", "Organization", "OrganizationalUnit", "DistinguishedNameQualifier"),
        *("StateName", "CommonName", "SerialNumber", "Id"),
    )
)
#: What is more than text in a policy: wildcards there and in topic filters, what makes a variable,
#: and what ends a text of JSON.
_NOT_PLAIN = frozenset('*?+#${}"\\')
_SHOWN_MAX = 80
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def show(value: Any) -> str:
    """A value as a message names it."""
    return repr(value)[:_SHOWN_MAX]


class Scope:
    """What the expressions of one rendering see, and how much they may still make."""

    def __init__(self, parameters: Mapping[str, str], mappings: Table) -> None:
        self._parameters = parameters
        self.mappings = mappings
        self._left = MADE_MAX

    def parameter(self, name: str, path: str) -> str:
        if name not in self._parameters:
            raise InputError(f"{path}: the parameter {show(name)} is not given")
        return self.made(self._parameters[name], path)

    def made(self, text: str, path: str) -> str:
        """Count a text that is made; raises InputError where that is too much."""
        self._left -= len(text) + 1
        if self._left < 0:
            raise InputError(f"{path}: the template makes more than {MADE_MAX} characters of this")
        return text


class PolicyScope(Scope):
    """What the expressions of a policy see: what is given for a device is nothing but text there.

    Or a device would say what it may do. Defaults are the template's own word, as its maps are.
    """

    def __init__(self, scope: Scope, given: Mapping[str, str]) -> None:
        self._scope = scope
        self._given = given
        self.mappings = scope.mappings

    def parameter(self, name: str, path: str) -> str:
        if found := _NOT_PLAIN.intersection(self._given.get(name, "")):
            what = f"the parameter {show(name)} has {min(found)!r}"
            raise InputError(f"{path}: {what}, which is more than text in a policy")
        return self._scope.parameter(name, path)

    def made(self, text: str, path: str) -> str:
        return self._scope.made(text, path)


@runtime_checkable
class Text(Protocol):
    """Gives one text."""

    def text(self, scope: Scope) -> str: ...


class Texts(Protocol):
    """Gives a list of texts."""

    def texts(self, scope: Scope) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Literal:
    """A text as it stands."""

    value: str

    def text(self, scope: Scope) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of a parameter."""

    path: str
    name: str

    def text(self, scope: Scope) -> str:
        return scope.parameter(self.name, self.path)


@dataclass(frozen=True, slots=True)
class Items:
    """A list as it stands."""

    items: tuple[Text, ...]

    def texts(self, scope: Scope) -> list[str]:
        return [each.text(scope) for each in self.items]


@dataclass(frozen=True, slots=True)
class Join:
    """The texts of a list, with a delimiter between them."""

    path: str
    delimiter: str
    items: Texts

    def text(self, scope: Scope) -> str:
        items = self.items.texts(scope)
        # Counted before it is made: the delimiter may be most of it.
        for _ in items[1:]:
            scope.made(self.delimiter, self.path)
        return scope.made(self.delimiter.join(items), self.path)


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of a text between delimiters."""

    path: str
    delimiter: str
    source: Text

    def texts(self, scope: Scope) -> list[str]:
        source = self.source.text(scope)
        return [scope.made(each, self.path) for each in source.split(self.delimiter)]


@dataclass(frozen=True, slots=True)
class Select:
    """One text of a list, counted from 0."""

    path: str
    index: Text
    items: Texts

    def text(self, scope: Scope) -> str:
        index, items = _index(self.index.text(scope), self.path), self.items.texts(scope)
        if index >= len(items):
            raise InputError(f"{self.path}: there is no item {index} in a list of {len(items)}")
        return items[index]


@dataclass(frozen=True, slots=True)
class FindInMap:
    """A value of the section Mappings: by map, key, and name."""

    path: str
    names: tuple[Text, Text, Text]

    def text(self, scope: Scope) -> str:
        found: Any = scope.mappings
        for each in self.names:
            name = each.text(scope)
            if name not in found:
                raise InputError(f"{self.path}: Mappings has no {show(name)} there")
            found = found[name]
        return scope.made(found, self.path)


@dataclass(frozen=True, slots=True)
class Sub:
    """A text with values in it."""

    path: str
    parts: tuple[Text, ...]

    def text(self, scope: Scope) -> str:
        return scope.made("".join(each.text(scope) for each in self.parts), self.path)


def _index(text: str, path: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 4:
        raise InputError(f"{path}: {show(text)} is no index of a list")
    return int(text)


class Reader:
    """Reads expressions that may refer to these parameters and maps.

    Every path says where in its document something stands: what is refused is named by it.
    """

    def __init__(self, parameters: frozenset[str], mappings: Table) -> None:
        self._parameters = parameters | CERTIFICATE_PARAMETERS
        self._mappings = mappings

    def text(self, value: Any, path: str) -> Text:
        """What gives one text; raises InputError for anything else."""
        if isinstance(value, str):
            return Literal(value)
        name, argument = _function(value, path, "a text")
        path = f"{path}.{name}"
        match name:
            case "Ref":
                return self._ref(argument, path)
            case "Fn::Join":
                delimiter, items = _arguments(argument, path, 2)
                return Join(path, _literal(delimiter, path), self.texts(items, path))
            case "Fn::Select":
                index, items = _arguments(argument, path, 2)
                return self._select(index, self.texts(items, path), path)
            case "Fn::FindInMap":
                return self._find(_arguments(argument, path, 3), path)
            case "Fn::Sub":
                return self._sub(argument, path)
        raise InputError(f"{path}: it is none of the functions that give one text")

    def texts(self, value: Any, path: str) -> Texts:
        """What gives a list of texts; raises InputError for anything else."""
        if isinstance(value, list):
            return Items(tuple(self.text(each, f"{path}[{n}]") for n, each in enumerate(value)))
        name, argument = _function(value, path, "a list of texts")
        path = f"{path}.{name}"
        if name != "Fn::Split":
            raise InputError(f"{path}: only a list, or Fn::Split, gives a list of texts")
        delimiter, source = _arguments(argument, path, 2)
        if not _literal(delimiter, path):
            raise InputError(f"{path}: nothing is split by an empty delimiter")
        return Split(path, delimiter, self.text(source, path))

    def _ref(self, name: Any, path: str) -> Ref:
        if not isinstance(name, str) or name not in self._parameters:
            raise InputError(f"{path}: {show(name)} is none of the section Parameters")
        return Ref(path, name)

    def _select(self, index: Any, items: Texts, path: str) -> Select:
        # Not isinstance: to Python, true is an int.
        read = Literal(str(index)) if type(index) is int else self.text(index, path)
        if isinstance(read, Literal):
            number = _index(read.value, path)
            if isinstance(items, Items) and number >= len(items.items):
                raise InputError(f"{path}: there is no item {number} in the list")
        return Select(path, read, items)

    def _find(self, arguments: list[Any], path: str) -> FindInMap:
        table, key, name = (self.text(each, path) for each in arguments)
        found: Any = self._mappings
        for each in (table, key, name):
            if not isinstance(each, Literal):
                break
            if each.value not in found:
                raise InputError(f"{path}: Mappings has no {show(each.value)} there")
            found = found[each.value]
        return FindInMap(path, (table, key, name))

    def _sub(self, argument: Any, path: str) -> Sub:
        values: dict[str, Text] = {}
        if isinstance(argument, list):
            argument, given = _arguments(argument, path, 2)
            if not isinstance(given, dict):
                raise InputError(f"{path}: the values of a text's variables are an object")
            values = {name: self.text(each, f"{path}.{name}") for name, each in given.items()}
        # Of what it splits, every second one is the name of a variable.
        parts = _VARIABLE.split(_literal(argument, path))
        read = [
            self._variable(part, values, path) if n % 2 else Literal(part)
            for n, part in enumerate(parts)
        ]
        return Sub(path, tuple(read))

    def _variable(self, name: str, values: Mapping[str, Text], path: str) -> Text:
        if name.startswith("!"):
            return Literal(f"${{{name[1:]}}}")
        if name in values:
            return values[name]
        if name not in self._parameters:
            hint = f"${{!{name}}} where it is to stay as it is"
            raise InputError(f"{path}: there is no value for {show(name)}", hint=hint)
        return Ref(path, name)


def is_function(value: Any) -> bool:
    """Whether an object is an expression, where it could be plain data as well."""
    return (
        isinstance(value, dict)
        and len(value) == 1
        and all(name == "Ref" or name.startswith("Fn::") for name in value)
    )


def _function(value: Any, path: str, wanted: str) -> tuple[str, Any]:
    if not is_function(value):
        raise InputError(f"{path}: {show(value)} is not {wanted}, and no function that gives it")
    ((name, argument),) = value.items()
    return name, argument


def _arguments(value: Any, path: str, count: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != count:
        raise InputError(f"{path}: it takes a list of {count}")
    return value


def _literal(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{path}: {show(value)} has to be a text as it stands")
    return value
