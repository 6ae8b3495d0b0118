"""How soon arms have the accuracy that all of them reach, as far as measurements at some steps can tell."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.comparisons.readings import Reading

CLEAR_SHARE = 0.25
CLEAR_DEVIATIONS = 3
"""An accuracy is clearly above guessing from this share of the way to 100 % on, and from so many standard deviations
of the number of right guesses on, or a few pictures could be luck."""

Points = Sequence[tuple[float, float]]
"""Step and accuracy, in the order of steps."""


@dataclass(frozen=True)
class Guessing:
    """What the best answer that does not look at pictures gets: ``accuracy``, on ``num`` validation pictures."""

    accuracy: float
    num: int

    @property
    def clearly_above(self) -> float:
        """The lowest accuracy that is; more than 1 where the pictures are too few for any to be."""
        deviation = math.sqrt(self.accuracy * (1 - self.accuracy) / self.num)
        return self.accuracy + max(CLEAR_SHARE * (1 - self.accuracy), CLEAR_DEVIATIONS * deviation)


@dataclass(frozen=True)
class StepsFound:
    """Steps to the accuracy that all arms of a seed reach.

    Attributes:
        steps: (arm, seed) -> its reading; of seeds that have all arms. Empty where ``reason`` says why.
        targets: Seed -> the accuracy.
        reason: Why the steps to these accuracies say nothing; or nothing.
    """

    steps: dict[tuple[str, int], Reading]
    targets: dict[int, float]
    reason: str = ""


def find_steps(arms: Sequence[Mapping], measurements: Sequence[Mapping], guessing: Guessing | None) -> StepsFound:
    """Looks for the steps at which arms have the accuracy that all of them reach, seed by seed.

    Curves are made monotone first: the highest of many measurements that go up and down is too high, and the more so
    the more there are.

    Args:
        arms: With ``name`` and ``title``.
        measurements: Trained networks with ``arm``, ``seed``, ``curve`` and perhaps ``samples``.
        guessing: What a common accuracy has to be clearly above; None for no such condition.
    """
    steps: dict[tuple[str, int], Reading] = {}
    targets: dict[int, float] = {}
    reasons = []
    for seed in dict.fromkeys(network["seed"] for network in measurements):
        networks = {network["arm"]: network for network in measurements if network["seed"] == seed}
        curves = _read_curves(networks)
        if len(curves) < len(arms) or not all(curves.values()):
            continue
        curves = {arm: make_monotone(curve) for arm, curve in curves.items()}
        worst = min(curves, key=lambda arm: curves[arm][-1][1])
        targets[seed] = curves[worst][-1][1]
        if guessing is not None and targets[seed] < guessing.clearly_above:
            title = next(arm["title"] for arm in arms if arm["name"] == worst)
            reasons.append(_explain(title, seed, targets[seed], guessing))
        for arm, curve in curves.items():
            crossing = find_crossing(curve, targets[seed])
            assert crossing is not None  # all reach what the worst of them reaches
            steps[arm, seed] = crossing
    # All or none: the seeds that an arm has learned nothing with are not left out of a mean.
    return StepsFound({}, targets, reasons[0]) if reasons else StepsFound(steps, targets)


def make_monotone(points: Points) -> Points:
    """The curve nearest to the points (least squares) that never falls: isotonic regression.

    Where they go up and down, it is their mean.
    """
    from scipy.optimize import isotonic_regression

    fitted = isotonic_regression([accuracy for _, accuracy in points]).x
    return [(step, float(accuracy)) for (step, _), accuracy in zip(points, fitted, strict=True)]


def find_crossing(points: Points, accuracy: float) -> Reading | None:
    """The step at which a monotone curve first has an accuracy; None if it never does.

    That lies between the first measurement which has it and the one before, most likely where the straight line
    between the two has it. If the very first one has it, at a step other than 0, it was at that step or before.
    """
    before, limit = None, max(points[-1][0], 1) if points else 1
    for step, found in points:
        if found < accuracy:
            before = step, found
        elif before is None:
            return Reading(step, 0, max(step, 1), limit, is_bound=step > 0)
        else:
            start, below = before
            value = start + (accuracy - below) / (found - below) * (step - start)
            return Reading(min(value, step), start, step, limit)
    return None


def _read_curves(networks: Mapping[str, Mapping]) -> dict[str, Points]:
    """Of each arm: what was measured often, on the same pictures in all arms, or else at the ends of epochs."""
    if all(network.get("samples") for network in networks.values()):
        return {
            arm: [(point["step"], point["accuracy"]) for point in network["samples"]]
            for arm, network in networks.items()
        }
    return {
        arm: [(point["step"], point["val_accuracy"]) for point in network["curve"]]
        for arm, network in networks.items()
    }


def _explain(title: str, seed: int, accuracy: float, guessing: Guessing) -> str:
    found = (
        f"Steps are not compared: with seed {seed}, {title} comes to {100 * accuracy:.1f} % validation accuracy, and "
        f"guessing to {100 * guessing.accuracy:.1f} %"
    )
    if guessing.clearly_above > 1:
        return f"{found}; {guessing.num} validation pictures are too few to tell the two apart. Take more pictures."
    return f"{found}; the comparison needs {100 * guessing.clearly_above:.1f} %. Train longer, or on more pictures."
