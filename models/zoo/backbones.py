"""Networks without their classifiers: what a picture looks like to a network that has seen a million others."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from analysis.errors import Progress, UserError, no_progress
from analysis.grammar import article
from models.weights import download
from models.zoo.lite0 import build_untrained, efficientnet_lite0
from models.zoo.spec import ModelSpec
from models.zoo.torchvision_zoo import torchvision_model, torchvision_names

DEFAULT_BACKBONE = "efficientnet_lite0"

BUNDLED_BACKBONES: dict[str, Callable[[], nn.Module]] = {"efficientnet_lite0": build_untrained}
"""Networks whose weights need no download; all others are torchvision's."""

# The pretrained weights of the two expect this change of scale; their auxiliary classifiers are never trained here,
# and their own way of drawing random weights takes many times as long as everything else.
_INCEPTION = {"aux_logits": False, "transform_input": True, "init_weights": False}
_BUILD_OPTIONS: dict[str, Callable[[ModelSpec], dict]] = {
    "googlenet": lambda spec: _INCEPTION,
    "inception": lambda spec: _INCEPTION,
    "vit": lambda spec: {"image_size": spec.preprocessing.crop_size},
}
"""First part of torchvision's name -> what its builder has to be told so that the weights fit."""


def list_backbones() -> tuple[str, ...]:
    """Every name that :func:`build_backbone` knows; those of :data:`BUNDLED_BACKBONES` come first."""
    return (*BUNDLED_BACKBONES, *torchvision_names())


class BackboneTitles(Mapping[str, str]):
    """Name -> title of every backbone, found out when it is first asked, because it takes torchvision to know.

    torchvision's names are also known with the name of their weights behind them, as in "resnet50:IMAGENET1K_V1".
    """

    def __getitem__(self, name: str) -> str:
        if name not in self:
            raise KeyError(name)
        return f"{name} (no download)" if name in BUNDLED_BACKBONES else name

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (
            name in BUNDLED_BACKBONES or name.partition(":")[0] in list_backbones()[len(BUNDLED_BACKBONES) :]
        )

    def __iter__(self) -> Iterator[str]:
        return iter(list_backbones())

    def __len__(self) -> int:
        return len(list_backbones())


BACKBONES = BackboneTitles()


def find_backbone(name: object) -> ModelSpec:
    """The whole model that a backbone is part of: its weights, mean and std, and picture size.

    Args:
        name: One of :func:`list_backbones`; torchvision's may name their weights, as in "resnet50:IMAGENET1K_V1".

    Raises:
        UserError: No such network.
    """
    if name not in BACKBONES:
        raise UserError(
            f"There is no backbone {str(name)[:60]!r}; choose {' or '.join(BUNDLED_BACKBONES)}, or a classifier of "
            "torchvision such as mobilenet_v3_small or resnet18."
        )
    return efficientnet_lite0() if name in BUNDLED_BACKBONES else torchvision_model(name)


def build_backbone(name: str) -> nn.Module:
    """A network up to its last layer, with random weights: ``(N, 3, H, W)`` to features ``(N, F)``.

    The last layer that has weights, and a dropout right before it, become identities; so SqueezeNet, which
    classifies every position, gives the mean of its last map. All other names are those of the original.
    Tables of indices, which some transformers keep, are computed and no part of the state: a file cannot change them.

    Raises:
        UserError: No such network.
    """
    spec = find_backbone(name)
    on_meta = torch.get_default_device().type == "meta"
    with _PlansOnCPU() if on_meta else nullcontext():
        build = BUNDLED_BACKBONES.get(name)
        network = build() if build else _build_torchvision(name.partition(":")[0], spec)
    _remove_classifier(name, network)
    for module in network.modules():
        for table, buffer in list(module.named_buffers(recurse=False)):
            if buffer.dim() and not buffer.is_floating_point():
                module.register_buffer(table, buffer, persistent=False)
    return network


@dataclass(frozen=True)
class BackboneSize:
    """What is known of a backbone without its weights: numbers in a picture's features, and trained numbers."""

    num_features: int
    num_parameters: int


@lru_cache(maxsize=256)
def measure_backbone(name: str, image_size: int) -> BackboneSize:
    """The size of a backbone for square pictures, found without memory or random numbers.

    Raises:
        UserError: No such network, or it does not work with pictures of ``image_size`` pixels.
    """
    with torch.device("meta"):
        network = build_backbone(name).to("meta").eval()
        try:
            with torch.no_grad():
                shape = tuple(network(torch.empty(2, 3, image_size, image_size)).shape)
        except (RuntimeError, AssertionError, ValueError) as error:
            usual = find_backbone(name).preprocessing.crop_size
            raise UserError(
                f"{name} does not work with pictures of {image_size} x {image_size} pixels; its weights were trained "
                f"with {usual} x {usual}, which always works."
            ) from error
    if len(shape) != 2 or shape[0] != 2:
        raise UserError(f"{name} cannot be a backbone: without its classifier it gives {shape[1:]} numbers.")
    return BackboneSize(shape[1], sum(parameter.numel() for parameter in network.parameters()))


def load_pretrained(backbone: nn.Module, name: str, progress: Progress = no_progress) -> None:
    """Puts the published weights into a backbone; they are downloaded unless they are there.

    Args:
        backbone: What :func:`build_backbone` returned for ``name``.

    Raises:
        UserError: The weights are not here and cannot be had, or are damaged.
    """
    spec = find_backbone(name)
    if spec.weights is not None:
        try:
            download(spec.weights, progress)
        except UserError as error:
            raise UserError(f"{error} The backbone {DEFAULT_BACKBONE} needs no download.") from error
    with torch.random.fork_rng(devices=[]):  # the whole network starts from random weights of its own
        weights: dict[str, Tensor] = spec.build().state_dict()
    backbone.load_state_dict({key: weights[key] for key in backbone.state_dict()})


class _PlansOnCPU(TorchFunctionMode):
    """On the meta device, computes what a network's constructor reads back: RegNet's widths, tables of indices."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in (torch.arange, torch.tensor):
            kwargs.setdefault("device", "cpu")
        return function(*args, **kwargs)


def _build_torchvision(builder: str, spec: ModelSpec) -> nn.Module:
    from torchvision.models import get_model

    options = _BUILD_OPTIONS.get(builder.partition("_")[0], lambda spec: {})
    return get_model(builder, weights=None, **options(spec))


def _remove_classifier(name: str, network: nn.Module) -> None:
    modules = list(network.named_modules())
    last = max(i for i, (_, module) in enumerate(modules) if any(True for _ in module.parameters(recurse=False)))
    path, classifier = modules[last]
    if not isinstance(classifier, nn.Linear | nn.Conv2d):
        raise UserError(f"{name} cannot be a backbone: it ends in {article(type(classifier).__name__)}.")
    network.set_submodule(path, nn.Identity())
    before, dropout = modules[last - 1]
    if isinstance(dropout, nn.Dropout):  # the new head has its own
        network.set_submodule(before, nn.Identity())
