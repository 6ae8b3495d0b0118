"""A block of code whose outcome the seed alone decides, and that leaves no trace in the global state."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seeds PyTorch and asks for deterministic algorithms; everything is as before after the block.

    PyTorch would also fill all memory that it allocates: an aid to find operations that read what nobody wrote, which
    costs a training some 5 % of its time.

    The states of Python's and NumPy's generators are kept as well: some libraries draw from them when
    they are imported. What stays is a setting of cuBLAS, which reads it once, with the first product on a GPU: only
    with a workspace of fixed size do its sums have an order of their own.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    options: Any = torch.utils.deterministic  # a module that takes the place of itself, which no checker can follow
    filling = options.fill_uninitialized_memory
    benchmark = torch.backends.cudnn.benchmark
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            torch.manual_seed(seed)
            torch.use_deterministic_algorithms(True, warn_only=True)
            options.fill_uninitialized_memory = False
            torch.backends.cudnn.benchmark = False
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            options.fill_uninitialized_memory = filling
            torch.backends.cudnn.benchmark = benchmark
            random.setstate(python_state)
            np.random.set_state(numpy_state)
