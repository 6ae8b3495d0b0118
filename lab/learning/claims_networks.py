"""What the lecture claims of features, losses and whole networks, and how each is checked."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.convolution.presets import PRESETS
from analysis.convolution.stack import read_layers
from analysis.losses.normalisation import normalise
from lab.learning.claim import At, Claim, Finding, are_equal, is_equal, is_less, is_more, is_no_difference
from lab.learning.claims_convolution import draw, find_difference, run_stack
from lab.learning.claims_pooling import build_empty
from lab.learning.losses import measure_losses
from models.data.samples import get_sample
from models.networks.table import ARCHITECTURES, sketch_model
from models.registry import DEFAULT_MODEL

CLASSES = 10
SCORES = [[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]]
VGG = {"A": "vgg_a", "A-LRN": "vgg_a", "B": "vgg_b", "C": "vgg_c", "D": "vgg_d", "E": "vgg_e"}
"""Configuration -> preset; A-LRN has a normalisation without weights behind the first layer."""
FAMILIES = {
    "AlexNet": "alexnet", "ConvNeXt": "convnext", "DenseNet": "densenet", "EfficientNet": "efficientnet_b",
    "EfficientNetV2": "efficientnet_v2", "GoogLeNet": "googlenet", "Inception V3": "inception_v3", "MaxVit": "maxvit",
    "MNASNet": "mnasnet", "MobileNetV2": "mobilenet_v2", "MobileNetV3": "mobilenet_v3", "RegNet": "regnet",
    "ResNet": "resnet", "ResNeXt": "resnext", "ShuffleNetV2": "shufflenet_v2", "SqueezeNet": "squeezenet",
    "SwinTransformer": "swin", "VGG": "vgg", "VisionTransformer": "vit", "Wide ResNet": "wide_resnet",
}  # fmt: skip
"""Of the notes -> how names of torchvision begin."""
GARMENTS = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
ALIKE, OPPOSED, EVEN = 0.7, -0.8, 0.25
"""Correlations of two channels of a filter that count as alike and as opposed, and the share of its weights that may
be left over where an edge is to give nothing on an even area."""


def _find_first(architecture: str) -> Tensor:
    """The weights of the first layer of a network for garments, without numbers in them."""
    kind = ARCHITECTURES[architecture][0]
    network = sketch_model(kind(num_classes=CLASSES, in_channels=1, image_size=28))
    return next(part.weight for part in network.modules() if isinstance(part, nn.Linear | nn.Conv2d))


def _check_templates(at: At, architecture: str, is_whole: bool, count: int | None) -> Finding:
    weights = _find_first(architecture)
    facts = (
        [is_equal("templates", weights.shape[0], count)]
        if count
        else [is_more("templates", weights.shape[0], CLASSES)]
    )
    area = weights[0].numel()
    what = "pixels of the picture (of 784) that a template covers"
    facts.append(is_equal(what, area, 784) if is_whole else is_less(what, area, 784))
    return Finding(tuple(facts), note=f"The network “{architecture}” for garments of 28 x 28 in ten classes.")


def _check_alexnet(at: At, layer: int) -> Finding:
    convolutions = [part for part in build_empty("alexnet").modules() if isinstance(part, nn.Conv2d)]
    shape = convolutions[layer].weight.shape
    return Finding((is_equal("filters", shape[0], 64), is_equal("size of each", tuple(shape[1:]), (3, 11, 11))))


def _check_first_filters(at: At, draws_at_random: bool) -> Finding:
    with at.lab.use(DEFAULT_MODEL, at.progress) as (loaded, _):
        first = next(part for part in loaded.module.modules() if isinstance(part, nn.Conv2d))
        filters = first.weight.detach().double().cpu()  # (N, 3, k, k)
    if draws_at_random:
        filters = torch.randn(filters.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = torch.stack([torch.corrcoef(each.flatten(1)) for each in filters])[:, [0, 0, 1], [1, 2, 2]]  # (N, 3)
    even = filters.sum((1, 2, 3)).abs() / filters.abs().sum((1, 2, 3))
    edges = int(((pairs.amin(1) > ALIKE) & (even < EVEN)).sum())
    opposed = int((pairs.amin(1) < OPPOSED).sum())
    return Finding(
        (
            is_more(f"edges: three channels alike, nothing on an even area, of {len(filters)}", edges, 1),
            is_more(f"opposing colours: what one channel adds another takes away, of {len(filters)}", opposed, 1),
        ),
        note=f"The first layer of {DEFAULT_MODEL}, which is in the box. Alike: correlations above {ALIKE}; opposed: "
        f"one below −{-OPPOSED}.",
    )


def _check_softmax(at: At, scores: list[float]) -> Finding:
    found = measure_losses([scores], [0], "softmax")
    theirs = F.cross_entropy(torch.tensor([scores], dtype=torch.float64), torch.tensor([0])).item()
    return Finding(
        (
            are_equal("exp of the logits, two digits", found.exponentials[0, :2].tolist(), [24.5, 164.0], 1),
            are_equal("and of the third", [found.exponentials[0, 2].item()], [0.18], 2),
            are_equal("probabilities", found.probabilities[0].tolist(), [0.13, 0.87, 0.0], 2),
            is_no_difference("loss against PyTorch", abs(found.losses[0].item() - theirs)),
        )
    )  # fmt: skip


def _check_svm(at: At, scores: list[list[float]]) -> Finding:
    found = measure_losses(scores, [0, 1, 2], "svm").losses.tolist()
    return Finding((are_equal("losses of cat, car, frog", found, [2.9, 0.0, 12.9], 1),))


def _check_norm_steps(at: At, kind: str) -> Finding:
    x, gain, shift = draw(6, 4, 5, 5), draw(4, seed=1), draw(4, seed=2)
    by_hand = normalise(kind, x, gain, shift)
    layer = F.batch_norm(x, None, None, gain, shift, training=True)
    mean, spread = by_hand.normalised.mean((0, 2, 3)), by_hand.normalised.var((0, 2, 3), correction=0)
    return Finding(
        (
            is_no_difference("mean of each channel over the batch", mean.abs().max().item()),
            is_no_difference("variance of each channel, from 1", (spread - 1).abs().max().item(), 1e-5),
            is_no_difference("by hand against PyTorch’s layer", find_difference(by_hand.scaled, layer)),
        )
    )


def _check_bias(at: At, normalises: bool) -> Finding:
    x, kernels = draw(6, 3, 8, 8) / 9, draw(4, 3, 3, 3, seed=1) / 9
    bias = draw(4, seed=2).requires_grad_()

    def network(added: Tensor | None) -> Tensor:
        made = F.conv2d(x, kernels, added)
        return F.batch_norm(made, None, None, training=True) if normalises else made

    with torch.enable_grad():
        (gradient,) = torch.autograd.grad((network(bias) * draw(6, 4, 6, 6, seed=3)).sum(), bias)
        change = find_difference(network(bias), network(None))
    return Finding(
        (
            is_no_difference("what a bias before it changes", change),
            is_no_difference("gradient of that bias", gradient.abs().max().item()),
        )
    )


def _measure_vgg(name: str, reads: Mapping[str, str]) -> tuple[int, int]:
    """Weight layers, and parameters."""
    preset = PRESETS[reads[name]]
    text = preset.text.replace(" relu", " relu lrn", 1) if name.endswith("LRN") else preset.text
    layers = sum(layer.kind in ("conv", "linear") for layer in read_layers(text))
    return layers, run_stack(",".join(map(str, preset.shape)), text)[1]


def _check_vgg_layers(at: At, reads: Mapping[str, str]) -> Finding:
    claimed = dict(zip(VGG, (11, 11, 13, 16, 16, 19), strict=True))
    return Finding(tuple(is_equal(f"VGG {name}", _measure_vgg(name, reads)[0], claimed[name]) for name in VGG))


def _check_vgg_parameters(at: At, reads: Mapping[str, str]) -> Finding:
    claimed = dict(zip(VGG, (133, 133, 133, 134, 138, 144), strict=True))
    return Finding(
        tuple(
            is_equal(f"VGG {name}", _measure_vgg(name, reads)[1] / 1e6, float(claimed[name]), 0.7, "million")
            for name in VGG
        ),
        note="The paper rounds up and down: up to 0.7 million off counts as the same.",
    )


def _check_families(at: At, families: Mapping[str, str]) -> Finding:
    from torchvision import models
    from torchvision.models import list_models

    known = list_models(module=models)
    missing = [name for name, begin in families.items() if not any(each.startswith(begin) for each in known)]
    return Finding(
        (is_equal("families of the notes that are there", len(families) - len(missing), 20),),
        note=f"Not there: {', '.join(missing)}." if missing else f"torchvision has {len(known)} classifiers in them.",
    )


def _check_same_answer(at: At, models: Sequence[str], prepares: bool) -> Finding:
    name = next((each for each in models if at.lab.registry.get(each).is_cached), None)
    if name is None:
        return Finding(
            note=f"The weights of {models[0]} are not on this computer: choose it on the left, download it, and "
            "check again."
        )
    from torchvision.models import get_model_weights
    from torchvision.transforms.functional import pil_to_tensor, resize

    weights = get_model_weights(name).DEFAULT
    image = at.lab.open_image(get_sample("chelsea").path).convert("RGB")
    size = weights.transforms().crop_size[0]
    batch = weights.transforms()(image) if prepares else resize(pil_to_tensor(image), [size, size]) / 255
    with at.lab.use(name, at.progress) as (loaded, _), torch.inference_mode():
        theirs = loaded.module(batch[None].to(at.lab.models.device))[0].softmax(0).cpu()
    best = int(theirs.argmax())
    percent = 100 * theirs[best].item()
    (ours,) = at.lab.classify(image, name, 1).predictions
    return Finding(
        (
            is_equal("category", ours.category, weights.meta["categories"][best]),
            is_equal("percent", 100 * ours.probability, percent, 0.01),
        ),
        note=f"{name}, and the cat.",
    )  # fmt: skip


def _check_garments(at: At, names: Sequence[str]) -> Finding:
    categories = at.lab.registry.get("fashion_cnn").categories
    same = sum(one.lower() == other.lower() for one, other in zip(categories, names, strict=False))
    return Finding(
        (is_equal("classes", len(categories), len(names)), is_equal("with the same name and place", same, 10))
    )


_F, _L, _A = "features", "losses", "architectures"
FEATURES = {
    "linear_templates": Claim(
        "One template per class", _F, "A linear classifier shows one template of the whole picture for each class.",
        _check_templates, {"architecture": "linear", "is_whole": True, "count": CLASSES},
        {"architecture": "small_cnn"}, "a CNN instead", see="tab=learn&bench=before_cnns",
    ),
    "mlp_bank": Claim(
        "A bank of templates", _F,
        "An MLP shows a bank of templates of the whole picture, more of them than classes.", _check_templates,
        {"architecture": "mlp", "is_whole": True, "count": None}, {"architecture": "linear"},
        "a linear classifier instead", see="tab=learn&bench=before_cnns",
    ),
    "local_templates": Claim(
        "Local templates", _F, "The first layer of a CNN shows local templates.", _check_templates,
        {"architecture": "small_cnn", "is_whole": False, "count": None}, {"architecture": "mlp"}, "an MLP instead",
        see="tab=learn&bench=before_cnns",
    ),
    "alexnet_filters": Claim(
        "AlexNet’s first layer", _F, "The first layer of AlexNet has 64 filters of 3 x 11 x 11.", _check_alexnet,
        {"layer": 0}, {"layer": 1}, "its second layer", seconds=2.0, see="tab=explain&model=alexnet",
    ),
    "edges_and_colors": Claim(
        "Edges and opposing colours", _F, "A first layer learns edges and opposing colours.", _check_first_filters,
        {"draws_at_random": False}, {"draws_at_random": True}, "filters drawn at random", seconds=1.0,
        see="tab=explain",
    ),
}  # fmt: skip
LOSSES = {
    "softmax": Claim(
        "Softmax", _L,
        "Logits cat 3.2, car 5.1, frog −1.7: exp gives 24.5, 164.0, 0.18, and the probabilities are 0.13, 0.87, "
        "0.00.",
        _check_softmax, {"scores": SCORES[0]}, {"scores": [5.1, 3.2, -1.7]}, "cat and car exchanged",
        see="tab=learn&bench=losses&part=scores",
    ),
    "svm": Claim(
        "Multiclass SVM", _L,
        "The hinge losses of cat (3.2, 5.1, −1.7), car (1.3, 4.9, 2.0) and frog (2.2, 2.5, −3.1) are 2.9, 0 and "
        "12.9.",
        _check_svm, {"scores": SCORES}, {"scores": SCORES[::-1]}, "the pictures in another order",
        see="tab=learn&bench=losses&part=scores",
    ),
    "batch_norm_steps": Claim(
        "Batch normalisation", _L, "Batch normalisation: statistics of the batch, then scale and shift.",
        _check_norm_steps, {"kind": "batch"}, {"kind": "layer"}, "statistics of each picture (layer normalisation)",
        see="tab=learn&bench=losses&part=batch_norm",
    ),
    "no_bias": Claim(
        "No bias before it", _L, "A layer before batch normalisation needs no bias.", _check_bias,
        {"normalises": True}, {"normalises": False}, "no normalisation behind it",
        see="tab=learn&bench=losses&part=batch_norm",
    ),
}  # fmt: skip
ARCHITECTURAL = {
    "vgg_layers": Claim(
        "Layers of VGG", _A, "VGG A, A-LRN, B, C, D and E have 11, 11, 13, 16, 16 and 19 weight layers.",
        _check_vgg_layers, {"reads": VGG}, {"reads": VGG | {"C": "vgg_b"}}, "B in the place of C",
        see="tab=learn&bench=shapes",
    ),
    "vgg_parameters": Claim(
        "Parameters of VGG", _A,
        "VGG A, A-LRN, B, C, D and E have 133, 133, 133, 134, 138 and 144 million parameters.",
        _check_vgg_parameters, {"reads": VGG}, {"reads": VGG | {"E": "vgg_d"}}, "D in the place of E", seconds=0.5,
        see="tab=learn&bench=shapes",
    ),
    "families": Claim(
        "Twenty families", _A,
        "torchvision has pretrained networks of twenty families, from AlexNet to Wide ResNet.", _check_families,
        {"families": FAMILIES}, {"families": FAMILIES | {"VGG": "vgg_net"}}, "a family that does not exist",
        seconds=2.0, see="tab=learn&bench=history",
    ),
    "same_answer": Claim(
        "The same answer", _A,
        "The notes classify with weights.transforms() and model(batch).softmax(0): for the same weights and "
        "picture this program answers the same.",
        _check_same_answer, {"models": ("resnet50", "resnet18", "alexnet", "mobilenet_v3_small"), "prepares": True},
        {"prepares": False}, "a picture that is only resized", seconds=2.0, see="tab=classify&model=resnet50",
    ),
    "garments": Claim(
        "Ten garments", "practicals",
        "Fashion-MNIST has ten classes: T-shirt/top, trouser, pullover, dress, coat, sandal, shirt, sneaker, "
        "bag, ankle boot.",
        _check_garments, {"names": GARMENTS}, {"names": GARMENTS[::-1]}, "in another order",
        see="tab=classify&model=fashion_cnn&sample=bag",
    ),
}  # fmt: skip
"""Name -> claim, of each part of the notes."""
