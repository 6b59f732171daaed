"""Decides what a client may do: AWS IoT policies, parsed once, compiled once per session.

A policy document is parsed into tokens when it is stored (`parse`), so that whatever we would
not evaluate is refused there and never ignored later. A session compiles the documents attached
to it with its own identity (`Authorizer`): variables become text, conditions, which depend on
nothing that changes during a session, become true or false, and what remains per message is a
handful of string comparisons behind a small cache.

The invariant: an action is allowed only if some uncontested attached policy has a matching Allow
statement in *each* of its concurrent default versions, and no attached policy, contested or not,
has a matching Deny statement in *any* of them.

Variables that cannot be resolved (no such thing or attribute, or a value with ``* $ + ? #`` in it
or too long to be substituted) match nothing, neither for Allow nor for Deny, as on AWS. In the
negated forms, NotResource and StringNotEquals, "nothing is excepted" would let an Allow grant
everything; there the Allow statement does not apply, while a Deny statement still denies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import NamedTuple

from isthmus.core.pattern import Matcher, Pattern, Variable, matcher, resolve
from isthmus.core.policy_document import ATTRIBUTE, KEYS, Condition, Policy, Resource, Statement
from isthmus.core.policy_document import parse as parse

#: Decisions kept per session. A device uses a few topics; more would cost memory per connection.
CACHED_DECISIONS_MAX = 64
#: Actions that one session uses: connect, publish, subscribe, receive, retain, a few shadow ones.
CACHED_ACTIONS_MAX = 16
PARTITIONS = ("aws", "aws-cn", "aws-us-gov")


@dataclass(frozen=True, slots=True)
class Attached:
    """One attached policy with all its concurrent default versions.

    ``is_contested``: it was detached in one region while it was attached in another, so its Deny
    statements count and its Allow statements do not.
    """

    name: str
    documents: tuple[Policy, ...]
    is_contested: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """Who the client is, and which names this system goes by in ARNs.

    ``thing_*``, ``attributes`` and ``is_attached`` are those of the thing associated with the
    connection, and absent where there is none; so is any value that is not known. ``regions`` holds
    every region's name and aliases: a policy that names one region holds in all, or a failover
    would deny the whole fleet.
    """

    client_id: str | None
    source_ip: str | None
    certificate_id: str
    account: str
    regions: frozenset[str]
    thing_name: str | None = None
    thing_type: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    is_attached: bool = False

    def values(self) -> dict[str, str]:
        """Every condition key and variable that has a value in this session."""
        known = dict(
            zip(
                KEYS,
                (
                    self.client_id,
                    self.source_ip,
                    self.certificate_id,
                    self.thing_name,
                    self.thing_type,
                    "true" if self.is_attached else "false",
                ),
                strict=True,
            )
        )
        values = {key: value for key, value in known.items() if value is not None}
        return values | {f"{ATTRIBUTE}{name}]": v for name, v in self.attributes.items()}


class Decision(NamedTuple):
    """Whether an action is allowed, and the sentence that says why."""

    allowed: bool
    reason: str


class _Rule(NamedTuple):
    """A statement as one session sees it."""

    actions: Matcher
    is_not_action: bool
    resources: Matcher
    is_not_resource: bool
    decision: Decision

    def covers_action(self, action: str) -> bool:
        return self.actions.matches(action) != self.is_not_action

    def covers_resource(self, suffix: str) -> bool:
        return self.resources.matches(suffix) != self.is_not_resource


class _Rules(NamedTuple):
    """What counts in one session: Deny rules, and per policy and document its Allow rules."""

    denies: tuple[_Rule, ...]
    allows: tuple[tuple[tuple[_Rule, ...], ...], ...]
    #: Why an Allow that somebody may be looking for does not count.
    note: str


class Authorizer:
    """Answers for one session. Make a new one when a policy, an attachment or the thing changes."""

    __slots__ = ("_decide", "_rules_for")

    def __init__(self, attached: Sequence[Attached], context: Context) -> None:
        rules_for = lru_cache(CACHED_ACTIONS_MAX)(partial(_select, _compile(attached, context)))
        self._rules_for: Callable[[str], _Rules] = rules_for
        # The cache holds a function of the rules, not of self: no cycle outlives the session.
        self._decide: Callable[[str, str], Decision] = lru_cache(CACHED_DECISIONS_MAX)(
            partial(_decide, rules_for)
        )

    def allows(self, action: str, resource_suffix: str) -> Decision:
        """Whether this session may do ``iot:Publish`` on ``topic/a/b``, and why."""
        return self._decide(action, resource_suffix)

    def denies(self, action: str, resource_suffix: str) -> bool:
        """Whether a statement says that this session may not, and not only none that it may."""
        return any(rule.covers_resource(resource_suffix) for rule in self._rules_for(action).denies)


def _compile(attached: Sequence[Attached], context: Context) -> _Rules:
    values = context.values()
    denies: list[_Rule] = []
    allows: list[tuple[tuple[_Rule, ...], ...]] = []
    notes: list[str] = [] if attached else ["no policy is attached"]
    for policy in attached:
        documents: list[tuple[_Rule, ...]] = []
        for document in policy.documents:
            kept: list[_Rule] = []
            for statement in document.statements:
                rule = _rule(policy.name, statement, context, values)
                if rule:
                    (kept if statement.is_allow else denies).append(rule)
            documents.append(tuple(kept))
        if policy.is_contested:
            notes.append(f"policy {policy.name!r} is contested, so its Allow does not count")
        else:
            allows.append(tuple(documents))
            if len(documents) != 1:
                notes.append(f"policy {policy.name!r} has {len(documents)} default versions")
    return _Rules(tuple(denies), tuple(allows), f" ({'; '.join(notes)})" if notes else "")


def _rule(
    name: str, statement: Statement, context: Context, values: Mapping[str, str]
) -> _Rule | None:
    """The statement in this session; None where it cannot apply to anything."""
    if not all(_holds(each, statement.is_allow, values) for each in statement.conditions):
        return None
    ours = [each.suffix for each in statement.resources if _is_ours(each, context)]
    resolved = [resolve(suffix, values) for suffix in ours]
    if statement.is_not_resource and statement.is_allow and None in resolved:
        return None
    verb = "allows" if statement.is_allow else "denies"
    return _Rule(
        actions=statement.actions,
        is_not_action=statement.is_not_action,
        resources=matcher(pattern for pattern in resolved if pattern is not None),
        is_not_resource=statement.is_not_resource,
        decision=Decision(statement.is_allow, f"policy {name!r}, {statement.label} {verb} it"),
    )


def missing(attached: Sequence[Attached], context: Context, action: str) -> list[str]:
    """What statements about an action look at, and has no value in this session."""
    wanted: set[str] = set()
    for document in (document for each in attached for document in each.documents):
        for statement in document.statements:
            if statement.actions.matches(action.lower()) == statement.is_not_action:
                continue
            patterns = [resource.suffix for resource in statement.resources]
            for condition in statement.conditions:
                wanted.add(condition.key)
                patterns += condition.values
            wanted |= {
                token.name for each in patterns for token in each if isinstance(token, Variable)
            }
    return sorted(wanted - context.values().keys())


def _is_ours(resource: Resource, context: Context) -> bool:
    candidates = (PARTITIONS, ("iot",), context.regions, (context.account,))
    for pattern, names in zip(resource.system, candidates, strict=True):
        field_matcher = _system_matcher(pattern)
        if not any(field_matcher.matches(name) for name in names):
            return False
    return True


@lru_cache(256)
def _system_matcher(pattern: Pattern) -> Matcher:
    """Shared by all sessions: the first fields of an ARN hold no variables."""
    return matcher([[token for token in pattern if not isinstance(token, Variable)]])


def _holds(condition: Condition, is_allow: bool, values: Mapping[str, str]) -> bool:
    value = values.get(condition.key)
    is_negated = condition.operator == "StringNotEquals"
    if value is None:
        return is_negated
    resolved = [resolve(pattern, values) for pattern in condition.values]
    if is_negated and is_allow and None in resolved:
        return False
    return matcher(each for each in resolved if each is not None).matches(value) != is_negated


def _select(rules: _Rules, action: str) -> _Rules:
    """Those rules that are about this action."""
    lower = action.lower()
    allows: list[tuple[tuple[_Rule, ...], ...]] = []
    for documents in rules.allows:
        kept = tuple(tuple(r for r in each if r.covers_action(lower)) for each in documents)
        # A policy of which one version says nothing allows nothing; nor does one without versions.
        if kept and all(kept):
            allows.append(kept)
    denies = tuple(rule for rule in rules.denies if rule.covers_action(lower))
    return _Rules(denies, tuple(allows), f"no statement allows {action} here{rules.note}")


def _decide(rules_for: Callable[[str], _Rules], action: str, suffix: str) -> Decision:
    rules = rules_for(action)
    for rule in rules.denies:
        if rule.covers_resource(suffix):
            return rule.decision
    for documents in rules.allows:
        found = [_first_covering(document, suffix) for document in documents]
        if found[0] and all(found):
            return found[0].decision
    return Decision(False, rules.note)


def _first_covering(document: tuple[_Rule, ...], suffix: str) -> _Rule | None:
    for rule in document:
        if rule.covers_resource(suffix):
            return rule
    return None
