"""Stacks that everybody knows, and pairs to be compared."""

from dataclasses import dataclass

from analysis.convolution.layers import Layer, Row
from analysis.convolution.stack import measure_stack, read_layers


@dataclass(frozen=True)
class Preset:
    """A stack: what it is called, the picture ``(C, H, W)`` that it was made for, and its layers in words.

    ``about`` says what to look at, or where it was published.
    """

    title: str
    shape: tuple[int, int, int]
    text: str
    about: str

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers themselves."""
        return read_layers(self.text)

    def measure(self) -> tuple[Row, ...]:
        """The rows of its layers."""
        return measure_stack(self.layers, self.shape)


_VGG = {
    "A": ("3", "3", "33", "33", "33"),
    "B": ("33",) * 5,
    "C": ("33", "33", "331", "331", "331"),
    "D": ("33", "33", "333", "333", "333"),
    "E": ("33", "33", "3333", "3333", "3333"),
}
"""Columns of table 1: the kernel sizes of each stage."""


def _write_vgg(stages: tuple[str, ...]) -> str:
    parts = []
    for filters, kernels in zip((64, 128, 256, 512, 512), stages, strict=True):
        parts += [f"conv({filters},{kernel},padding={int(kernel) // 2}) relu" for kernel in kernels]
        parts.append("pool(2)")
    return " ".join([*parts, "flatten linear(4096) relu dropout linear(4096) relu dropout linear(1000)"])


def _write_vgg_presets() -> dict[str, Preset]:
    about = (
        "Simonyan & Zisserman, 2015: nothing but 3 x 3 kernels (1 x 1 in C), and most weights in the first linear."
    )
    layers = {name: sum(map(len, stages)) + 3 for name, stages in _VGG.items()}
    return {
        f"vgg_{name.lower()}": Preset(f"VGG {name}, {layers[name]} layers", (3, 224, 224), _write_vgg(stages), about)
        for name, stages in _VGG.items()
    }


PRESETS = {
    "lenet5": Preset(
        "LeNet-5",
        (1, 32, 32),
        "conv(6,5) tanh avgpool(2) conv(16,5) tanh avgpool(2) flatten linear(120) tanh linear(84) tanh linear(10)",
        "LeCun et al., 1998, with averages that have no weights and a second convolution that sees all six maps.",
    ),
    "alexnet": Preset(
        "AlexNet",
        (3, 227, 227),
        "conv(96,11,4) relu lrn pool(3,2) conv(256,5,1,2,groups=2) relu lrn pool(3,2) conv(384,3,1,1) relu "
        "conv(384,3,1,1,groups=2) relu conv(256,3,1,1,groups=2) relu pool(3,2) flatten "
        "linear(4096) relu dropout linear(4096) relu dropout linear(1000)",
        "Krizhevsky et al., 2012: two groups, because it was trained on two cards.",
    ),
    **_write_vgg_presets(),
    "resnet_block": Preset(
        "ResNet block",
        (64, 56, 56),
        "residual(conv(64,3,1,1,bias=0) norm relu conv(64,3,1,1,bias=0) norm) relu",
        "He et al., 2016: what goes in is added to what comes out; no bias before a normalisation.",
    ),
    "resnet_block_2": Preset(
        "ResNet block that halves",
        (64, 56, 56),
        "residual(conv(128,3,2,1,bias=0) norm relu conv(128,3,1,1,bias=0) norm) relu",
        "He et al., 2016: where the size changes, the shortcut is a 1 x 1 convolution.",
    ),
    "three_3x3": Preset(
        "Three times 3 x 3",
        (64, 56, 56),
        "conv(64,3,1,1,bias=0) relu conv(64,3,1,1,bias=0) relu conv(64,3,1,1,bias=0) relu",
        "Sees 7 x 7 pixels with 27 C^2 weights and three non-linearities.",
    ),
    "one_7x7": Preset(
        "Once 7 x 7",
        (64, 56, 56),
        "conv(64,7,1,3,bias=0) relu",
        "Sees 7 x 7 pixels, too, with 49 C^2 weights and one non-linearity.",
    ),
    "six_filters": Preset(
        "Six filters of 5 x 5", (3, 32, 32), "conv(6,5)", "456 weights, the same ones at all 28 x 28 places."
    ),
    "fully_connected": Preset(
        "Fully connected, as many outputs",
        (3, 32, 32),
        "flatten linear(4704)",
        "28 * 28 * 6 = 4704 outputs, each with weights of its own for all 3072 inputs.",
    ),
}
"""Name -> stack, in the order in which they are shown."""
