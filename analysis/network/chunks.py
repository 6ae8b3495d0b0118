"""Work in chunks, which get smaller as long as the device has too little memory for them."""

import logging
from collections.abc import Callable
from typing import TypeVar

from analysis.errors import UserError, is_out_of_memory

log = logging.getLogger(__name__)

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
    """The next smaller chunk, at least ``least`` pictures.

    Raises:
        UserError: It cannot be smaller.
    """
    if chunk <= least:
        pictures = "one picture" if least == 1 else f"{least} pictures"
        raise UserError(f"The device has too little memory even for {pictures} at a time; choose a smaller model.")
    smaller = max(chunk // 2, least)
    log.warning("Out of memory: going on with chunks of %d.", smaller)
    return smaller
