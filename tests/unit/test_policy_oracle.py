"""Ours and the oracle decide alike, in random cases, and a wrong evaluator is found."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from policy_cases import (
    ACCOUNT,
    ACTIONS,
    ATTACHED,
    CLIENTS,
    NARROWLY,
    REGIONS,
    SUFFIXES,
    authorizer,
)
from policy_oracle import Oracle

from isthmus.core import policy, policy_conditions, policy_context, policy_document, policy_keys
from isthmus.core.pattern import Matcher
from isthmus.core.policy_fields import Resource

CASES = st.tuples(ATTACHED | NARROWLY, CLIENTS, SUFFIXES)


def differences(case):
    """What ours and the oracle decide otherwise."""
    attached, client, suffixes = case
    ours, oracle = authorizer(attached, client), Oracle(ACCOUNT, set(REGIONS), client)
    return [
        (action, suffix)
        for suffix in suffixes
        for action in ACTIONS
        if ours.allows(action, suffix).allowed != oracle.allows(attached, action, suffix)
    ]


@pytest.mark.timeout(300)
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(CASES)
def test_ours_decides_as_the_oracle_does(case):
    assert differences(case) == []


def mutants():
    """Ways to be wrong, each a name and what it puts in place of what."""
    holds, about, resources = (
        policy_conditions.Condition.holds,
        policy_document.Policy.about,
        policy._resources,
    )

    def never_denies(self, action):
        return tuple(each for each in about(self, action) if each.is_allow)

    def ignores_conditions(self, values, *, is_allow):
        return True

    def grants_the_unresolved(self, values, *, is_allow):
        return holds(self, values, is_allow=False)

    def all_is_any(self, values, *, is_allow):
        if self.quantifier == policy_conditions.FOR_ALL:
            return any(self._comparison(values)[0](each) for each in values.all(self.key))
        return holds(self, values, is_allow=is_allow)

    def contested_allows(attached, known, action, real=policy._rules):
        return real(tuple(policy.Attached(a.name, a.documents) for a in attached), known, action)

    def one_version_is_enough(attached, known, action, real=policy._rules):
        found = real(attached, known, action)
        return found._replace(allows=tuple((d,) for docs in found.allows for d in docs))

    def known_always(self, action):
        return policy_context.Connecting(self, self._asked)

    def any_account(self, system):
        return bool(self.system)

    def first_is_last(names, real=policy_keys.of_certificate):
        return real({name: values[::-1] for name, values in names.items()})

    def minds_case(self, text):
        return text in self.literals or text.startswith(self.prefixes)

    def not_resource_is_resource(statement, known, values):
        return None if statement.is_not_resource else resources(statement, known, values)

    return {
        "never denies": (policy_document.Policy, "about", never_denies),
        "ignores conditions": (policy_conditions.Condition, "holds", ignores_conditions),
        "grants by the unresolved": (policy_conditions.Condition, "holds", grants_the_unresolved),
        "takes all for any": (policy_conditions.Condition, "holds", all_is_any),
        "lets the contested allow": (policy, "_rules", contested_allows),
        "is content with one version": (policy, "_rules", one_version_is_enough),
        "knows the CONNECT always": (policy_context.Known, "doing", known_always),
        "takes any ARN for ours": (Resource, "is_of", any_account),
        "takes the last name for the first": (policy_keys, "of_certificate", first_is_last),
        "has no globs": (Matcher, "matches", minds_case),
        "passes over NotResource": (policy, "_resources", not_resource_is_resource),
    }


@pytest.mark.parametrize("name", mutants())
def test_an_evaluator_that_is_wrong_is_found(monkeypatch, name):
    monkeypatch.setattr(*mutants()[name])
    search = settings(
        max_examples=5_000,
        phases=(Phase.generate,),
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        find(CASES, differences, settings=search, random=Random(name))
    except NoSuchExample:
        pytest.fail(f"nothing tells that it {name}")
