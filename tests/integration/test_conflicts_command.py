"""`isthmus conflicts` on real regions that were apart: both list the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from commands import isthmus
from regions import HOME, OTHER, Regions, two_regions
from shadow_clients import data


async def listed(regions: Regions, *words: str) -> dict[str, Any]:
    said = await isthmus(regions, "conflicts", *words, "--json")
    assert said.code == 0, said.error
    answer: dict[str, Any] = json.loads(said.out)
    return answer


async def test_both_regions_list_what_gave_way_while_they_were_apart(tmp_path: Path) -> None:
    async with two_regions(tmp_path, cuttable=True, alone_after_s=1.0) as regions:
        said = await isthmus(regions, "conflicts")
        assert (said.code, said.out) == (0, "there is no such conflict\n")

        here, there = await data(regions), await data(regions, OTHER)
        await regions.system.cut()
        await regions.alone(HOME)
        await regions.alone(OTHER)
        for caller, light in ((here, "[bold]on[/]"), (there, None)):
            payload = json.dumps({"state": {"desired": {"light": light, "door": "open"}}})
            for lamp in ("lamp-1", "lamp-2"):
                await caller("update_thing_shadow", thingName=lamp, payload=payload)
        await regions.system.heal()
        await regions.together()
        await regions.level()

        found = await listed(regions, "--region", HOME)
        assert found == await listed(regions, "--region", OTHER)
        assert not found["has_more"]
        # What both said alike is no conflict. The newest is first.
        assert [(each["kind"], each["key"], each["path"]) for each in found["conflicts"]] == [
            ("shadow", lamp, "/document/desired/light") for lamp in ("lamp-2", "lamp-1")
        ]
        first = found["conflicts"][0]
        assert (first["kept"]["value"], first["kept"]["region"]) == (None, OTHER)
        assert (first["discarded"]["value"], first["discarded"]["region"]) == ("[bold]on[/]", HOME)
        assert first["discarded"]["at_ms"] < first["kept"]["at_ms"]

        of_one = await listed(regions, "--key", "lamp-1")
        assert [each["key"] for each in of_one["conflicts"]] == ["lamp-1"]
        assert (await listed(regions, "--kind", "thing"))["conflicts"] == []
        some = await listed(regions, "--limit", "1")
        assert (len(some["conflicts"]), some["has_more"]) == (1, True)

        said = await isthmus(regions, "conflicts", "--limit", "1")
        assert "shadow lamp-2" in said.out
        assert '"[bold]on[/]"' in said.out
        assert "and more than these 1" in said.out
        said = await isthmus(regions, "conflicts", "--region", "mars")
        assert (said.code, "eu or us" in said.error) == (2, True)
