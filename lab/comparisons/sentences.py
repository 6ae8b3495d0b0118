"""What is measured of trained arms, what a comparison of them can be about, and what is then said."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

MEMORISED = 0.95
"""Training accuracy from which on labels count as memorised."""


@dataclass(frozen=True)
class Measure:
    """A table entry: a number that each trained network has.

    Attributes:
        column: The title in a word or two, for a table.
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
