"""What an explanation is asked with: two classes to tell apart, a picture without evidence; and what can be asked."""

from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from analysis.attribution.baselines import BASELINES, make_baseline
from analysis.attribution.method import Cost
from analysis.attribution.methods import METHODS
from analysis.errors import UserError
from analysis.network.predict import find_class
from models.cache import LoadedModel

Contrast = str | tuple[int | str, int | str]
"""Two classes by index or name, or both in one text with a comma between them."""


@dataclass(frozen=True)
class MethodFacts:
    """Whether a method works on a model, and what it costs with its defaults: about how many pictures, each way."""

    method: str
    reason: str | None
    cost: Cost

    def to_json(self) -> dict:
        """``{method, works, reason, forwards, backwards}``."""
        numbers = {"forwards": self.cost.forwards, "backwards": self.cost.backwards}
        return {"method": self.method, "works": self.reason is None, "reason": self.reason, **numbers}


def list_methods(obstacles: Mapping[str, str], side: int) -> list[MethodFacts]:
    """Every method, with the obstacles of a model whose input has this side."""
    size = (side, side)
    return [MethodFacts(name, obstacles.get(name), method.measure_cost(size)) for name, method in METHODS.items()]


def find_contrast(contrast: Contrast, categories: tuple[str, ...]) -> tuple[int, int]:
    """The indices of two classes; names may have commas in them.

    Raises:
        UserError: They are not two classes of the model.
    """
    if not isinstance(contrast, str):
        first, second = contrast
        return find_class(first, categories), find_class(second, categories)
    parts = contrast.split(",")
    if len(parts) < 2:
        raise UserError(f"A contrast is two classes with a comma between them, such as cat,dog, not {contrast}.")
    problems = []
    for place in range(1, len(parts)):
        pair = ",".join(parts[:place]), ",".join(parts[place:])
        try:
            return find_contrast(pair, categories)
        except UserError as error:
            problems.append(error)
    raise problems[0]


def find_baseline(
    loaded: LoadedModel, pixels: Tensor, baseline: str | Image.Image | None
) -> tuple[Tensor | None, str]:
    """The normalised baseline ``(1, C, H, W)`` of a picture ``(C, H, W)``, None for zero; and what it is called.

    Raises:
        UserError: There is none of this name.
    """
    prep = loaded.spec.preprocessing
    if isinstance(baseline, Image.Image):
        return loaded.prepare(baseline), "own picture"
    if baseline is None or baseline == "mean":
        return None, baseline or ""
    if baseline not in BASELINES:
        raise UserError(
            f"There is no baseline called {baseline}; choose one of {', '.join(BASELINES)}, or a picture."
        )
    made = make_baseline(baseline, pixels, pixels.new_tensor(prep.mean))
    return loaded.to_inputs(made[None]), baseline
