"""One evaluation on one process or on several, with the same numbers."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from analysis.self_check.identities import exact_arithmetic
from models.determinism import reproducible

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """Who takes part; ``gather`` joins the lists of all processes, in the order of their ranks."""

    rank: int = 0
    count: int = 1
    gather: Callable[[list], list] = lambda items: items

    @property
    def is_main(self) -> bool:
        """Whether this one reports."""
        return self.rank == 0


@contextmanager
def all_processes(device: str) -> Iterator[Processes]:
    """The processes that ``torchrun`` started, connected by Accelerate; otherwise this one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    from accelerate import PartialState
    from accelerate.utils import gather_object

    # Accelerate keeps its settings for the whole process; they are dropped again afterwards.
    state = PartialState(cpu=device == "cpu")
    try:
        yield Processes(state.process_index, state.num_processes, gather_object)
    finally:
        state.destroy_process_group()
        PartialState._reset_state()


@contextmanager
def settled(threads: int | None, device: torch.device = CPU) -> Iterator[int]:
    """Settings that decide the last bits of a result, the same in every process; all as before afterwards.

    Full float32 products, deterministic algorithms, and one number of threads: it divides the sums inside a
    convolution, and ``torchrun`` gives each of its processes one thread unless told otherwise.

    Args:
        threads: On the CPU; None takes all cores.

    Yields:
        The number of threads.
    """
    before = torch.get_num_threads()
    threads = threads or _count_cores()
    try:
        with reproducible(0), exact_arithmetic(device):
            torch.set_num_threads(threads)
            yield threads
    finally:
        torch.set_num_threads(before)


def _count_cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
