"""Runs the rounds of a sweep side by side, and says of one that failed which it was."""

import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

Round = TypeVar("Round")
Result = TypeVar("Result")

# A round mostly waits. So many failures are enough to look at.
FAILURES = 3
TOLD_EVERY_SECONDS = 20.0


def side_by_side(
    rounds: Iterable[Round], run: Callable[[Round], Result], *, at_once: int, say: Callable[[str], None]
) -> dict[Round, Result]:
    """What `run` gives for each round; fails with what went wrong in each that failed, after the first few."""
    began = told = time.monotonic()
    results: dict[Round, Result] = {}
    failures: list[str] = []
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="round")
    try:
        futures = {pool.submit(run, each): each for each in rounds}
        for future in as_completed(futures):
            error = future.exception()
            if error is None:
                results[futures[future]] = future.result()
            else:
                failures.append(f"{futures[future]}: {''.join(traceback.format_exception(error))}")
                say(f"failed: {futures[future]}: {error}")
            if len(failures) >= FAILURES:
                break
            if time.monotonic() >= told + TOLD_EVERY_SECONDS:
                told = time.monotonic()
                say(f"{len(results) + len(failures)} of {len(futures)} rounds done after {told - began:.0f} s")
    finally:
        pool.shutdown(cancel_futures=True)
    assert not failures, "\n\n".join(failures)
    return results
