"""Everything a training needs to go on as if it had never been interrupted, in one safetensors file.

Random numbers are no part of it: they depend on the seed and the step alone (:mod:`models.training.random_streams`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from analysis.errors import UserError
from models.ordinary_files import open_tensors, parse_json, short_name
from models.runs.files import refuse_number, write_bytes

RESUME_FILE = "resume.safetensors"
MAX_HEADER_BYTES = 2**24
MOST_COPIES = 6
"""An optimiser keeps fewer tensors for each parameter: the file is at most so many times as large as the network."""
PROGRESS = {
    "step": int,
    "epoch": int,
    "val_accuracy": int | float | None,
    "best": dict | None,
    "seconds": int | float,
    "meter_seconds": int | float,
    "scaler": dict | None,
}
"""What else a training wants back, and of which type each part is."""
_BEST = {"epoch": int, "val_accuracy": int | float}
_MODEL, _OPTIMIZER, _METER = "model.", "optimizer.", "meter."


def save_resume_point(
    run_dir: Path, module: nn.Module, optimizer: Optimizer, meter: Mapping[str, Tensor], progress: dict
) -> None:
    """Replaces the file in one step.

    Args:
        optimizer: Its optimiser; what it keeps for each parameter are tensors and numbers.
        meter: Running sums of the epoch.
        progress: As ``PROGRESS`` says; JSON-ready.
    """
    from safetensors.torch import save

    tensors = {_MODEL + name: tensor for name, tensor in module.state_dict().items()}
    numbers = {}
    for index, kept in optimizer.state_dict()["state"].items():
        for name, value in kept.items():
            key = f"{index}.{name}"
            if isinstance(value, Tensor):
                tensors[_OPTIMIZER + key] = value
            elif value is not None:
                numbers[key] = value
    tensors |= {_METER + name: tensor for name, tensor in meter.items()}
    packed = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(run_dir / RESUME_FILE, save(packed, {"progress": json.dumps({"optimizer": numbers, **progress})}))


def read_resume_point(
    run_dir: Path, module: nn.Module, optimizer: Optimizer
) -> tuple[dict[str, Tensor], dict] | None:
    """Puts a training back to where it was.

    Args:
        module: The same network; its weights are replaced.

    Returns:
        The running sums and the progress that were saved; None if nothing was.

    Raises:
        UserError: The file is damaged, or that of another network.
    """
    path = run_dir / RESUME_FILE
    if not path.exists():
        return None
    num_bytes = sum(tensor.nbytes for tensor in module.state_dict().values())
    try:
        with open_tensors(path, MOST_COPIES * num_bytes + MAX_HEADER_BYTES, MAX_HEADER_BYTES) as file:
            progress: Any = parse_json((file.metadata() or {})["progress"].encode(), refuse_number)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        module.load_state_dict(_part(tensors, _MODEL))
        _restore_optimizer(optimizer, _part(tensors, _OPTIMIZER), progress.pop("optimizer"))
        _check_types(progress, PROGRESS)
        if progress["best"] is not None:
            _check_types(progress["best"], _BEST)
    except (ValueError, KeyError, RuntimeError, RecursionError, TypeError, AttributeError) as error:
        raise refuse_resume_point(run_dir) from error
    return _part(tensors, _METER), progress


def refuse_resume_point(run_dir: Path) -> UserError:
    """The refusal of a training to go on from what is no state of it."""
    return UserError(f"{short_name(run_dir / RESUME_FILE)} is damaged, so the training cannot go on; start it anew.")


def _check_types(values: dict, types: Mapping[str, Any]) -> None:
    for name, kind in types.items():
        if not isinstance(values[name], kind):
            raise TypeError(f"{name} is {values[name]!r}")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], numbers: dict) -> None:
    state: dict[int, dict] = {}
    for key, value in (tensors | numbers).items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, kept in state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameters[index].shape:
                raise ValueError(f"{name} of parameter {index} has the shape {tuple(value.shape)}")
    # Tensors of the layout of their parameters, or the arithmetic of the next step would differ in its last bit.
    for index, kept in state.items():
        for name, value in kept.items():
            if (
                isinstance(value, Tensor)
                and value.dim() == 4
                and parameters[index].is_contiguous(memory_format=torch.channels_last)
            ):
                kept[name] = value.contiguous(memory_format=torch.channels_last)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
