"""The queue: each key once, one worker at a time, never too often."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from trialrun_operator.names import Key
from trialrun_operator.queue import MAX_BACKOFF_SECONDS, PERIOD_SECONDS, Queue

A, B = (Key("HyperparamSearch", "n", name) for name in "ab")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def run(body: Callable[[Queue, Clock], Awaitable[None]]) -> None:
    async def main() -> None:
        clock = Clock()
        await body(Queue(clock), clock)

    asyncio.run(main())


async def nothing_due(queue: Queue) -> bool:
    try:
        async with asyncio.timeout(0.01):
            await queue.take()
    except TimeoutError:
        return True
    return False


def test_a_key_that_is_added_often_is_taken_once() -> None:
    async def body(queue: Queue, _: Clock) -> None:
        for _ in range(3):
            queue.add(A)
        assert await queue.take() == A
        assert await nothing_due(queue)

    run(body)


def test_a_key_with_a_worker_waits_for_it_and_is_not_lost() -> None:
    async def body(queue: Queue, clock: Clock) -> None:
        queue.add(A)
        await queue.take()
        queue.add(A)
        assert await nothing_due(queue)
        queue.done(A, 0.0)
        assert await nothing_due(queue), "not within the period"
        clock.now += PERIOD_SECONDS
        assert await queue.take() == A

    run(body)


def test_a_slow_look_rests_longer() -> None:
    async def body(queue: Queue, clock: Clock) -> None:
        queue.add(A)
        await queue.take()
        clock.now += 1.0
        queue.done(A, 1.0)
        queue.add(A)
        clock.now += 0.9
        assert await nothing_due(queue)
        clock.now += 0.2
        assert await queue.take() == A

    run(body)


def test_waiting_for_the_api_server_counts_as_rest() -> None:
    async def body(queue: Queue, clock: Clock) -> None:
        queue.add(A)
        await queue.take()
        clock.now += 0.8
        queue.done(A, 0.3)
        queue.add(A)
        assert await queue.take() == A

    run(body)


def test_the_earliest_due_comes_first_and_an_addition_only_moves_forward() -> None:
    async def body(queue: Queue, clock: Clock) -> None:
        queue.add(A, 5.0)
        queue.add(B, 2.0)
        queue.add(A, 1.0)
        queue.add(A, 9.0)
        clock.now += 3.0
        assert [await queue.take(), await queue.take()] == [A, B]
        assert queue.depth == 0

    run(body)


@pytest.mark.parametrize("asked", [0.0, 17.0])
def test_failures_back_off_up_to_a_minute_and_as_long_as_the_api_server_asks(asked: float) -> None:
    async def body(queue: Queue, clock: Clock) -> None:
        waits = []
        queue.add(A)
        for _ in range(12):
            await queue.take()
            waits.append(queue.failed(A, asked))
            assert await nothing_due(queue)
            clock.now += waits[-1]
        assert waits[0] <= max(0.5, asked)
        assert all(asked <= wait <= MAX_BACKOFF_SECONDS for wait in waits)
        assert waits[-1] >= 0.75 * MAX_BACKOFF_SECONDS

    run(body)
