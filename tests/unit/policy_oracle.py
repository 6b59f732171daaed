"""Policies decided a second time, from the documented rules and from nothing of ours.

AWS IoT developer guide: "AWS IoT Core policies" and its chapters on variables, connect policies and
actions' resources; IAM user guide: "Policy evaluation logic", "Condition operators", "Creating a
condition with multiple keys or values". Beside these our own two rules for what regions do at once:
all default versions must allow, and a contested attachment only denies. Slow, and simple enough to
be compared with those pages by eye.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

UNSAFE = set("*$+?#")


@dataclass(frozen=True)
class Client:
    """Who asks, as the rules see it."""

    client_id: str = "a"
    address: str = "192.0.2.1"
    certificate_id: str = "c"
    thing: str | None = None
    thing_type: str | None = None
    attributes: dict = field(default_factory=dict)
    #: Of the certificate: "Subject.CommonName" and so on, each with its values.
    names: dict = field(default_factory=dict)
    is_persistent: bool = False
    will: str | None = None

    def values(self, key: str, action: str) -> list[str]:
        """All values that a key has while something is done."""
        name = key.lower()
        single = {
            "iot:clientid": self.client_id,
            "aws:sourceip": self.address,
            "iot:certificateid": self.certificate_id,
            "iot:connection.thing.thingname": self.thing,
            "iot:connection.thing.thingtypename": self.thing_type,
            "iot:connection.thing.isattached": "true" if self.thing else "false",
        }
        if name in single:
            return [] if single[name] is None else [single[name]]
        if name.startswith("iot:connection.thing.attributes["):
            attribute = key[len("iot:connection.thing.attributes[") : -1]
            return [self.attributes[attribute]] if attribute in self.attributes else []
        if name in ("iot:connectattributes", "iot:lastwilltopic"):
            return self._of_connect(name) if action.lower() == "iot:connect" else []
        return self._of_certificate(name.removeprefix("iot:certificate."))

    def _of_connect(self, name: str) -> list[str]:
        if name == "iot:lastwilltopic":
            return [] if self.will is None else [f"topic/{self.will}"]
        given = [("PersistentConnect", self.is_persistent), ("LastWill", self.will is not None)]
        return [each for each, is_given in given if is_given]

    def _of_certificate(self, name: str) -> list[str]:
        if name == "availablekeys":
            return sorted(f"iot:Certificate.{each}" for each in self.names)
        for known, found in self.names.items():
            values, lower = found[:5], known.lower()
            if name == lower:
                return values[:1]
            if name == f"{lower}.list":
                return values
            index = name.removeprefix(f"{lower}.")
            if index.isdigit():
                return values[int(index) : int(index) + 1]
        return []


class Oracle:
    """What policies say to one client of a system."""

    def __init__(self, account: str, regions: set[str], client: Client) -> None:
        self.account, self.regions, self.client = account, regions, client

    def allows(self, attached: list[tuple[list[str], bool]], action: str, suffix: str) -> bool:
        """Of each attached policy all its default versions, and whether it is contested."""
        allowed = False
        for versions, is_contested in attached:
            effects = [self._effects(each, action, suffix) for each in versions]
            if any("Deny" in each for each in effects):
                return False
            if versions and not is_contested and all("Allow" in each for each in effects):
                allowed = True
        # The loop has seen every Deny before it is over.
        return allowed

    def _effects(self, document: str, action: str, suffix: str) -> set[str]:
        statements = json.loads(document)["Statement"]
        statements = statements if isinstance(statements, list) else [statements]
        return {each["Effect"] for each in statements if self._applies(each, action, suffix)}

    def _applies(self, statement: dict, action: str, suffix: str) -> bool:
        is_allow = statement["Effect"] == "Allow"
        names = many(statement.get("Action", statement.get("NotAction")))
        is_named = any(glob(wild(each.lower()), action.lower()) for each in names)
        if is_named != ("Action" in statement):
            return False
        resources = many(statement.get("Resource", statement.get("NotResource")))
        found = [self._names(each, suffix, action) for each in resources]
        if "NotResource" in statement and is_allow and None in found:
            return False
        if (True in found) != ("Resource" in statement):
            return False
        return all(
            self._holds(operator, key, values, action, is_allow)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )

    # Resources

    def _names(self, arn: str, suffix: str, action: str, has_wildcards: bool = True) -> bool | None:
        """Whether an ARN names it; None where a variable has no value."""
        if arn == "*" and has_wildcards:
            return True
        _, partition, service, region, account, rest = arn.split(":", 5)
        known = [
            (partition, {"aws", "aws-cn", "aws-us-gov"}),
            (service, {"iot"}),
            (region, self.regions),
            (account, {self.account}),
        ]
        for pattern, ours in known:
            tokens = wild(pattern) if has_wildcards else list(pattern)
            if not any(glob(tokens, each) for each in ours):
                return False
        tokens = self._tokens(rest, action, has_wildcards)
        return None if tokens is None else glob(tokens, suffix)

    def _tokens(self, text: str, action: str, has_wildcards: bool) -> list[str] | None:
        """Single characters, and "ANY" and "ONE"; None where a variable has no value."""
        tokens: list[str] = []
        while text:
            if text.startswith("${"):
                name, _, text = text[2:].partition("}")
                if name in ("*", "?", "$"):
                    tokens.append(name)
                    continue
                # What a CONNECT asks for is no variable.
                values = self.client.values(name, "")
                if not values or UNSAFE & set(values[0]) or len(values[0]) > 1024:
                    return None
                tokens += values[0]
            else:
                tokens += wild(text[0]) if has_wildcards else [text[0]]
                text = text[1:]
        return tokens

    # Conditions

    def _holds(self, operator: str, key: str, given: object, action: str, is_allow: bool) -> bool:
        quantifier, _, name = operator.rpartition(":")
        actual, wanted = self.client.values(key, action), many(given)
        if name == "Null":
            return (not actual) == (str(wanted[0]).lower() == "true")
        is_negated = "Not" in name
        if not quantifier and not actual:
            return is_negated
        verdicts: list[bool] = []
        for value in actual:
            found = [self._compares(name, key, value, each, action) for each in wanted]
            if is_negated and is_allow and None in found:
                return False
            verdicts.append((True in found) != is_negated)
        if not actual and is_negated and is_allow:
            unresolved = [self._compares(name, key, "", each, action) for each in wanted]
            if None in unresolved:
                return False
        return any(verdicts) if quantifier == "ForAnyValue" else all(verdicts)

    def _compares(
        self, name: str, key: str, value: str, wanted: object, action: str
    ) -> bool | None:
        text = str(wanted)
        if name == "Bool":
            return value == text.lower()
        if "IpAddress" in name:
            return in_range(value, text)
        has_wildcards = name.startswith("Arn") or name.endswith("Like")
        if key.lower() == "iot:lastwilltopic":
            return self._names(text, value, action, has_wildcards)
        tokens = self._tokens(text, action, has_wildcards)
        if tokens is None:
            return None
        if name.endswith("IgnoreCase"):
            tokens, value = [each.lower() for each in tokens], value.lower()
        return glob(tokens, value)


def many(value: object) -> list:
    return value if isinstance(value, list) else [value]


def wild(text: str) -> list[str]:
    return [{"*": "ANY", "?": "ONE"}.get(each, each) for each in text]


def glob(tokens: list[str], text: str) -> bool:
    """Whether tokens are the whole of a text: where they may go on, after each character."""
    places = {0}
    for character in [*text, None]:
        # "ANY" may be nothing.
        for place in sorted(places):
            while place < len(tokens) and tokens[place] == "ANY":
                place += 1
                places.add(place)
        if character is None:
            return len(tokens) in places
        places = {
            place if tokens[place] == "ANY" else place + 1
            for place in places
            if place < len(tokens) and tokens[place] in ("ANY", "ONE", character)
        }
    return False


def in_range(address: str, network: str) -> bool:
    """Both as 32 bits, of which the first so many are the same; of IPv6 one address alone."""
    base, _, length = network.partition("/")
    if ":" in address or ":" in base:
        return address == network
    one, other = (
        sum(int(n) << 8 * (3 - i) for i, n in enumerate(each.split(".")))
        for each in (address, base)
    )
    return (one ^ other) >> (32 - int(length or 32)) == 0
