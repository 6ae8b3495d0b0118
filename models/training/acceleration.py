"""The processes and devices of a training, through Accelerate: begun together, left as they were."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from analysis.errors import Cancelled, UserError, is_out_of_memory
from models.networks.table import ARCHITECTURES
from models.training.batches import INDIVISIBLE
from models.training.config import TrainingConfig
from models.training.finetuning import find_approach
from models.training.precision import choose_precision
from models.training.trackers import check_installed, close_trackers, open_trackers

if TYPE_CHECKING:
    from accelerate import Accelerator

MEETING_TIMEOUT = timedelta(weeks=1)
"""How long processes wait for each other."""


@contextmanager
def accelerated(config: TrainingConfig, device: str, run_dir: Path) -> Iterator["Accelerator"]:
    """Accelerate keeps its settings for the whole process; they are dropped again afterwards."""
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    trackers = config.trackers
    check_installed(trackers)
    approach = find_approach(ARCHITECTURES[config.architecture][1])
    accelerator = Accelerator(
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=approach.freezes),
            # The first process may stand in the queue for days while the others wait where processes meet; they
            # need no patience of their own, as torchrun ends them all if one fails.
            InitProcessGroupKwargs(timeout=MEETING_TIMEOUT),
        ],
        cpu=device == "cpu",
        mixed_precision=choose_precision(config.precision, device, half_on_cpu=approach.half_on_cpu),
        log_with=list(trackers) or None,
        project_dir=run_dir if trackers else None,
    )
    try:
        open_trackers(accelerator, trackers, run_dir, config.to_dict())
        yield accelerator
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "The device has too little memory for this training; use a smaller batch, accumulate gradients over "
            "parts of it, or use smaller pictures or a smaller network."
        ) from error
    finally:
        accelerator.free_memory()
        close_trackers(accelerator)
        AcceleratorState._reset_state(reset_partial_state=True)


def start_together(config: TrainingConfig, accelerator: "Accelerator", ready: bool) -> None:
    """Waits for all processes.

    Raises:
        Cancelled: One of them is not ``ready``, and so there is no training.
        UserError: They are more than the pictures of a batch.
    """
    if any_process(accelerator, not ready):
        raise Cancelled
    if config.batch_size < accelerator.num_processes:
        raise UserError(INDIVISIBLE.format(size=config.batch_size, processes=accelerator.num_processes))


def any_process(accelerator: "Accelerator", flag: bool) -> bool:
    """Whether it is so in one of the processes; all of them have to ask."""
    if accelerator.num_processes == 1:
        return flag
    asked = torch.tensor(float(flag), device=accelerator.device)
    return bool(accelerator.reduce(asked, reduction="sum").item())


def agree_on(accelerator: "Accelerator", value: float) -> float:
    """That of the first process: running statistics, and so accuracies, differ a little between several."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast

    return broadcast(torch.tensor(value, dtype=torch.float64, device=accelerator.device)).item()


def decline(config: TrainingConfig, device: str, run_dir: Path) -> None:
    """Tells the other processes, if there are some, which wait for this one, that there will be no training."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    with accelerated(config, device, run_dir) as accelerator, suppress(Cancelled):
        start_together(config, accelerator, False)
