"""Direction: what one site holds of a name's routing, and what it concludes from what it hears.

Whoever drives it brings the time and the other sites' states, and puts every route on disk before
it is adopted: a route that is only answered here is not yet this site's, and nobody is told of it.

Invariant: a route is adopted only if it joins to itself with the one before, so it never goes back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from typing import NamedTuple

from isthmus.core.contact import INTENTS_MAX, SiteState
from isthmus.core.health import Verdict, Vote, verdict_of
from isthmus.core.routing import (
    Decision,
    Intent,
    Route,
    Rules,
    check_route_never_goes_back,
    decide,
    first_route,
    join,
    join_intents,
    refusal,
)


class Answer(NamedTuple):
    """Whether an operator's intent is obeyed, and one sentence that says why."""

    accepted: bool
    reason: str


class Direction:
    """One site's route of a name, with the votes, verdicts and intents that it follows from."""

    def __init__(self, name: str, site: str, rules: Rules, recorded: Route | None) -> None:
        self._site = site
        self._rules = rules
        self.route = recorded or first_route(name, rules)
        self.votes: dict[str, Vote] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.intents: dict[str, Intent] = {}

    def state(self) -> SiteState:
        """What the other sites are told."""
        return SiteState(dict(self.votes), (self.route,), tuple(self.intents.values()))

    def vote(self, region: str, vote: Vote) -> None:
        """Take a vote of this site's own observer."""
        self.votes[region] = vote

    def listen(self, known: Iterable[SiteState], now_ms: int) -> Route | None:
        """Join what the other sites told: routes and intents count however old they are.

        Answers the joined route, to be adopted, or None if it is the one held.
        """
        states = tuple(known)
        self._listen_to_intents(states, now_ms)
        # A route to a region that this site does not know must wait for its configuration.
        routes = [
            route
            for state in states
            for route in state.routes
            if route.name == self.route.name and route.target in self._rules.preference
        ]
        joined = reduce(lambda a, b: join(a, b, self._rules.preference), routes, self.route)
        return joined if joined != self.route else None

    def _listen_to_intents(self, states: Iterable[SiteState], now_ms: int) -> None:
        self.intents = {
            name: intent for name, intent in self.intents.items() if intent.expires_ms > now_ms
        }
        for theirs in (intent for state in states for intent in state.intents):
            mine = self.intents.get(theirs.id)
            if mine is not None:
                self.intents[theirs.id] = join_intents(mine, theirs)
            elif theirs.expires_ms > now_ms and len(self.intents) < INTENTS_MAX:
                self.intents[theirs.id] = theirs

    def judge(self, heard: Mapping[str, SiteState]) -> list[Verdict]:
        """Count the votes of each region; answers the verdicts whose health changed."""
        changed = []
        for region in self._rules.preference:
            votes = {
                site: state.votes[region] for site, state in heard.items() if region in state.votes
            }
            if region in self.votes:
                votes[self._site] = self.votes[region]
            verdict = verdict_of(region, votes, self._rules.sites)
            before = self.verdicts.get(region)
            self.verdicts[region] = verdict
            if before is None or before.health is not verdict.health:
                changed.append(verdict)
        return changed

    def lift(self, intent: Intent) -> Answer:
        """End a pause or a pin early, as an operator wants."""
        held = self.intents.get(intent.id)
        if held is None:
            return Answer(False, f"no intent {intent.id!r} is in force.")
        self.intents[intent.id] = join_intents(held, intent)
        return Answer(True, f"The {held.kind} {intent.id!r} is lifted.")

    def answer(self, intent: Intent, now_ms: int, *, contacted: bool) -> Answer | None:
        """Answer an operator's intent, or None if it takes a decision to tell.

        An intent that was obeyed before is accepted again and changes nothing. ``contacted`` says
        that a majority of the sites was heard since the start.
        """
        if known := self.intents.get(intent.id):
            state = "lifted" if known.lifted else "in force"
            return Answer(True, f"The {known.kind} {known.id!r} is already {state}.")
        done = self.route.target == intent.target and self.route.epoch == intent.if_epoch + 1
        if intent.kind == "move" and done:
            return Answer(True, f"{self.route.name} is already at {intent.target}.")
        why = refusal(intent, self.route, self.verdicts, self._rules, now_ms)
        if not why and not contacted and not intent.force:
            why = "this site has not heard from a majority of the sites since it started."
        if not why and len(self.intents) >= INTENTS_MAX:
            why = f"{INTENTS_MAX} intents are known already: one must be lifted and expire first."
        return Answer(False, why) if why else None

    def decide(
        self, sites_heard: Collection[str], now_ms: int, request: Intent | None = None
    ) -> Decision:
        """Say what the route should become; ``sites_heard`` includes this site.

        ``request`` is a new intent that ``answer`` left to a decision. If it is obeyed and goes on
        holding the name, as a pause or a pin does, it is kept.
        """
        intents = [*self.intents.values(), *((request,) if request else ())]
        decision = decide(self.route, self.verdicts, sites_heard, self._rules, intents, now_ms)
        if request and request.kind != "move" and len(self.intents) >= INTENTS_MAX:
            # Others were heard of since ``answer``; one more, and no peer would take our state.
            refused = {**decision.refused, request.id: f"{INTENTS_MAX} intents are known already."}
            return Decision(None, decision.reason, refused)
        if request and request.kind != "move" and request.id not in decision.refused:
            self.intents[request.id] = request
        return decision

    def adopt(self, route: Route) -> None:
        """Make a route this site's own; it is on disk already."""
        check_route_never_goes_back(self.route, route, self._rules.preference)
        self.route = route


def answer_of(decision: Decision, request: Intent) -> Answer:
    """Say what a decision made of the intent that asked for it."""
    lost = decision.refused.get(request.id)
    return Answer(lost is None, lost or decision.reason)
