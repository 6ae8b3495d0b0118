"""All about one channel: its map on several pictures, its kernels, and the answer without it."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from analysis.attribution.placement import enlarge, find_centres
from analysis.channels.filters import describe_filters
from analysis.errors import Progress, no_progress
from analysis.network.layers import extract_features, find_layer
from analysis.network.windows import find_size
from lab.channels.ablation import Ablation, measure_ablation
from lab.channels.filters import read_kernels
from lab.channels.pictures import find_samples
from lab.facts import Facts
from lab.session import Lab

NUM_SAMPLES = 5


@dataclass(frozen=True, eq=False)
class ChannelPage:
    """One channel of a layer.

    Attributes:
        num_channels: Of the layer.
        names: Of the pictures: the first is the visitor's, then samples.
        pixels: ``(N, C, H, W)`` in [0, 1].
        maps: ``(N, H, W)``: its map on each, every cell at the centre of what it looks at.
        means: Its mean over the map of each picture.
        kernels: Name of the convolution that makes it, and ``(C, h, w)``; None where there is none.
        word: What the kernel looks for, where it looks at pixels.
        ablation: The answer to the first picture without it.
    """

    layer: str
    channel: int
    num_channels: int
    names: tuple[str, ...]
    pixels: Tensor
    maps: Tensor
    means: tuple[float, ...]
    kernels: tuple[str, Tensor] | None
    word: str
    ablation: Ablation


def describe_channel(
    lab: Lab,
    image: Image.Image,
    model: str,
    layer: str,
    channel: int | None = None,
    *,
    progress: Progress = no_progress,
) -> ChannelPage:
    """All about a channel of a layer; where it has no such channel, of the one that responds most to the picture.

    Raises:
        UserError: No such layer.
    """
    with lab.use(model) as (loaded, facts):
        found = find_layer(facts.layers, layer)
        progress(0, 3)
        own = loaded.spec.preprocessing.to_pixels(image)
        others: dict[str, Tensor] = {}
        for sample in find_samples(loaded.spec):
            seen = loaded.spec.preprocessing.to_pixels(lab.open_image(sample.path))
            if len(others) < NUM_SAMPLES and not torch.equal(seen, own):
                others[sample.title] = seen
        pixels = torch.stack([own, *others.values()])
        inputs = loaded.to_inputs(pixels)
        maps = extract_features(loaded.module, inputs, found.name)  # (N, C, h, w)
        if channel is None or not 0 <= channel < maps.shape[1]:
            channel = int(maps[0].abs().mean((1, 2)).argmax())
        centres = None if "#" in found.name else find_centres(loaded.module, inputs[:1], found.name)
        progress(1, 3)
        ablation = measure_ablation(lab, image, model, found.name, [channel])
        progress(2, 3)
        kernels = read_kernels(lab, model, found.name, channel)
    chosen = maps[:, channel]
    return ChannelPage(
        layer=found.name,
        channel=channel,
        num_channels=maps.shape[1],
        names=("this picture", *others),
        pixels=pixels,
        maps=enlarge(chosen, find_size(pixels), centres),
        means=tuple(chosen.mean((1, 2)).tolist()),
        kernels=kernels,
        word="" if kernels is None else _find_word(facts, *kernels),
        ablation=ablation,
    )


def _find_word(facts: Facts, name: str, kernels: Tensor) -> str:
    """What a kernel looks for, if its convolution reads the picture; else nothing."""
    reads = next(layer.reads for layer in facts.layers if layer.name == name)
    return describe_filters(kernels[None])[0].word if reads == ("",) and len(kernels) in (1, 3) else ""
