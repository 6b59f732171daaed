"""Decides what a client may do: AWS IoT policies, parsed once, compiled for each session.

A policy document is parsed into tokens when it is stored (``policy_document``), so that whatever we
would not evaluate is refused there and never ignored later. What statements say whoever asks is
found out once for all sessions; a session (`Authorizer`) adds its own identity, for an action when
it first asks for that: variables become text, conditions, which depend on nothing that changes
during a session, become true or false, and what remains per message is a handful of string
comparisons behind a small cache.

The invariant: an action is allowed only if some uncontested attached policy has a matching Allow
statement in *each* of its concurrent default versions, and no attached policy, contested or not,
has a matching Deny statement in *any* of them.

Variables that cannot be resolved (no such thing or attribute, or a value with ``* $ + ? #`` in it
or too long to be substituted) match nothing, neither for Allow nor for Deny, as on AWS. In the
negated forms, NotResource and StringNotEquals, "nothing is excepted" would let an Allow grant
everything; there the Allow statement does not apply, while a Deny statement still denies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

from isthmus.core.pattern import Matcher, Variable, matcher, resolve
from isthmus.core.policy_conditions import Values
from isthmus.core.policy_context import Context, Known
from isthmus.core.policy_document import Policy, Statement

#: Decisions kept per session. A device uses a few topics; more would cost memory per connection.
CACHED_DECISIONS_MAX = 64
#: Actions that one session uses: connect, publish, subscribe, receive, retain, a few shadow ones.
CACHED_ACTIONS_MAX = 16


@dataclass(frozen=True, slots=True)
class Attached:
    """One attached policy with all its concurrent default versions.

    ``is_contested``: it was detached in one region while it was attached in another, so its Deny
    statements count and its Allow statements do not.
    """

    name: str
    documents: tuple[Policy, ...]
    is_contested: bool = False


class Decision(NamedTuple):
    """Whether an action is allowed, and the sentence that says why."""

    allowed: bool
    reason: str


class _Rule(NamedTuple):
    """A statement about one action, as one session sees it."""

    policy: str
    statement: Statement
    resources: Matcher

    def covers(self, suffix: str) -> bool:
        return self.resources.matches(suffix) != self.statement.is_not_resource

    def decision(self) -> Decision:
        is_allow, label = self.statement.is_allow, self.statement.label
        verb = "allows" if is_allow else "denies"
        return Decision(is_allow, f"policy {self.policy!r}, {label} {verb} it")


class _Rules(NamedTuple):
    """What counts for one action: Deny rules, and per policy and document its Allow rules."""

    denies: tuple[_Rule, ...]
    allows: tuple[tuple[tuple[_Rule, ...], ...], ...]


class Authorizer:
    """Answers for one session. Make a new one when a policy, an attachment or the thing changes."""

    __slots__ = ("_decide", "_rules_for")

    def __init__(self, attached: Sequence[Attached], context: Context) -> None:
        held = tuple(attached)
        rules_for = lru_cache(CACHED_ACTIONS_MAX)(partial(_rules, held, Known(context)))
        self._rules_for: Callable[[str], _Rules] = rules_for
        # The cache holds a function of the rules, not of self: no cycle outlives the session.
        self._decide: Callable[[str, str], Decision] = lru_cache(CACHED_DECISIONS_MAX)(
            partial(_decide, held, rules_for)
        )

    def allows(self, action: str, resource_suffix: str) -> Decision:
        """Whether this session may do ``iot:Publish`` on ``topic/a/b``, and why."""
        return self._decide(action, resource_suffix)

    def denies(self, action: str, resource_suffix: str) -> bool:
        """Whether a statement says that this session may not, and not only none that it may."""
        return any(rule.covers(resource_suffix) for rule in self._rules_for(action).denies)


def _rules(attached: tuple[Attached, ...], known: Known, action: str) -> _Rules:
    """What attached policies say of an action in a session."""
    lower = action.lower()
    values = known.doing(lower)
    denies: list[_Rule] = []
    allows: list[tuple[tuple[_Rule, ...], ...]] = []
    for policy in attached:
        documents: list[tuple[_Rule, ...]] = []
        for document in policy.documents:
            kept: list[_Rule] = []
            for statement in document.about(lower):
                if statement.is_allow and policy.is_contested:
                    continue
                resources = _resources(statement, known, values)
                if resources is not None:
                    rule = _Rule(policy.name, statement, resources)
                    (kept if statement.is_allow else denies).append(rule)
            documents.append(tuple(kept))
        # A policy of which one version says nothing allows nothing; nor does one without versions.
        if documents and all(documents):
            allows.append(tuple(documents))
    return _Rules(tuple(denies), tuple(allows))


def _resources(statement: Statement, known: Known, values: Values) -> Matcher | None:
    """What a statement names in a session; None where it cannot apply to anything."""
    for each in statement.conditions:
        if not each.holds(values, is_allow=statement.is_allow):
            return None
    suffixes, fixed = statement.ours(known.system)
    if fixed is not None:
        return fixed
    resolved = [resolve(suffix, known.get) for suffix in suffixes]
    if statement.is_not_resource and statement.is_allow and None in resolved:
        return None
    return matcher(pattern for pattern in resolved if pattern is not None)


def _decide(
    attached: tuple[Attached, ...],
    rules_for: Callable[[str], _Rules],
    action: str,
    suffix: str,
) -> Decision:
    rules = rules_for(action)
    for rule in rules.denies:
        if rule.covers(suffix):
            return rule.decision()
    for documents in rules.allows:
        found = [_first_covering(document, suffix) for document in documents]
        if found[0] and all(found):
            return found[0].decision()
    return Decision(False, f"no statement allows {action} here{_note(attached)}")


def _first_covering(document: tuple[_Rule, ...], suffix: str) -> _Rule | None:
    for rule in document:
        if rule.covers(suffix):
            return rule
    return None


def _note(attached: Sequence[Attached]) -> str:
    """Why an Allow that somebody may be looking for does not count."""
    notes = [] if attached else ["no policy is attached"]
    for policy in attached:
        if policy.is_contested:
            notes.append(f"policy {policy.name!r} is contested, so its Allow does not count")
        elif len(policy.documents) != 1:
            notes.append(f"policy {policy.name!r} has {len(policy.documents)} default versions")
    return f" ({'; '.join(notes)})" if notes else ""


def missing(attached: Sequence[Attached], context: Context, action: str) -> list[str]:
    """What statements about an action look at, and has no value in this session."""
    lower = action.lower()
    wanted: set[str] = set()
    for document in (document for each in attached for document in each.documents):
        for statement in document.about(lower):
            patterns = [resource.suffix for resource in statement.resources]
            for condition in statement.conditions:
                wanted.add(condition.key)
                patterns += (*condition.patterns, *(arn.suffix for arn in condition.arns))
            wanted |= {
                token.name for each in patterns for token in each if isinstance(token, Variable)
            }
    values = Known(context).doing(lower)
    return sorted(key for key in wanted if not values.all(key))
