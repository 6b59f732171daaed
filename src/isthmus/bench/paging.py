"""One connection reads a long list: does a page late in it cost more than an early one?"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from isthmus.bench.api_client import ApiClient, Server
from isthmus.bench.calling import make
from isthmus.bench.plan import LoadPlan, Outcome, Paging
from isthmus.bench.watch import Watch
from isthmus.clock import monotonic_s
from isthmus.errors import BrokenInvariant

#: What counts as the start of a list, and as its end: one page in so many.
SHARE = 20


async def read_pages(plan: LoadPlan, load: Paging, watch: Watch) -> Outcome:
    """Make the things, and read the list some times."""
    server = Server.of(plan)
    await make(server, (f"thing-{number:07}" for number in range(load.things)), load.makers)
    walks: list[list[float]] = []
    watch.begin()
    async with ApiClient(server) as client:
        for _ in range(load.times):
            walks.append(await _walk(client, load))
    watch.end()
    count = sum(map(len, walks))
    return Outcome(count=count, page_ms=start_and_end_ms(walks), **watch.figures())


async def _walk(client: ApiClient, load: Paging) -> list[float]:
    """Seconds for each page, from the first to the last; every thing must be there once."""
    took_s, token, seen, last = [], "", 0, ""
    while True:
        began_s = monotonic_s()
        names, token = await client.list_page(load.page, token)
        took_s.append(monotonic_s() - began_s)
        if names != sorted(set(names)) or not names or names[0] <= last:
            raise BrokenInvariant(f"a page begins {names[:3]} after {last!r}")
        seen, last = seen + len(names), names[-1]
        if not token:
            break
    if seen != load.things:
        raise BrokenInvariant(f"{seen} of {load.things} things are listed")
    return took_s


def start_and_end_ms(walks: Sequence[Sequence[float]]) -> dict[str, float]:
    """Medians over the first pages and over the last ones, of what each page took in seconds."""
    count = max(1, len(walks[0]) // SHARE)
    # The last page may be a short one.
    last = [each for walk in walks for each in walk[:-1][-count:] or walk]
    first = [each for walk in walks for each in walk[:count]]
    return {"first": 1000 * median(first), "last": 1000 * median(last)}
