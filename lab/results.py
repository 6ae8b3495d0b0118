"""What the lab answers. ``to_json`` of a result is the document that the command line prints and the API returns."""

from dataclasses import asdict, dataclass

from torch import Tensor

from analysis.attribution import methods
from analysis.equivariance import align
from analysis.equivariance.meter import LayerMeter, PhaseErrors
from analysis.equivariance.own_error import OwnError, rank
from analysis.network.predict import Prediction
from analysis.shift.shift_map import ShiftMap
from models.zoo.spec import ModelSpec


@dataclass(frozen=True)
class Classification:
    """The most probable classes of one picture.

    ``pixels (C, H, W)`` in [0, 1] is what the network saw; ``ms`` the forward pass alone, on a warm model; ``notes``
    what the user should know of how the picture was opened.
    """

    model: ModelSpec
    pixels: Tensor
    predictions: tuple[Prediction, ...]
    ms: float
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict:
        """``{predictions, ms, notes}``."""
        return {
            "predictions": [asdict(p) for p in self.predictions],
            "ms": round(self.ms, 2),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class ShiftResult:
    """One picture before and after a shift, to the pixel as the network saw it.

    Attributes:
        is_twin: Whether the circular twin of the model was asked.
        before_pixels: ``(C, H, W)`` in [0, 1].
        after_pixels: ``(C, H, W)`` in [0, 1].
        is_real: ``(H, W)`` bool; False where the boundary rule invented pixels.
        probability_change: Of the original's best class, after minus before.
        margin_before: Logit of the original's best class minus the next best one.
        margin_after: The same class's margin after the shift; below 0 if it lost.
        near_tie: Whether two best logits, before or after, are so close that rounding may swap them.
        notes: What the user should know of how the picture was opened.
    """

    model: ModelSpec
    dx: float
    dy: float
    boundary: str
    is_twin: bool
    before_pixels: Tensor
    after_pixels: Tensor
    is_real: Tensor
    before: tuple[Prediction, ...]
    after: tuple[Prediction, ...]
    probability_change: float
    margin_before: float
    margin_after: float
    near_tie: bool
    layers: tuple[align.LayerError, ...]
    comparison: align.MapComparison | None
    notes: tuple[str, ...] = ()

    @property
    def same_top1(self) -> bool:
        """Whether the predicted class held."""
        return self.before[0].index == self.after[0].index

    def to_json(self) -> dict:
        """``{before, after, same_top1, probability_change, layers, notes}``."""
        return {
            "before": [asdict(p) for p in self.before],
            "after": [asdict(p) for p in self.after],
            "same_top1": self.same_top1,
            "probability_change": self.probability_change,
            "layers": [asdict(layer) for layer in self.layers],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Explanation:
    """An attribution map with the picture it belongs to: ``pixels (C, H, W)`` in [0, 1], and notes on opening it.

    ``versus`` is the class that the target is contrasted with, ``baseline`` what the picture was compared with, where
    one was asked for.
    """

    model: ModelSpec
    pixels: Tensor
    target: Prediction
    is_top1: bool
    attribution: methods.Attribution
    notes: tuple[str, ...] = ()
    versus: Prediction | None = None
    baseline: str = ""

    def to_json(self) -> dict:
        """``{method, target, category, probability, seconds, notes, completeness_gap, placement}``.

        Of a contrast ``contrast``, the names of both classes; where a baseline was asked for, ``baseline``.
        """
        contrast = {} if self.versus is None else {"contrast": [self.target.category, self.versus.category]}
        baseline = {"baseline": self.baseline} if self.baseline else {}
        return {
            **contrast,
            **baseline,
            "method": self.attribution.method,
            "target": self.target.index,
            "category": self.target.category,
            "probability": self.target.probability,
            "seconds": round(self.attribution.seconds, 4),
            "notes": list(self.notes),
            "completeness_gap": self.attribution.completeness_gap,
            "placement": self.attribution.placement,
        }


@dataclass(frozen=True)
class FileResult:
    """One file of a batch: its best classes, or what was wrong with it."""

    path: str
    predictions: tuple[Prediction, ...] = ()
    ms: float = 0.0
    problem: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PictureMap:
    """A shift map with the model and the rules that it was made by.

    Attributes:
        stride: Total stride of the network in pixels; None if it has no grid.
        category: The class predicted without a shift.
        all_shifts: Consistency over every one of the ``H x W`` circular shifts, where that was computed.
    """

    model: ModelSpec
    boundary: str
    is_twin: bool
    stride: int | None
    category: str
    map: ShiftMap
    all_shifts: float | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict:
        """The document of the map, with the rules."""
        rules = {"model": self.model.name, "boundary": self.boundary, "twin": self.is_twin, "stride": self.stride}
        found = {**self.map.to_json(), "all_shifts_consistency": self.all_shifts, "notes": list(self.notes)}
        return {**rules, "category": self.category, **found}


@dataclass(frozen=True)
class MeterReading:
    """The layer meter of one model under one shift, and the error down the network in and out of phase.

    ``own`` is what each of these layers does by itself, and ``notes`` what the user should know of how the picture
    was opened.
    """

    model: ModelSpec
    dx: float
    dy: float
    boundary: str
    is_twin: bool
    layers: tuple[LayerMeter, ...]
    phases: tuple[PhaseErrors, ...]
    own: tuple[OwnError, ...] = ()
    notes: tuple[str, ...] = ()

    def rank_own(self) -> list[tuple[OwnError, float, str | None]]:
        """The layers that have an own error at this shift, each with it and its cause, largest first."""
        return rank(self.own, self.dx, self.dy)

    def to_json(self) -> dict:
        """``{model, dx, dy, boundary, twin, layers, phases, own, notes}``."""
        rules = {"dx": self.dx, "dy": self.dy, "boundary": self.boundary, "twin": self.is_twin}
        readings = {"layers": [asdict(m) for m in self.layers], "phases": [asdict(p) for p in self.phases]}
        readings["own"] = [asdict(own) for own in self.own]
        return {"model": self.model.name, **rules, **readings, "notes": list(self.notes)}
