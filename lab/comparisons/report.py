"""What a comparison of matched arms says: means over seeds, differences paired by seed, and a sentence.

Pure: measurements in, a document out. A measurement is one trained arm of one seed:
``{arm, seed, run, val_accuracy, test_accuracy, train_accuracy, consistency, shifted_accuracy, seconds, curve, ...}``,
with ``counted``, measure -> of how many a share is one, and ``samples`` where validation was often.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from lab.comparisons.readings import Reading, average, compare
from lab.comparisons.steps import Guessing, StepsFound, find_steps
from lab.spreadsheet import to_csv

MEMORISED = 0.95
"""Training accuracy from which on labels count as memorised."""


@dataclass(frozen=True)
class Measure:
    """A table entry: a number that each trained network has.

    Attributes:
        column: The same in a word or two, for a table.
        unit: Behind a value.
        change_unit: Behind a difference.
        scale: What a value is multiplied with to be shown.
        digits: Behind the decimal point.
        low: The smallest possible value, which an interval does not leave.
        words: For a larger and a smaller value.
        is_shifted: Whether it is only known of networks that were tested on moved pictures.
    """

    title: str
    column: str
    unit: str = " %"
    change_unit: str = " points"
    scale: float = 100.0
    digits: int = 1
    low: float = 0.0
    high: float = 1.0
    words: tuple[str, str] = ("higher", "lower")
    is_shifted: bool = False

    def show(self, value: float, sign: str = "") -> str:
        """A value without its unit; with ``sign`` "+", a plus before a positive one."""
        text = f"{self.scale * value:{sign}.{self.digits}f}"
        return text.replace("-", "−")

    def show_estimate(self, found: Mapping) -> str:
        """``{mean, low, high}`` as 84.4 % [83.7, 85.0]; a ``bound`` as at most 200."""
        text = f"{self.show_bound(found)}{self.show(found['mean'])}{self.unit}"
        if found["low"] is None:
            return text
        return f"{text} [{self.show(found['low'])}, {self.show(found['high'])}]"

    @staticmethod
    def show_bound(found: Mapping) -> str:
        """What belongs before a value that is only a bound."""
        return f"{found['bound']} " if found.get("bound") else ""


def _count(title: str, column: str, unit: str, digits: int, words: tuple[str, str]) -> Measure:
    return Measure(title, column, unit, unit or " steps", 1.0, digits, 0.0, math.inf, words)


MEASURES = {
    "val_accuracy": Measure("validation accuracy", "validation"),
    "test_accuracy": Measure("test accuracy", "test"),
    "train_accuracy": Measure("training accuracy", "training"),
    "gap": Measure(
        "gap between training and validation", "gap", unit=" points", low=-1.0, words=("larger", "smaller")
    ),
    "steps": _count("steps to the common accuracy", "steps", "", 0, ("more", "fewer")),
    "consistency": Measure("shift consistency", "consistency", is_shifted=True),
    "shifted_accuracy": Measure("accuracy on moved pictures", "moved pictures", is_shifted=True),
    "seconds": _count("training time", "time", " s", 1, ("longer", "shorter")),
}
"""Name -> what it is. Training accuracy is measured after the training, without dropout and on unchanged pictures,
or those would shrink the gap (training minus validation accuracy) by themselves."""


@dataclass(frozen=True)
class Question:
    """A table entry: what a comparison is about.

    Attributes:
        measures: The decisive measure, and then others that belong to an honest answer.
        describe: A finding of its own, given the arms' rows and chance, instead of differences between arms.
    """

    title: str
    measures: tuple[str, ...]
    describe: Callable[[Sequence[Mapping], float], str] | None = None


def _describe_memory(rows: Sequence[Mapping], chance: float) -> str:
    row = rows[-1]
    train, new = row["train_accuracy"], row["val_accuracy"]
    if train is None or new is None:
        return ""
    fitted, right = MEASURES["train_accuracy"].show_estimate(train), MEASURES["val_accuracy"].show_estimate(new)
    text = (
        f"{_start(row['n'])}, with {row['title']}, the network gives {fitted} of its training pictures the label "
        f"they came with, and gets {right} of new pictures right, where guessing gives {100 * chance:.1f} %."
    )
    if train["mean"] < MEMORISED:
        return f"{text} It has not memorised them all: train longer, or a larger network on fewer pictures."
    # How far a network that guesses is from chance, at most times: its answers to one class are much alike.
    if abs(new["mean"] - chance) > max(0.02, _reach(new)):
        return f"{text} It has memorised them, and new pictures are not at chance."
    return f"{text} It has memorised them, and learned nothing else: new pictures are at chance."


QUESTIONS = {
    "accuracy": Question("Accuracy", ("test_accuracy",)),
    "gap": Question("Gap between training and validation", ("gap", "test_accuracy")),
    "steps": Question("Steps to the same accuracy", ("steps", "test_accuracy")),
    "translation": Question("Robustness to translation", ("consistency", "shifted_accuracy", "test_accuracy")),
    "memory": Question("Memorising labels", ("train_accuracy", "val_accuracy"), _describe_memory),
}


def summarize(
    arms: Sequence[Mapping],
    measurements: Sequence[Mapping],
    question: str,
    direction: int = 0,
    chance: float = 0.0,
    guessing: Guessing | None = None,
) -> dict:
    """The table so far, and what it says.

    Args:
        arms: ``{name, title, parameters}`` of each; the others are compared with the first.
        question: A key of ``QUESTIONS``.
        direction: What is claimed of the second arm's decisive measure: 1 larger, -1 smaller, 0 nothing.
        chance: Accuracy of guessing.
        guessing: What the common accuracy has to be clearly above; None for no such condition.

    Returns:
        ``{rows, sentence, also, targets, reasons}``: a row has ``arm, title, parameters, n`` and for each of
        ``MEASURES`` the result of :func:`lab.comparisons.readings.average` or None, and under ``differences`` (all
        rows but the first) that of :func:`lab.comparisons.readings.compare`, this arm minus the first, with ratios
        for ``steps``. ``sentence`` answers the question, ``also`` says what belongs to it, ``targets`` is the common
        accuracy by seed, ``reasons`` says why a measure is not known.
    """
    values, found = _gather(arms, measurements, guessing)
    rows = [_make_row(arm, values[arm["name"]]) for arm in arms]
    for row in rows[1:]:
        row["differences"] = {name: _compare(values[row["arm"]], values[rows[0]["arm"]], name) for name in MEASURES}
    reasons = {"steps": found.reason} if found.reason else {}
    sentence, also = describe(rows, question, direction, chance, found.targets, reasons)
    return {"rows": rows, "sentence": sentence, "also": also, "targets": found.targets, "reasons": reasons}


def describe(
    rows: Sequence[Mapping],
    question: str,
    direction: int = 0,
    chance: float = 0.0,
    targets: Mapping[int, float] = MappingProxyType({}),
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, str]:
    """What the rows of :func:`summarize` say, in words: about the question, and about what belongs to it."""
    asked = QUESTIONS[question]
    if len(rows) < 2 or any(row["n"] == 0 for row in rows):
        return "", ""
    if asked.describe:
        return asked.describe(rows, chance), ""
    primary, *others = asked.measures
    findings = {name: reasons.get(name) or _describe_changes(rows, name, targets) for name in asked.measures}
    judgement = _judge(rows[1]["differences"][primary], direction, primary in reasons)
    sentence = " ".join(filter(None, [findings[primary], judgement]))
    return sentence, " ".join(filter(None, (findings[name] for name in others)))


def complete(arms: Sequence[Mapping], networks: Sequence[Mapping], guessing: Guessing | None = None) -> list[dict]:
    """The trained networks with their own ``gap``, and ``steps`` with the measurements around, ``steps_low`` and
    ``steps_high``; where only the latter is known, ``steps`` is None. Those that failed stay as they are.
    """
    trained = [network for network in networks if network["state"] == "finished"]
    steps, found = find_steps(arms, trained, guessing).steps, []
    for network in map(dict, networks):
        if network["state"] == "finished":
            network["gap"] = network["train_accuracy"] - network["val_accuracy"]
            reading = steps.get((network["arm"], network["seed"]))
            network["steps"] = None if reading is None or reading.is_bound else reading.value
            for end in ("low", "high"):
                network[f"steps_{end}"] = None if reading is None else getattr(reading, end)
        found.append(network)
    return found


def write_csv(document: Mapping) -> str:
    """One line for each trained network: arm, seed, run, and every measure."""
    titles = {row["arm"]: row["title"] for row in document["rows"]}
    rows = ({**network, "title": titles[network["arm"]]} for network in document["networks"])
    return to_csv(["arm", "title", "seed", "run", "state", *MEASURES, "steps_low", "steps_high"], rows)


def _gather(
    arms: Sequence[Mapping], measurements: Sequence[Mapping], guessing: Guessing | None
) -> tuple[dict[str, dict[int, dict[str, Reading | None]]], StepsFound]:
    """Arm -> seed -> measure -> number, and how the steps were found."""
    found = find_steps(arms, measurements, guessing)
    values: dict[str, dict[int, dict]] = {arm["name"]: {} for arm in arms}
    for network in measurements:
        readings = {name: _read(network, name) for name in MEASURES}
        train, validation = readings["train_accuracy"], readings["val_accuracy"]
        readings["gap"] = train and validation and train.minus(validation, MEASURES["gap"].high)
        readings["steps"] = found.steps.get((network["arm"], network["seed"]))
        values[network["arm"]][network["seed"]] = readings
    return values, found


def _read(network: Mapping, name: str) -> Reading | None:
    value = network.get(name)
    if value is None:
        return None
    return Reading.of_share(value, network.get("counted", {}).get(name), MEASURES[name].high)


def _make_row(arm: Mapping, by_seed: Mapping[int, Mapping]) -> dict:
    row = {"arm": arm["name"], "title": arm["title"], "parameters": arm["parameters"], "n": len(by_seed)}
    for name, measure in MEASURES.items():
        known = [readings[name] for readings in by_seed.values() if readings[name] is not None]
        row[name] = average(known, measure.low) if known else None
    return row


def _compare(by_seed: Mapping[int, Mapping], base: Mapping[int, Mapping], name: str) -> dict | None:
    """This arm minus the first, over the seeds that both have."""
    pairs = [(by_seed[seed][name], base[seed][name]) for seed in by_seed if seed in base]
    pairs = [pair for pair in pairs if None not in pair]
    if not pairs:
        return None
    return compare(pairs, MEASURES[name].low, ratios=name == "steps")


def _describe_changes(rows: Sequence[Mapping], name: str, targets: Mapping[int, float]) -> str:
    """Every arm compared with the first one; nothing where one of the two is not known."""
    base, *others = rows
    others = [row for row in others if row[name] is not None]
    if base[name] is None or not others or any(row["differences"][name] is None for row in others):
        return ""
    measure, num = MEASURES[name], min(row["differences"][name]["n"] for row in others)
    title = f"{measure.title[0].upper()}{measure.title[1:]}{_describe_target(targets) if name == 'steps' else ''}"
    known = _describe_own(base, name)
    found = "; ".join(_describe_change(row, name) for row in others)
    note = (
        f"In brackets: 95 % interval of the difference over {num} seeds."
        if num > 1
        else "With one seed this may be chance."
    )
    return f"{title}, against {known}: {found}. {note}"


def _describe_target(targets: Mapping[int, float]) -> str:
    ends = dict.fromkeys(MEASURES["val_accuracy"].show(end(targets.values())) for end in (min, max))
    return f" of {' to '.join(ends)} %"


def _describe_own(row: Mapping, name: str) -> str:
    measure, found = MEASURES[name], row[name]
    return f"{measure.show_bound(found)}{measure.show(found['mean'])}{measure.unit} ({row['title']})"


def _describe_change(row: Mapping, name: str) -> str:
    change, measure = row["differences"][name], MEASURES[name]
    own, brackets = _describe_own(row, name), ""
    if change["low"] is not None:
        brackets = f" [{measure.show(change['low'], '+')} to {measure.show(change['high'], '+')}]"
        if change["low"] <= 0 <= change["high"]:
            return f"{own}, no difference that these {change['n']} seeds can show{brackets}"
    elif not change["resolved"]:
        return f"{own}, no difference"
    size = f"{_describe_factor(change)}{measure.show(abs(change['mean']))}{measure.change_unit}"
    return f"{own}, {measure.words[change['mean'] < 0]} by {measure.show_bound(change)}{size}{brackets}"


def _describe_factor(change: Mapping) -> str:
    """How many times fewer or more; nothing where that is not known."""
    if not change.get("factor"):
        return ""
    found = [change[name] for name in ("factor", "factor_low", "factor_high")]
    if change["mean"] > 0:
        found = [end and 1 / end for end in (found[0], found[2], found[1])]
    factor, low, high = found
    return f"a factor of {factor:.1f}{'' if low is None else f' [{low:.1f} to {high:.1f}]'}, or "


def _judge(change: Mapping | None, direction: int, is_unknown: bool) -> str:
    if not direction or (change is None and not is_unknown):
        return ""
    if change is None or change["low"] is None or change["low"] <= 0 <= change["high"]:
        return "This is not enough to confirm the claim."
    agrees = (change["mean"] > 0) == (direction > 0)
    return "This is what is claimed." if agrees else "This is the opposite of what is claimed."


def _start(num: int) -> str:
    return f"Over {num} seeds" if num > 1 else "With one seed"


def _reach(found: Mapping) -> float:
    return 0.0 if found["low"] is None else max(found["high"] - found["mean"], found["mean"] - found["low"])
