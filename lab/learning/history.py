"""Forty years of networks in one table: what was new, what they cost, and how well they did."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Milestone:
    """A network that others learned from.

    Attributes:
        new: What was new, in a sentence.
        source: The paper, and how its figures were measured.
        top1, top5: Its published error on the 50,000 validation pictures of ImageNet, in percent; None where the
            paper has none.
        library: What the network is counted in: ``torchvision``, ``timm``, or ``here`` for one of our own.
        built_as: Its name there; nothing where none of them has it.
        size: Side of the picture that one multiply-add count is for.
        parameters, multiply_adds: As counted in that network (``tests`` count them anew); None without one.
        model: Its name in the list of models, if it comes with weights.
    """

    name: str
    year: int
    new: str
    source: str
    top1: float | None = None
    top5: float | None = None
    library: str = "torchvision"
    built_as: str = ""
    size: int = 224
    parameters: int | None = None
    multiply_adds: int | None = None
    model: str | None = None

    def to_json(self) -> dict:
        """A JSON-ready dictionary."""
        return asdict(self)


MILESTONES = (
    Milestone(
        "LeNet-5",
        1998,
        "Convolution and subsampling, trained end to end, read handwritten digits.",
        "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition. Its error is "
        "0.95 % of MNIST's digits; ImageNet did not exist.",
        library="here",
        built_as="lenet5",
        size=32,
        parameters=61_706,
        multiply_adds=416_520,
    ),
    Milestone(
        "AlexNet",
        2012,
        "ReLU, dropout and two graphics cards: a deep network wins ImageNet by a wide margin.",
        "Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks; one "
        "network, ten crops. torchvision's is the narrower one of 2014.",
        40.7,
        18.2,
        built_as="alexnet",
        parameters=61_100_840,
        multiply_adds=714_188_480,
        model="alexnet",
    ),
    Milestone(
        "ZFNet",
        2013,
        "Looking at what layers respond to shows what to change: a smaller filter and stride at the start.",
        "Zeiler, Fergus: Visualizing and understanding convolutional networks; one network.",
        38.4,
        16.5,
    ),
    Milestone(
        "VGG-19",
        2014,
        "Nothing but 3 x 3 filters, many layers of them.",
        "Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition; network E at "
        "several scales.",
        24.8,
        7.5,
        built_as="vgg19",
        parameters=143_667_240,
        multiply_adds=19_632_062_464,
        model="vgg19",
    ),
    Milestone(
        "GoogLeNet",
        2014,
        "Filters of several sizes side by side, made cheap by 1 x 1 convolutions; no large linear layers at the end.",
        "Szegedy et al.: Going deeper with convolutions; one network, 144 crops.",
        top5=7.89,
        built_as="googlenet",
        parameters=6_624_904,
        multiply_adds=1_498_376_192,
        model="googlenet",
    ),
    Milestone(
        "ResNet-152",
        2015,
        "Shortcuts around every two or three layers let 152 of them be trained.",
        "He, Zhang, Ren, Sun: Deep residual learning for image recognition; one network, several scales.",
        19.38,
        4.49,
        built_as="resnet152",
        parameters=60_192_808,
        multiply_adds=11_513_626_624,
        model="resnet152",
    ),
    Milestone(
        "Wide ResNet-50-2",
        2016,
        "Wider instead of deeper: as good with fewer layers, and faster.",
        "Zagoruyko, Komodakis: Wide residual networks; one crop.",
        21.9,
        6.03,
        built_as="wide_resnet50_2",
        parameters=68_883_240,
        multiply_adds=11_398_021_120,
        model="wide_resnet50_2",
    ),
    Milestone(
        "DenseNet-201",
        2016,
        "Every layer sees the outputs of all before it in its block.",
        "Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks; one crop.",
        22.58,
        6.34,
        built_as="densenet201",
        parameters=20_013_928,
        multiply_adds=4_291_365_888,
        model="densenet201",
    ),
    Milestone(
        "MobileNet",
        2017,
        "Depthwise and 1 x 1 convolutions in place of whole ones: small enough for a telephone.",
        "Howard et al.: MobileNets: Efficient convolutional neural networks for mobile vision applications.",
        29.4,
        library="timm",
        built_as="mobilenetv1_100",
        parameters=4_231_976,
        multiply_adds=568_740_352,
    ),
    Milestone(
        "SENet-154",
        2017,
        "Each channel is weighted by what the whole picture holds.",
        "Hu, Shen, Albanie, Sun, Wu: Squeeze-and-excitation networks; one crop of 320 x 320.",
        17.28,
        3.79,
        library="timm",
        built_as="legacy_senet154",
        parameters=115_088_984,
        multiply_adds=20_688_363_520,
    ),
    Milestone(
        "NASNet-A large",
        2017,
        "A search finds the block; people only say how often it is repeated.",
        "Zoph, Vasudevan, Shlens, Le: Learning transferable architectures for scalable image recognition; 331 x 331.",
        17.3,
        3.8,
        library="timm",
        built_as="nasnetalarge",
        size=331,
        parameters=88_753_150,
        multiply_adds=23_783_414_658,
    ),
    Milestone(
        "EfficientNet-B0",
        2019,
        "Depth, width and picture size grow together, from a small network that was searched for.",
        "Tan, Le: EfficientNet: Rethinking model scaling for convolutional neural networks; one crop.",
        22.9,
        6.7,
        built_as="efficientnet_b0",
        parameters=5_288_548,
        multiply_adds=385_814_752,
        model="efficientnet_b0",
    ),
    Milestone(
        "ViT-L/16",
        2020,
        "No convolution: pieces of 16 x 16 pixels attend to each other; it takes more pictures to learn from.",
        "Dosovitskiy et al.: An image is worth 16x16 words; first trained on 14 million pictures, ImageNet-21k.",
        14.7,
        built_as="vit_l_16",
        parameters=304_326_632,
        multiply_adds=61_554_712_576,
        model="vit_l_16",
    ),
    Milestone(
        "ConvNeXt-L",
        2022,
        "A ResNet made anew with what transformers taught: as good as they are, with convolutions alone.",
        "Liu et al.: A ConvNet for the 2020s; trained on ImageNet's 1.3 million pictures, 224 x 224.",
        15.7,
        built_as="convnext_large",
        parameters=197_767_336,
        multiply_adds=34_361_433_600,
        model="convnext_large",
    ),
)
"""In the order of their years. Errors of different papers were measured in different ways, which ``source`` names."""
