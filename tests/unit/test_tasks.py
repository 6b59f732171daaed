"""A task that loses a cancellation is ended all the same."""

from __future__ import annotations

import asyncio

from isthmus.tasks import end


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    swallowed = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await end([task])
    assert swallowed.is_set()
    assert task.cancelled()


async def test_what_an_ended_task_raises_is_nobodys() -> None:
    async def failing() -> None:
        raise RuntimeError

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    await end([task])
    assert task.done()


async def test_nothing_to_end_is_fine() -> None:
    await end([])
