"""A model on disk: model.json says what it is, a safetensors file holds the weights; nothing is unpickled.

Both files may come from anyone, so every value is checked before it decides how much memory is used.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from analysis.errors import UserError
from analysis.grammar import count
from models.data.preprocessing import Preprocessing
from models.networks.table import ARCHITECTURES
from models.ordinary_files import MAX_HEADER_BYTES, open_tensors, read_json, short_name
from models.settings import build_config, check_choice, check_integer, check_number

MAX_NAME_LENGTH = 200
INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic")


def describe_model(
    model: nn.Module, architecture: str, categories: tuple[str, ...], preprocessing: Preprocessing
) -> dict:
    """The content of model.json."""
    config: Any = model.config
    return {
        "architecture": architecture,
        "config": asdict(config),
        "categories": list(categories),
        "preprocessing": preprocessing.to_dict(),
    }


def pack_weights(model: nn.Module) -> tuple[bytes, str]:
    """The bytes of a safetensors file with all parameters and buffers, and their SHA-256 in hex."""
    from safetensors.torch import save

    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})
    return data, hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class ModelCard:
    """What model.json says: enough to list a model without reading its weights.

    ``module`` has shapes only (PyTorch's meta device): no memory, no random numbers.
    """

    module: nn.Module
    categories: tuple[str, ...]
    preprocessing: Preprocessing
    test_accuracy: float | None

    @property
    def num_params(self) -> int:
        """Number of trained values."""
        return sum(parameter.numel() for parameter in self.module.parameters())


def read_model_card(json_path: str | Path) -> ModelCard:
    """Reads and checks model.json. Raises UserError: missing, damaged, or not a description of a model."""
    values = read_json(Path(json_path))
    try:
        architecture = check_choice("architecture", values.get("architecture"), ARCHITECTURES)
        config_class, model_class = ARCHITECTURES[architecture]
        config = build_config(config_class, values.get("config"))
        categories = _read_categories(values.get("categories"), config.num_classes)
        preprocessing = _read_preprocessing(values.get("preprocessing"), config)
        accuracy = values.get("test_accuracy")
        if accuracy is not None:
            check_number("test_accuracy", accuracy, 0.0, 1.0)
    except UserError as error:
        raise UserError(f"{short_name(Path(json_path))} does not describe a model: {error}") from error
    with torch.device("meta"):
        module = model_class(config)
    return ModelCard(module, categories, preprocessing, accuracy)


def load_checkpoint(
    json_path: str | Path, safetensors_path: str | Path
) -> tuple[nn.Module, tuple[str, ...], Preprocessing]:
    """Rebuilds a trained model on the CPU, in eval mode, without touching the random state.

    Returns:
        The module, its category names, and the preprocessing its input needs.

    Raises:
        UserError: A file is missing, damaged, too large, or does not fit the other.
    """
    card = read_model_card(json_path)
    card.module.load_state_dict(read_weights(Path(safetensors_path), card.module), assign=True)
    return card.module.eval(), card.categories, card.preprocessing


def load_run_model(run_dir: str | Path) -> tuple[nn.Module, tuple[str, ...], Preprocessing]:
    """The latest model of a run, as :func:`load_checkpoint` returns it."""
    run_dir = Path(run_dir)
    return load_checkpoint(run_dir / "model.json", run_dir / "weights.safetensors")


def _read_categories(names: object, num_classes: int) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError("categories must be a list of names.")
    if len(names) != num_classes:
        raise UserError(f"categories must name {count(num_classes, 'class')}, not {len(names)}.")
    return tuple(name[:MAX_NAME_LENGTH] for name in names)


def _read_preprocessing(values: object, config) -> Preprocessing:
    if isinstance(values, dict):
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        preprocessing = build_config(Preprocessing, values)
    except TypeError as error:
        raise UserError("preprocessing lacks crop_size or resize_size.") from error
    check_integer("crop_size", preprocessing.crop_size, 1, 1024)
    check_integer("resize_size", preprocessing.resize_size, 1, 2048)
    check_choice("interpolation", preprocessing.interpolation, INTERPOLATIONS)
    for name, low in (("mean", -1e3), ("std", 1e-6)):
        numbers = getattr(preprocessing, name)
        if not isinstance(numbers, tuple) or len(numbers) != config.in_channels:
            raise UserError(f"{name} must list {count(config.in_channels, 'number')}, one for each input channel.")
        for number in numbers:
            check_number(name, number, low, 1e3)
    if preprocessing.crop_size != config.image_size:
        raise UserError(f"crop_size is {preprocessing.crop_size}, but the network takes {config.image_size} pixels.")
    return preprocessing


def read_weights(path: Path, model: nn.Module) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file that has exactly the names, shapes and types of the model.

    Raises:
        UserError: Missing, damaged, too large, or with other tensors.
    """
    expected, title = model.state_dict(), short_name(path)
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in expected.values())
    with open_tensors(path, num_bytes + MAX_HEADER_BYTES) as file:
        names = set(file.keys())
        if names != set(expected):
            odd = sorted(names ^ set(expected))[0]
            raise UserError(f"{title} does not fit its model.json: the tensor {odd[:80]!r} is in only one.")
        for name, tensor in expected.items():
            shape = tuple(file.get_slice(name).get_shape())
            if shape != tuple(tensor.shape):
                raise UserError(
                    f"{title} does not fit its model.json: {name} has the shape {shape}, not {tuple(tensor.shape)}."
                )
        weights = {name: file.get_tensor(name) for name in expected}
    for name, tensor in weights.items():
        if tensor.dtype != expected[name].dtype:
            types = f"{tensor.dtype}, not {expected[name].dtype}"
            raise UserError(f"{title} does not fit its model.json: {name} has the number type {types}.")
        if not torch.isfinite(tensor).all():
            raise UserError(f"{title}: {name} has values that are not finite numbers.")
    return weights
