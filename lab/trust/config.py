"""What a trust table is told."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from pydantic import PlainValidator

from analysis.attribution.methods import METHODS
from analysis.errors import UserError
from analysis.shift.move import BOUNDARIES
from analysis.trust.maps import ORDERS
from analysis.trust.perturbation import SAMPLES
from analysis.trust.randomisation import STAGES
from analysis.trust.removal import STEPS
from models.devices import DEVICES
from models.registry import DEFAULT_MODEL
from models.settings import Choice, Integer, Stored, Text, check_choice, checked_dataclass

SHIFTS = (1, 2, 4, 8, 16)
"""Pixels to the right; those beyond a quarter of the picture are left out."""
NEARBY = 4
"""Pictures with noise that the sensitivity is the largest of."""
RATES = frozenset(("saliency", "smoothgrad", "guided_backprop", "guided_grad_cam", "deconvolution"))
"""Methods that say what changes per change of a pixel; all others say what a pixel is worth."""
DEFAULT_METHODS = ("saliency", "input_x_gradient", "guided_backprop", "grad_cam")


def _check_names(names: object, what: str, known: Collection[str]) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{what}s must be a list of names.")
    if not names or len(set(names)) < len(names):
        raise UserError(f"Name at least one {what}, and none twice.")
    for name in names:
        check_choice(f"The {what}", name, known)
    return tuple(names)


def check_methods(names: object) -> tuple[str, ...]:
    """Names of methods. Raises UserError: none, one twice, or an unknown one."""
    return _check_names(names, "method", METHODS)


def check_boundaries(names: object) -> tuple[str, ...]:
    """Names of boundary rules. Raises UserError: none, one twice, or an unknown one."""
    return _check_names(names, "boundary", BOUNDARIES)


@dataclass(frozen=True)
class TrustSettings:
    """How the numbers are measured; see :mod:`analysis.trust`.

    Attributes:
        boundaries: What fills the pixels that shifts uncover, one after the other.
        order: Which pixels are removed first.
    """

    boundaries: tuple[str, ...] = ("zero",)
    order: str = "positive"
    steps: int = STEPS
    samples: int = SAMPLES
    nearby: int = NEARBY
    stages: int = STAGES
    seed: int = 0


@checked_dataclass
class TrustConfig(Stored):
    """The config.json of a run: a trust table over ``limit`` pictures, of the class that is predicted for each."""

    model: Annotated[str, Text("the name of a model", min_length=1)] = DEFAULT_MODEL
    data: Annotated[str, Text("a name or the path of a folder or zip", min_length=1)] = "fashion_mnist"
    methods: Annotated[tuple[str, ...], PlainValidator(check_methods)] = DEFAULT_METHODS
    boundaries: Annotated[tuple[str, ...], PlainValidator(check_boundaries)] = ("zero",)
    order: Annotated[str, Choice(ORDERS)] = "positive"
    limit: Annotated[int, Integer(1, 100_000)] = 100
    seed: Annotated[int, Integer(0, 2**31)] = 0
    device: Annotated[str, Choice(DEVICES)] = "auto"
    data_root: Annotated[str, Text("the path of a folder")] = "data"

    @property
    def settings(self) -> TrustSettings:
        """How each picture is measured."""
        return TrustSettings(boundaries=self.boundaries, order=self.order, seed=self.seed)
