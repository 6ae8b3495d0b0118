"""From votes to the document of an evaluation."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch

from analysis.consistency.design import Design
from analysis.consistency.protocols import PROTOCOLS
from analysis.consistency.statistics import Estimates, compare, estimate, mcnemar
from analysis.consistency.tabulate import NAMES, tabulate
from analysis.consistency.votes import Votes
from analysis.errors import UserError
from analysis.grammar import count
from lab.evaluation.config import EvaluationConfig
from lab.evaluation.predict import Chunk

COMPARED = (*NAMES, "kappa")
"""Statistics whose difference between two models is reported."""
_ZHANG = "github.com/adobe/antialiased-cnns, README"
_PLAIN = {
    "alexnet": (0.5655, 0.7818),
    "vgg16": (0.7159, 0.8852),
    "vgg16_bn": (0.7336, 0.8924),
    "resnet18": (0.6974, 0.8511),
    "resnet34": (0.7330, 0.8756),
    "resnet50:IMAGENET1K_V1": (0.7616, 0.8920),
    "resnet101:IMAGENET1K_V1": (0.7737, 0.8981),
    "densenet121": (0.7443, 0.8881),
}
PUBLISHED = {("zhang", model): (*numbers, _ZHANG) for model, numbers in _PLAIN.items()}
"""(protocol, model) -> accuracy, consistency and where they are published, on the validation set of ImageNet.

These torchvision weights are the ones of 2020 that the source measured; newer defaults are others.
"""


@dataclass(frozen=True)
class ModelVotes:
    """One model's votes on all images.

    Attributes:
        facts: What the document says of the model apart from its statistics.
        unknown: Classes of the data that the model does not have.
    """

    facts: dict
    chunk: Chunk
    design: Design
    stride: int
    unknown: tuple[str, ...]


def report(results: Sequence[ModelVotes], seed: int) -> tuple[list[dict], list[dict], list[str]]:
    """The parts ``models`` and ``pairs`` of the document, and why pictures could not be read.

    Args:
        seed: Of the bootstrap, the same for all models: that is what makes the differences paired.

    Raises:
        UserError: No picture could be read.
    """
    problems = [problem for problem in results[0].chunk.problems.tolist() if problem]
    readable = np.flatnonzero(results[0].chunk.problems == "")
    if not len(readable):
        raise UserError(f"None of the pictures can be read. The first problem was: {problems[0]}")
    votes = [result.chunk.votes.select(readable) for result in results]
    estimates, models = [], []
    for result, own in zip(results, votes, strict=True):
        design = result.design.select(readable)
        estimates.append(estimate(tabulate(own, design, stride=result.stride), seed))
        models.append(_describe(result, own, design, estimates[-1]))
    names = [result.facts["model"] for result in results]
    pairs = [
        {
            "a": names[a],
            "b": names[b],
            **{name: compare(estimates[a], estimates[b], name) for name in COMPARED},
            "mcnemar_p": _compare_accuracy(votes[a], votes[b]),
        }
        for b in range(len(results))
        for a in range(b)
    ]
    return models, pairs, problems


def find_published(config: EvaluationConfig, model: str, classes: Sequence[int]) -> dict | None:
    """``{accuracy, consistency, source}``: the published counterpart of a result, or None.

    There is one only if the data have all 1000 classes of ImageNet and the protocol is left as it was published.

    Args:
        classes: For each class of the data the model's, or -1.
    """
    model = model if (config.protocol, model) in PUBLISHED else model.removesuffix(":IMAGENET1K_V1")
    is_imagenet = len(classes) == 1000 and set(classes) == set(range(1000))
    is_original = config.boundary == "crop" and config.max_shift is None and not (config.twin or config.per_image)
    if (config.protocol, model) not in PUBLISHED or not (is_imagenet and is_original):
        return None
    return dict(zip(("accuracy", "consistency", "source"), PUBLISHED[config.protocol, model], strict=True))


def describe_protocol(name: str, boundary: str) -> dict:
    """The part ``protocol`` of the document: the rule in words."""
    protocol = PROTOCOLS[name]
    description = " ".join((type(protocol).__doc__ or "").split())
    return {"name": name, "title": protocol.title, "description": description, "boundary": boundary}


def describe_environment(device: torch.device, threads: int, processes: int, seed: int) -> dict:
    """The part ``environment`` of the document: all that may change the last bits."""
    is_cuda = device.type == "cuda"
    return {
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if is_cuda else device.type,
        "dtype": "float32",
        "tf32": is_cuda and torch.backends.cudnn.conv.fp32_precision == "tf32",  # type: ignore[attr-defined]  # no stub
        "threads": threads,
        "processes": processes,
        "seed": seed,
    }


def _describe(result: ModelVotes, votes: Votes, design: Design, estimates: Estimates) -> dict:
    known = int((votes.labels >= 0).sum())
    notes = []
    if result.unknown:
        shown = ", ".join(result.unknown[:5]) + (", ..." if len(result.unknown) > 5 else "")
        notes.append(
            f"The model does not know {count(len(result.unknown), 'class')} of the data ({shown}): such images count "
            "only for statistics that need no label."
        )
    return {
        **result.facts,
        "num_images": len(votes),
        "num_labelled": known,
        "num_groups": len(np.unique(design.groups)),
        "notes": notes,
        "statistics": {name: estimates.to_json(name) for name in (*NAMES, "kappa")},
        "curves": {
            "distance": _curve(estimates, "distance"),
            "phase": _curve(estimates, "phase"),
            "trace": _trace(votes, design) if design.is_path else [],
        },
    }


def _curve(estimates: Estimates, name: str) -> list[dict]:
    """Consistency by distance or phase in pixels."""
    bins = [key for key in estimates.values if key.startswith(f"{name}/")]
    return [{name: int(key.split("/")[1]), **estimates.to_json(key)} for key in bins]


def _trace(votes: Votes, design: Design) -> list[dict]:
    """Mean probability of the target, and accuracy, at each step of a path."""
    known = votes.labels >= 0
    points = []
    for column in np.unique(design.pairs):
        dx, dy = design.shifts[0, column].tolist()
        right = votes.top1[known, column] == votes.labels[known]
        probability = float(votes.probability[:, column].astype(np.float64).mean())
        accuracy = float(right.mean()) if known.any() else None
        points.append({"dx": dx, "dy": dy, "probability": probability, "accuracy": accuracy})
    return points


def _compare_accuracy(first: Votes, second: Votes) -> float | None:
    """McNemar's p over the images whose class both models have."""
    known = (first.labels >= 0) & (second.labels >= 0)
    if not known.any():
        return None
    return mcnemar(*((votes.top1[known, 0] == votes.labels[known]) for votes in (first, second)))
