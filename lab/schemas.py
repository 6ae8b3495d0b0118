"""The parts, and their kinds, that documents must have for the page to show them; the tables say of which work.

Whatever else a document has is not looked at. Imported where it is first needed, as pydantic takes its time.
"""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel, Discriminator, TypeAdapter, model_validator

LARGEST = 1e30
"""Larger numbers are no measurements, and a multiple may be no number."""
Number = Annotated[float, Ge(-LARGEST), Le(LARGEST)]
Positive = Annotated[float, Gt(0), Le(LARGEST)]


class Interval(BaseModel):
    """Both ends, or none."""

    low: Number | None
    high: Number | None

    @model_validator(mode="after")
    def _check_ends(self) -> "Interval":
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has two ends")
        return self


class Estimate(Interval):
    """A value that may be undefined, with its interval."""

    value: Number | None


class Measured(Interval):
    value: Number


class Mean(Interval):
    mean: Number


class Spread(BaseModel):
    mean: Number
    std: Number


class Distance(Estimate):
    distance: Number


class Phase(Estimate):
    phase: Number


class Curves(BaseModel):
    distance: list[Distance]
    phase: list[Phase]


class Statistics(BaseModel, extra="allow"):
    """Those that are always there; the others are estimates too."""

    __pydantic_extra__: dict[str, Estimate]
    accuracy: Estimate
    consistency: Estimate


class MeteredLayer(BaseModel):
    """A layer of an evaluated model; in old documents the error has no interval."""

    name: str
    stride: int | None
    error: Estimate | Number | None


class Published(BaseModel):
    accuracy: Number
    consistency: Number
    source: str


class EvaluatedModel(BaseModel):
    model: str
    num_images: int
    statistics: Statistics
    notes: list[str]
    curves: Curves
    layers: list[MeteredLayer] = []
    published: Published | None = None


class Pair(BaseModel):
    a: str
    b: str
    accuracy: Estimate
    consistency: Estimate
    mcnemar_p: Number | None


class Protocol(BaseModel):
    name: str
    boundary: str
    description: str


class Data(BaseModel):
    """What was evaluated on; older documents have no notes."""

    name: str
    skipped: list[str]
    notes: list[str] = []


class Evaluation(BaseModel):
    """See :func:`lab.evaluation.run.evaluate`."""

    protocol: Protocol
    data: Data
    models: Annotated[list[EvaluatedModel], MinLen(1)]
    pairs: list[Pair]


class RepairedLayer(BaseModel):
    name: str
    stride: int | None
    phase_spread: Number | None
    error: Number | None


class RepairArm(BaseModel):
    title: str
    run: str
    accuracy: Estimate
    consistency: Measured
    circular_logit_error: Number
    layers: list[RepairedLayer]


class Repair(BaseModel):
    """See :func:`lab.comparisons.repair.run_repair`."""

    arms: Annotated[list[RepairArm], MinLen(1)]


class ComparedArm(BaseModel):
    arm: str
    title: str


class Network(BaseModel):
    arm: str


class Comparison(BaseModel):
    """See :func:`lab.comparisons.run.run_arms`."""

    rows: list[ComparedArm]
    networks: list[Network]

    @model_validator(mode="after")
    def _check_arms(self) -> "Comparison":
        if not {network.arm for network in self.networks} <= {row.arm for row in self.rows}:
            raise ValueError("a network is of no arm")
        return self


class ArmMeasurement(BaseModel, extra="forbid"):
    """What is measured of a trained arm; older lines do not tell of how many pictures."""

    run: str
    weights_sha256: str | None
    train_accuracy: Number
    consistency: Number | None = None
    shifted_accuracy: Number | None = None
    counted: dict[str, int] = {}


class ArmResult(BaseModel):
    val_accuracy: Number
    test_accuracy: Number
    seconds: Number | None = None


class EpochPoint(BaseModel):
    """A point of an arm's curve: at the end of an epoch."""

    kind: Literal["epoch"]
    step: int
    epoch: int
    val_accuracy: Number
    sample_accuracy: Number = 0.0


class SamplePoint(BaseModel):
    """A point of an arm's curve: on some pictures, within an epoch."""

    kind: Literal["sample"]
    step: int
    sample_accuracy: Number


ARM_MEASUREMENT = TypeAdapter(ArmMeasurement)
ARM_RESULT = TypeAdapter(ArmResult)
ARM_POINTS = TypeAdapter(list[Annotated[EpochPoint | SamplePoint, Discriminator("kind")]])


class RangeTest(BaseModel):
    """See :class:`models.training.lr_finder.RangeTest`."""

    rates: list[Positive]
    losses: list[Number]
    suggestion: Positive | None


class RedGreenRow(BaseModel):
    title: str
    similar: Spread
    dissimilar: Spread
    published_similar: Spread
    published_dissimilar: Spread
    identical: bool
    max_logit_difference: Number
    repeats: int


class LocationBiasRow(BaseModel):
    head: str
    left: Mean
    right: Mean
    drop: Mean
    repeats: int


class TracesRow(BaseModel):
    picture: str
    probabilities: list[Number]


class FeaturesRow(BaseModel):
    """See :class:`lab.learning.features.Measured`."""

    kind: Literal["histogram", "hog", "bow", "pixels", "linear", "mlp", "small_cnn"]
    classifier: Literal["linear", "knn", ""]
    accuracy: Measured
    consistency: Measured
    seconds: Number
    num_features: int
    learned: int
    tested: int
    moved: int


class Features(BaseModel):
    """See :mod:`lab.learning.compare_features`."""

    rows: list[FeaturesRow]
    sentence: str


class TrustRow(BaseModel, extra="allow"):
    """See :func:`lab.trust.over_set.summarize_rows`."""

    method: str
    pictures: int
    reason: str | None
    __pydantic_extra__: dict[str, Estimate]


class Trust(BaseModel):
    """See :mod:`lab.trust.over_set`."""

    rows: list[TrustRow]
    agreement: dict[str, dict[str, Number | None]]
    seconds: Number


class TrustedMap(BaseModel, extra="allow"):
    method: str
    reason: str | None
    __pydantic_extra__: dict[str, Number | bool | None]


class TrustMeasurement(BaseModel):
    picture: str
    rows: list[TrustedMap]
    agreement: dict[str, dict[str, Number | None]]
    seconds: Number


DOCUMENTS: dict[str, TypeAdapter[Any]] = {
    "evaluation": TypeAdapter(Evaluation),
    "repair": TypeAdapter(Repair),
    "arms": TypeAdapter(Comparison),
    "range_test": TypeAdapter(RangeTest),
    "experiment": TypeAdapter(dict),
    "features": TypeAdapter(Features),
    "trust": TypeAdapter(Trust),
}
"""Kind of work -> what its result.json has; the page shows only a note of an experiment's."""
ROWS: dict[str, TypeAdapter[Any]] = {
    "red_green": TypeAdapter(list[RedGreenRow]),
    "location_bias": TypeAdapter(list[LocationBiasRow]),
    "traces": TypeAdapter(list[TracesRow]),
    "features": TypeAdapter(list[FeaturesRow]),
}
"""Experiment, or the comparison of features -> the rows of its table."""


class RedGreenMeasurement(BaseModel):
    convolution: str
    seed: int
    similar: Number
    dissimilar: Number
    max_logit_difference: Number


class LocationBiasMeasurement(BaseModel):
    head: str
    seed: int
    run: str
    left: Number
    right: Number


class Unread(BaseModel):
    """A picture of the experiment traces that could not be opened."""

    picture: str
    problem: str


class Traced(BaseModel):
    picture: str
    window: int
    source: int
    shifts: list[list[int]]
    probabilities: list[Number]
    mean_probability: Number
    total_variation: Number
    std: Number
    amplitude: Number
    hit_rate: Number
    change_rate: Number
    mean_absolute_change: Number


MEASUREMENTS: dict[str, TypeAdapter[Any]] = {
    "red_green": TypeAdapter(list[RedGreenMeasurement]),
    "location_bias": TypeAdapter(list[LocationBiasMeasurement]),
    "traces": TypeAdapter(list[Traced | Unread]),
    "features": TypeAdapter(list[FeaturesRow]),
    "trust": TypeAdapter(list[TrustMeasurement]),
}
"""The same, or a trust table over many pictures -> the lines of its measurements.jsonl."""
