"""Where a fine-tuning starts: the weights of a model that is already there, put into a network of another kind."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from analysis.errors import UserError
from models.checkpoints import read_model_card
from models.data.preprocessing import Preprocessing
from models.networks.options import ArchitectureConfig
from models.networks.resnet import BUILDERS, ResNetConfig
from models.networks.table import ARCHITECTURES
from models.registry import ASSETS, RUN_PREFIX, Registry
from models.runs.run import read_run


@dataclass(frozen=True)
class Start:
    """A model to start from: ``config`` is that of its architecture, ``load_weights`` reads its tensors by name."""

    name: str
    architecture: str
    config: ArchitectureConfig
    preprocessing: Preprocessing
    load_weights: Callable[[], dict[str, Tensor]]

    def adapt(self, preprocessing: Preprocessing) -> Preprocessing:
        """The same steps with the mean and std that the weights are used to."""
        if len(preprocessing.mean) != len(self.preprocessing.mean):
            return preprocessing
        return replace(preprocessing, mean=self.preprocessing.mean, std=self.preprocessing.std)


def find_start(name: str, runs_root: str | Path) -> Start:
    """The model called ``name``: "run/NAME" or "run/NAME@STEP", "fashion_cnn", or a cached ResNet of torchvision.

    Raises:
        UserError: No such model, it has no weights yet, is not one's own, or is of a kind that cannot be changed.
    """
    spec = Registry(runs_root).get(name)
    if name in BUILDERS:
        if spec.weights and not spec.is_cached:
            raise UserError(
                f"The weights of {name} are not here; use the model once with a connection, or put "
                f"{spec.weights.path.name} into {spec.weights.path.parent}."
            )
        resnet = ResNetConfig(builder=name, image_size=spec.preprocessing.crop_size)
        return Start(name, "resnet", resnet, spec.preprocessing, lambda: spec.build().state_dict())
    if name == "fashion_cnn":
        card_path = ASSETS / "fashion_cnn.json"
    elif name.startswith(RUN_PREFIX):
        run, _, _ = name.removeprefix(RUN_PREFIX).partition("@")  # snapshots share the card of their run
        card_path = read_run(runs_root, run).check_own().path / "model.json"
    else:
        raise UserError(f"{name} cannot be changed; start from a run, fashion_cnn, {' or '.join(BUILDERS)}.")
    config: Any = read_model_card(card_path).module.config
    architecture = next(key for key, (kind, _) in ARCHITECTURES.items() if isinstance(config, kind))
    return Start(name, architecture, config, spec.preprocessing, lambda: spec.build().state_dict())


def inherit_network(settings: dict, runs_root: str | Path) -> dict:
    """The settings of a training, with the network of the model it starts from where they name none.

    Args:
        settings: Names of fields of a TrainingConfig to values; None counts as not given.

    Returns:
        The same, with the start's architecture, its options (unless another architecture is wanted), and the side of
        its pictures, each only where it is not given. Without ``start_from`` there is nothing to add.

    Raises:
        UserError: As for :func:`find_start`.
    """
    name, model = settings.get("start_from"), settings.get("model") or {}
    if not isinstance(name, str) or not isinstance(model, dict):  # which a TrainingConfig refuses
        return settings
    start = find_start(name, runs_root)
    own = {"architecture": start.architecture, "image_size": start.preprocessing.crop_size}
    found = own | {key: value for key, value in settings.items() if value is not None}
    if found["architecture"] == start.architecture:
        found["model"] = {**start.config.chosen, **model}
    return found


def adopt_weights(model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """Copies every tensor into the model; its head keeps its own values where the other head has another shape.

    Args:
        weights: Tensors by name, from a model with the same tensors but for the head.

    Returns:
        The names of the head's tensors if the whole head keeps its own, fresh values, else nothing.

    Raises:
        UserError: Another tensor is missing or has another shape.
    """
    own = model.state_dict()
    shapes, wanted = ({name: tuple(t.shape) for name, t in tensors.items()} for tensors in (weights, own))
    misfits = sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name))
    head = {name for name in own if name.startswith(f"{model.head_name}.")}
    for name in misfits:
        if not name.startswith(f"{model.head_name}."):
            raise UserError(
                f"The start weights do not fit this network: {name} is {shapes.get(name, 'missing')} there "
                f"and {wanted.get(name, 'missing')} here."
            )
    taken = own.keys() - head if misfits else own.keys()
    model.load_state_dict({name: weights[name] for name in taken}, strict=False)
    return sorted(own.keys() - taken)
