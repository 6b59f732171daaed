"""What AWS's pages show of shadows is what a shadow says, to the member and its order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from shadow_examples import PAGES, Step

from isthmus.core import shadow_answers, shadows
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import ShadowRefused, read_token, read_update
from isthmus.core.stamp import StampClock


class Shadow:
    """The shadow of the guide's simulation."""

    def __init__(self) -> None:
        key = shadows.key("mySimulatedThing", "simShadow1")
        self._item = Item(shadows.SHADOW, key)

    def ask(self, step: Step) -> dict[str, Any]:
        """Every topic on which something is said, with what."""
        payload = b"" if step.payload is None else json.dumps(step.payload).encode()
        try:
            said = getattr(self, f"_{step.asked}")(payload, step.at_s * 1000)
        except ShadowRefused as error:
            said = {f"{step.asked}/rejected": shadow_answers.rejected(error)}
        return {topic: payload and json.loads(payload) for topic, payload in said.items()}

    def _writer(self, now_ms: int) -> Writer:
        # Pages go back in time, so every request is made on a clock of its own.
        return Writer(StampClock("eu", "i"), now_ms)

    def _get(self, payload: bytes, now_ms: int) -> dict[str, bytes]:
        return {"get/accepted": shadows.get(self._item, now_ms, read_token(payload))}

    def _update(self, payload: bytes, now_ms: int) -> dict[str, bytes | None]:
        updated = shadows.update(self._item, self._writer(now_ms), read_update(payload))
        self._item = updated.item
        return {
            "update/accepted": updated.accepted(),
            "update/delta": updated.delta(),
            "update/documents": updated.documents(),
        }

    def _delete(self, payload: bytes, now_ms: int) -> dict[str, bytes]:
        deleted = shadows.delete(self._item, self._writer(now_ms), read_token(payload))
        self._item = deleted.item
        return {"delete/accepted": deleted.accepted}


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(steps, id=f"{page}: {name}")
        for page, examples in PAGES.items()
        for name, steps in examples.items()
    ],
)
def test_a_shadow_answers_as_the_page_says(steps):
    shadow = Shadow()
    for step in steps:
        said = shadow.ask(step)
        shown = shadow.ask(Step(0, "get")).get("get/accepted", {})
        for name, expected in step.said.items():
            found = said[name] if "/" in name else shown[name]
            assert found == expected
            # Members come in AWS's order; those of a document in ours.
            assert "/" not in name or list(found or {}) == list(expected or {})
