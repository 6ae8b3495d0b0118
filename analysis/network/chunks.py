"""Work in chunks, which get smaller as long as the device has too little memory for them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from analysis.errors import Progress, UserError, is_out_of_memory, no_progress

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def unless_too_large(run: Callable[..., Result], *arguments: object) -> Result | None:
    """What ``run(*arguments)`` gives, or None where the device has too little memory for it.

    When this returns, the exception is gone with the tensors that it held: only then is there memory to try again.
    """
    try:
        return run(*arguments)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def halve(chunk: int, least: int = 1) -> int:
    """The next smaller chunk, at least ``least`` pictures. Raises UserError: it cannot be smaller."""
    if chunk <= least:
        pictures = "one picture" if least == 1 else f"{least} pictures"
        raise UserError(f"The device has too little memory even for {pictures} at a time; choose a smaller model.")
    smaller = max(chunk // 2, least)
    log.warning("Out of memory: going on with chunks of %d.", smaller)
    return smaller


def run_in_chunks(
    compute: Callable[[Sequence[Item]], Result], items: Sequence[Item], chunk: int, progress: Progress = no_progress
) -> Iterator[tuple[Sequence[Item], Result]]:
    """One part of ``items`` after the other, each with what ``compute(part)`` gives.

    A part has ``chunk`` items, and half as many from where memory is too little on. Progress counts the items that
    are done.

    Raises:
        UserError: There is too little memory for one item.
    """
    done = 0
    while done < len(items):
        progress(done, len(items))
        part = items[done : done + chunk]
        found = unless_too_large(compute, part)
        if found is None:
            chunk = halve(chunk)
            continue
        yield part, found
        done += len(part)
    progress(len(items), len(items))
