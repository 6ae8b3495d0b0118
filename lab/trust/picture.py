"""The trust table of one picture: for each method, numbers on whether its map can be trusted."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image
from torch import Tensor, nn

from analysis.attribution.methods import METHODS, Attribution, attribute
from analysis.errors import Progress, UserError, no_progress
from analysis.network.predict import Prediction, find_class, predict
from analysis.shift.move import Extended, extend, extend_crop
from analysis.trust.maps import ORDERS, measure_agreement
from analysis.trust.motion import Motion, measure_motion
from analysis.trust.perturbation import Drops, measure_drops, measure_infidelity, measure_sensitivity
from analysis.trust.randomisation import measure_sanity
from analysis.trust.removal import measure_confidence, measure_removal
from analysis.trust.table import METRICS
from lab.session import Lab
from lab.trust.config import RATES, SHIFTS, TrustSettings, check_boundaries, check_methods
from models.cache import LoadedModel
from models.settings import check_choice

FINE = 1000
"""Progress is counted in thousandths of a second, as estimated."""


@dataclass(frozen=True)
class TrustTable:
    """A trust table.

    Attributes:
        rows: One for each method, ready for JSON: ``method``, the numbers of ``METRICS``, and what they are made of.
            Where a method cannot explain the model, or its map is the same everywhere, ``reason`` says so and the
            numbers are None.
        agreement: The rank correlation of every two maps, by the names of the methods.
        estimate: Seconds that were foretold for what comes after the maps.
    """

    target: Prediction
    rows: tuple[dict, ...]
    agreement: dict[str, dict[str, float | None]]
    seconds: float
    estimate: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Subject:
    """One map, and whatever its numbers are made from."""

    loaded: LoadedModel
    surroundings: dict[str, Extended]
    inputs: Tensor
    drops: Drops
    attribution: Attribution
    settings: TrustSettings

    @property
    def values(self) -> Tensor:
        return self.attribution.values

    def explain(self, module: nn.Module, inputs: Tensor, progress: Progress) -> Tensor:
        """The map of another network or picture; ``progress`` can only cancel it."""
        known = self.attribution
        return attribute(
            module,
            inputs,
            known.target,
            known.method,
            layer=known.layer,
            seed=self.settings.seed,
            progress=progress,
        ).values


@dataclass(frozen=True)
class _Part:
    """Some of the numbers of a row.

    Attributes:
        count: How many maps and how many forward passes it takes.
    """

    count: Callable[[_Subject], tuple[int, int]]
    measure: Callable[[_Subject, Progress], dict]


def _measure_removal(subject: _Subject, progress: Progress) -> dict:
    module, target = subject.loaded.module, subject.attribution.target
    found = measure_removal(
        module,
        subject.inputs,
        target,
        subject.values,
        order=subject.settings.order,
        steps=min(subject.settings.steps, subject.inputs.shape[-2:].numel()),
        progress=progress,
    )
    shown = measure_confidence(module, subject.inputs, target, subject.values)
    curves = {"shares": found.shares, "deletion": found.deletion, "insertion": found.insertion}
    return {
        "deletion": found.deletion_auc,
        "insertion": found.insertion_auc,
        "average_drop": shown.drop,
        "increase": float(shown.increased),
        "curves": {name: list(numbers) for name, numbers in curves.items()},
    }


def _measure_perturbation(subject: _Subject, progress: Progress) -> dict:
    infidelity = measure_infidelity(subject.drops, subject.values, is_rate=subject.attribution.method in RATES)
    done = (0, 1)

    def report(now: int, total: int) -> None:
        nonlocal done
        done = now, total
        progress(now, total)

    sensitivity = measure_sensitivity(
        subject.inputs,
        lambda inputs: subject.explain(subject.loaded.module, inputs, lambda *_: progress(*done)),
        samples=subject.settings.nearby,
        seed=subject.settings.seed,
        progress=report,
    )
    return {"infidelity": infidelity.value, "infidelity_share": infidelity.share, "sensitivity": sensitivity}


def _measure_moves(subject: _Subject, progress: Progress) -> dict:
    asked = [(boundary, dx) for boundary in subject.surroundings for dx in list_shifts(subject, boundary)]
    moves: list[Motion] = []
    for done, (boundary, dx) in enumerate(asked):
        now = done, len(asked)
        progress(*now)
        moved = subject.surroundings[boundary].shift(dx, 0)
        inputs = subject.loaded.to_inputs(moved.pixels[None])
        values = subject.explain(subject.loaded.module, inputs, lambda *_, now=now: progress(*now))
        moves.append(measure_motion(subject.values, values, dx, 0, boundary, moved.is_real))
    by_boundary = {
        boundary: _mean([move.correlation for move in moves if move.boundary == boundary])
        for boundary in subject.settings.boundaries
    }
    return {
        "moves_with_picture": _mean(list(by_boundary.values())),
        "moves_by_boundary": by_boundary,
        "best_shift_agrees": _mean([None if move.agrees is None else float(move.agrees) for move in moves]),
        "moves": [
            {
                **{name: getattr(move, name) for name in ("boundary", "dx", "dy", "correlation", "still")},
                "best": None if move.best is None else list(move.best),
            }
            for move in moves
        ],
    }


def _measure_sanity(subject: _Subject, progress: Progress) -> dict:
    done = (0, 1)

    def report(now: int, total: int) -> None:
        nonlocal done
        done = now, total
        progress(now, total)

    found = measure_sanity(
        subject.loaded.module,
        subject.inputs,
        subject.values,
        lambda module, inputs: subject.explain(module, inputs, lambda *_: progress(*done)),
        stages=subject.settings.stages,
        seed=subject.settings.seed,
        progress=report,
    )
    names = ("layer", "share", "rank_correlation", "ssim")
    return {
        "sanity": found.rank_correlation,
        "sanity_ssim": found.ssim,
        "sanity_passes": found.passes,
        "stages": [{name: getattr(stage, name) for name in names} for stage in found.stages],
    }


PARTS = (
    _Part(lambda subject: (0, 2 * (subject.settings.steps + 1) + 2), _measure_removal),
    _Part(lambda subject: (subject.settings.nearby + 1, 0), _measure_perturbation),
    _Part(lambda subject: (sum(len(list_shifts(subject, name)) for name in subject.surroundings), 0), _measure_moves),
    _Part(lambda subject: (subject.settings.stages, 0), _measure_sanity),
)
"""What is measured of each map, one after the other."""


def measure_trust(
    lab: Lab,
    image: Image.Image,
    model: str,
    methods: Sequence[str],
    target: int | str | None = None,
    settings: TrustSettings | None = None,
    progress: Progress = no_progress,
    loading: Progress = no_progress,
    tell: Callable[[float], None] = lambda seconds: None,
) -> TrustTable:
    """Measures for each method whether its map of a picture can be trusted.

    Args:
        target: Index or name of a class; None for the predicted one.
        progress: Told how much of the time is over that it will take, as estimated; may raise ``Cancelled``.
        loading: Counts the bytes of weights that have to be downloaded.
        tell: Called with the estimate, in seconds, once the maps are there and before they are measured.

    Raises:
        UserError: An unknown method, boundary rule or class, or the model cannot be used.
    """
    names, settings = check_methods(list(methods)), settings or TrustSettings()
    check_boundaries(settings.boundaries)
    check_choice("The order", settings.order, ORDERS)
    with lab.use(model, loading) as (loaded, facts):
        obstacles = facts.find_obstacles(loaded)
        canvas = loaded.spec.preprocessing.to_canvas(image)
        shared = lab.models.turns.sharing(progress)
        table = measure_table(loaded, obstacles, canvas, names, target, settings, shared, tell)
        return replace(table, notes=loaded.spec.preprocessing.list_notes(image))


def measure_table(
    loaded: LoadedModel,
    obstacles: dict[str, str],
    canvas: Tensor,
    names: Sequence[str],
    target: int | str | None,
    settings: TrustSettings,
    progress: Progress,
    tell: Callable[[float], None] = lambda seconds: None,
) -> TrustTable:
    """The same of a picture at network scale, ``canvas (C, H, W)``, and a model that is lent already."""
    import captum.attr  # noqa: F401 (its seconds are not those of the first map)

    started = time.perf_counter()
    surroundings = {boundary: _surround(loaded, canvas, boundary) for boundary in settings.boundaries}
    inputs = loaded.to_inputs(loaded.spec.preprocessing.crop(canvas)[None])
    probabilities = predict(loaded.module, inputs)[0]
    index = int(probabilities.argmax()) if target is None else find_class(target, loaded.spec.categories)
    begun = time.perf_counter()
    drops = measure_drops(
        loaded.module,
        inputs,
        index,
        samples=settings.samples,
        cells=min(7, *inputs.shape[-2:]),
        seed=settings.seed,
        progress=lambda *_: progress(0, 1),
    )
    pace = (time.perf_counter() - begun) / (settings.samples + 1)
    # The first backward pass of a model takes longer than those that the estimate is about.
    attribute(loaded.module, inputs, index, "saliency")
    maps: dict[str, Attribution] = {}
    reasons = {name: obstacles[name] for name in names if name in obstacles}
    for name in names:
        if name in reasons:
            continue
        try:
            maps[name] = attribute(
                loaded.module, inputs, index, name, seed=settings.seed, progress=lambda *_: progress(0, 1)
            )
        except UserError as error:
            reasons[name] = str(error)
            continue
        if maps[name].is_flat:
            reasons[name] = f"The map of {METHODS[name].title} is the same everywhere: there is nothing to measure."
    todo = [
        (_Subject(loaded, surroundings, inputs, drops, found, settings), part)
        for name, found in maps.items()
        if name not in reasons
        for part in PARTS
    ]
    counts = [part.count(subject) for subject, part in todo]
    costs = [
        maps_ * subject.attribution.seconds + forwards * pace
        for (subject, _), (maps_, forwards) in zip(todo, counts, strict=True)
    ]
    tell(sum(costs))
    rows = {name: _start_row(name, maps.get(name), reasons.get(name)) for name in names}
    meter = _Meter(progress, sum(costs))
    for (subject, part), report in zip(todo, meter.parts(costs), strict=True):
        rows[subject.attribution.method] |= part.measure(subject, report)
    meter.end()
    agreement = measure_agreement({name: found.values for name, found in maps.items() if name not in reasons})
    prediction = Prediction(index, loaded.spec.categories[index], float(probabilities[index]))
    return TrustTable(prediction, tuple(rows.values()), agreement, time.perf_counter() - started, sum(costs))


def _surround(loaded: LoadedModel, canvas: Tensor, boundary: str) -> Extended:
    prep = loaded.spec.preprocessing
    if boundary == "crop":
        around = extend_crop(canvas, prep.crop_size)
        around.window(SHIFTS[0], 0)  # a picture without surroundings is refused before anything is measured
        return around
    return extend(prep.crop(canvas), max(SHIFTS), boundary, prep.mean)


def list_shifts(subject: _Subject, boundary: str) -> tuple[int, ...]:
    """The shifts that leave at least three quarters of the picture, and for which there is room."""
    (_, room), _ = subject.surroundings[boundary].limits
    return tuple(dx for dx in SHIFTS if 4 * dx <= subject.inputs.shape[-1] and dx <= room)


@dataclass
class _Meter:
    """Progress of parts that take unequally long."""

    progress: Progress
    total: float
    spent: float = field(default=0.0, init=False)

    def parts(self, costs: Sequence[float]) -> Iterator[Progress]:
        for cost in costs:
            start = self.spent

            def report(done: int, total: int, start: float = start, cost: float = cost) -> None:
                self._say(start + cost * done / max(total, 1))

            report(0, 1)
            yield report
            self.spent = start + cost

    def end(self) -> None:
        self._say(self.total)

    def _say(self, spent: float) -> None:
        whole = max(round(FINE * self.total), 1)
        self.progress(min(round(FINE * spent), whole) if spent < self.total else whole, whole)


def _start_row(name: str, found: Attribution | None, reason: str | None) -> dict:
    row: dict[str, object] = {"method": name, **dict.fromkeys(METRICS)}
    if found is not None:
        row |= {"completeness_gap": found.completeness_gap, "seconds": found.seconds, "layer": found.layer}
    return row | {"reason": reason}


def _mean(numbers: Sequence[float | None]) -> float | None:
    found = [number for number in numbers if number is not None]
    return sum(found) / len(found) if found else None
