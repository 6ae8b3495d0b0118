"""What a comparison of matched arms says: means over seeds, differences paired by seed, and a sentence.

Pure: measurements in, a document out. A measurement is one trained arm of one seed:
``{arm, seed, run, val_accuracy, test_accuracy, train_accuracy, consistency, shifted_accuracy, seconds, curve, ...}``.
"""

import csv
import io
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
MEMORISED = 0.95
"""Training accuracy from which on labels count as memorised."""


@dataclass(frozen=True)
class Measure:
    """A table entry: a number that each trained network has.

    Attributes:
        title: For people.
        column: The same in a word or two, for a table.
        unit: Behind a value.
        change_unit: Behind a difference.
        scale: What a value is multiplied with to be shown.
        digits: Behind the decimal point.
        low: The smallest possible value, which an interval does not leave.
        high: The largest one.
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
        """``{mean, low, high}`` as 84.4 % [83.7, 85.0]."""
        text = f"{self.show(found['mean'])}{self.unit}"
        if found["low"] is None:
            return text
        return f"{text} [{self.show(found['low'])}, {self.show(found['high'])}]"


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
        title: For people.
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
    arms: Sequence[Mapping], measurements: Sequence[Mapping], question: str, direction: int = 0, chance: float = 0.0
) -> dict:
    """The table so far, and what it says.

    Args:
        arms: ``{name, title, parameters}`` of each; the others are compared with the first.
        measurements: Of the arms trained so far.
        question: A key of ``QUESTIONS``.
        direction: What is claimed of the second arm's decisive measure: 1 larger, -1 smaller, 0 nothing.
        chance: Accuracy of guessing.

    Returns:
        ``{rows, sentence, also, targets}``: a row has ``arm, title, parameters, n`` and for each of ``MEASURES``
        ``{mean, low, high}`` or None, and under ``differences`` (all rows but the first) ``{mean, low, high, n}``
        of this arm minus the first, paired by seed; that of ``steps`` also has ``factor``, the geometric mean
        of how many times fewer they are, with ``factor_low`` and ``factor_high``. ``sentence`` answers the
        question, ``also`` says what belongs to it, ``targets`` is the common accuracy by seed.
    """
    values, targets = _gather(arms, measurements)
    rows = [_make_row(arm, values[arm["name"]]) for arm in arms]
    for row in rows[1:]:
        row["differences"] = {name: _compare(values[row["arm"]], values[rows[0]["arm"]], name) for name in MEASURES}
    sentence, also = describe(rows, question, direction, chance)
    return {"rows": rows, "sentence": sentence, "also": also, "targets": targets}


def mean_interval(values: Sequence[float], low: float = -math.inf, high: float = math.inf) -> dict:
    """Mean and Student's 95 % interval for it, the seeds being the sample: ``{mean, low, high}``.

    Args:
        values: At least one; a single one has no interval.
        low: Where an interval ends at the latest.
        high: The same above.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None}
    from scipy.stats import t

    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return {"mean": mean, "low": max(low, mean - reach), "high": min(high, mean + reach)}


def steps_to(curve: Sequence[Mapping], accuracy: float) -> int | None:
    """The first measured step with at least this validation accuracy; None if there is none."""
    return next((point["step"] for point in curve if point["val_accuracy"] >= accuracy), None)


def describe(rows: Sequence[Mapping], question: str, direction: int = 0, chance: float = 0.0) -> tuple[str, str]:
    """What the rows of :func:`summarize` say, in words: about the question, and about what belongs to it."""
    asked = QUESTIONS[question]
    if len(rows) < 2 or any(row["n"] == 0 for row in rows):
        return "", ""
    if asked.describe:
        return asked.describe(rows, chance), ""
    primary, *others = asked.measures
    judgement = _judge(rows[1]["differences"][primary], direction)
    sentence = " ".join(filter(None, [_describe_changes(rows, primary), judgement]))
    return sentence, " ".join(filter(None, (_describe_changes(rows, name) for name in others)))


def complete(networks: Sequence[Mapping], targets: Mapping[int, float]) -> list[dict]:
    """The trained networks with their own ``gap`` and ``steps``; those that failed stay as they are."""
    found = []
    for network in map(dict, networks):
        if network["state"] == "finished":
            network["gap"] = network["train_accuracy"] - network["val_accuracy"]
            target = targets.get(network["seed"])
            network["steps"] = None if target is None else steps_to(network["curve"], target)
        found.append(network)
    return found


def write_csv(document: Mapping) -> str:
    """One line for each trained network: arm, seed, run, and every measure."""
    file = io.StringIO()
    columns = ["arm", "title", "seed", "run", "state", *MEASURES]
    writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    titles = {row["arm"]: row["title"] for row in document["rows"]}
    writer.writerows({**network, "title": titles[network["arm"]]} for network in document["networks"])
    return file.getvalue()


def _gather(arms: Sequence[Mapping], measurements: Sequence[Mapping]) -> tuple[dict, dict[int, float]]:
    """Arm -> seed -> measure -> number, and the accuracy that all arms of a seed have reached."""
    values: dict[str, dict[int, dict]] = {arm["name"]: {} for arm in arms}
    curves: dict[int, dict[str, Sequence[Mapping]]] = {}
    for found in measurements:
        numbers = {name: found.get(name) for name in MEASURES}
        numbers["gap"] = found["train_accuracy"] - found["val_accuracy"]
        values[found["arm"]][found["seed"]] = numbers
        curves.setdefault(found["seed"], {})[found["arm"]] = found["curve"]
    targets = {}
    for seed, by_arm in curves.items():
        if len(by_arm) == len(arms) and all(by_arm.values()):
            targets[seed] = min(max(point["val_accuracy"] for point in curve) for curve in by_arm.values())
            for arm, curve in by_arm.items():
                values[arm][seed]["steps"] = steps_to(curve, targets[seed])
    return values, targets


def _make_row(arm: Mapping, by_seed: Mapping[int, Mapping]) -> dict:
    row = {"arm": arm["name"], "title": arm["title"], "parameters": arm["parameters"], "n": len(by_seed)}
    for name, measure in MEASURES.items():
        known = [numbers[name] for numbers in by_seed.values() if numbers[name] is not None]
        row[name] = mean_interval(known, measure.low, measure.high) if known else None
    return row


def _compare(by_seed: Mapping[int, Mapping], base: Mapping[int, Mapping], name: str) -> dict | None:
    """This arm minus the first, over the seeds that both have."""
    pairs = [(by_seed[seed][name], base[seed][name]) for seed in by_seed if seed in base]
    pairs = [pair for pair in pairs if None not in pair]
    if not pairs:
        return None
    found = mean_interval([own - other for own, other in pairs]) | {"n": len(pairs)}
    if name == "steps" and all(min(pair) > 0 for pair in pairs):
        logs = mean_interval([math.log(other / own) for own, other in pairs])
        found |= {"factor": math.exp(logs["mean"])}
        found |= {f"factor_{end}": None if logs[end] is None else math.exp(logs[end]) for end in ("low", "high")}
    return found


def _describe_changes(rows: Sequence[Mapping], name: str) -> str:
    """Every arm compared with the first one; nothing where one of the two is not known."""
    base, *others = rows
    others = [row for row in others if row[name] is not None]
    if base[name] is None or not others or any(row["differences"][name] is None for row in others):
        return ""
    measure, num = MEASURES[name], min(row["differences"][name]["n"] for row in others)
    title = f"{measure.title[0].upper()}{measure.title[1:]}"
    known = f"{measure.show(base[name]['mean'])}{measure.unit} ({base['title']})"
    found = "; ".join(_describe_change(row, name) for row in others)
    note = (
        f"In brackets: 95 % interval of the difference over {num} seeds."
        if num > 1
        else "With one seed this may be chance."
    )
    return f"{title}, against {known}: {found}. {note}"


def _describe_change(row: Mapping, name: str) -> str:
    change, measure = row["differences"][name], MEASURES[name]
    own = f"{measure.show(row[name]['mean'])}{measure.unit} ({row['title']})"
    size = f"{measure.show(abs(change['mean']))}{measure.change_unit}"
    factor = change.get("factor")
    times = f"a factor of {max(factor, 1 / factor):.1f}, or " if factor and change["mean"] else ""
    finding = f"{measure.words[change['mean'] < 0]} by {times}{size}"
    if change["low"] is None:
        return f"{own}, {finding if change['mean'] else 'no difference'}"
    if change["low"] <= 0 <= change["high"]:
        finding = f"no difference that these {change['n']} seeds can show"
    return f"{own}, {finding} [{measure.show(change['low'], '+')} to {measure.show(change['high'], '+')}]"


def _judge(change: Mapping | None, direction: int) -> str:
    if not direction or change is None:
        return ""
    if change["low"] is None or change["low"] <= 0 <= change["high"]:
        return "This is not enough to confirm the claim."
    agrees = (change["mean"] > 0) == (direction > 0)
    return "This is what is claimed." if agrees else "This is the opposite of what is claimed."


def _start(num: int) -> str:
    return f"Over {num} seeds" if num > 1 else "With one seed"


def _reach(found: Mapping) -> float:
    return 0.0 if found["low"] is None else max(found["high"] - found["mean"], found["mean"] - found["low"])
