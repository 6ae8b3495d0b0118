"""What the lecture claims of training: the verdict of the newest finished comparison that whoever asks may see."""

from collections.abc import Callable, Mapping, Sequence

from analysis.errors import UserError
from analysis.figures.curves import read_number
from analysis.grammar import count
from lab.comparisons.claims import PRESETS
from lab.comparisons.config import ArmsConfig
from lab.comparisons.sentences import MEASURES, MEMORISED, QUESTIONS
from lab.documents import read_document
from lab.learning.claim import At, Claim, Fact, Finding, judge_interval
from lab.learning.compare_features import NETWORKS, name_row
from models.runs.run import Run, list_runs

MARGIN = 0.02
"""Accuracies that differ by less do "about equally well", and so little from guessing is at chance."""
Rows = Sequence[Mapping]
Judge = Callable[[Rows, float], Fact]
"""The rows of a comparison and what guessing gives -> a fact."""


def find_run(at: At, kind: str, fits: Callable[[Run], bool]) -> tuple[Run, dict] | None:
    """The newest finished run of a kind that fits and that whoever asks may see, with what it found."""
    for run in list_runs(at.lab.runs_root):
        if run.kind == kind and run.state == "finished" and fits(run):
            try:
                document = read_document(run)
            except UserError:  # its files are damaged
                continue
            if document:
                return run, document
    return None


def _is_of(preset: str) -> Callable[[Run], bool]:
    """Whether a run is a comparison of the claim: the same arms and the same question, on whatever data."""
    wanted = PRESETS[preset]

    def fits(run: Run) -> bool:
        try:
            config = ArmsConfig.from_dict(run.config)
        except UserError:
            return False
        return config.arms == wanted.arms and (config.question, config.claim) == (wanted.question, wanted.claim)

    return fits


def _read(values: object, name: str) -> dict[str, float | None] | None:
    """``{mean, low, high, ...}`` out of what a file says; None where there is none."""
    found = values.get(name) if isinstance(values, Mapping) else None
    if not isinstance(found, Mapping) or read_number(found, "mean") is None:
        return None
    return {end: read_number(found, end) for end in ("mean", "low", "high", "factor", "factor_low", "factor_high")}


def _judge_ends(low: float | None, high: float | None, above: float, below: float) -> bool | None:
    """None where one seed leaves no interval."""
    return None if low is None or high is None else judge_interval(low, high, above, below)


def _show(name: str, found: Mapping | None) -> str:
    if found is None:
        return "not known"
    measure = MEASURES[name]
    text = f"{measure.show(found['mean'], '+')}{measure.change_unit}"
    if found["low"] is None or found["high"] is None:
        return f"{text}, with one seed"
    return f"{text} [{measure.show(found['low'], '+')} to {measure.show(found['high'], '+')}]"


def differs(name: str, direction: int) -> Judge:
    """The second arm has more (1) of a measure than the first one, or less (-1)."""

    def judge(rows: Rows, chance: float) -> Fact:
        found, measure = _read(rows[1].get("differences"), name), MEASURES[name]
        above, below = (0.0, float("inf")) if direction > 0 else (-float("inf"), 0.0)
        holds = _judge_ends(found["low"], found["high"], above, below) if found else None
        what = f"{measure.title}, {rows[1]['title']} against {rows[0]['title']}"
        return Fact(what, measure.words[direction < 0], _show(name, found), holds)

    return judge


def is_same(name: str) -> Judge:
    """Both arms have about as much of a measure: the difference lies within ``MARGIN``."""

    def judge(rows: Rows, chance: float) -> Fact:
        found, measure = _read(rows[1].get("differences"), name), MEASURES[name]
        holds = _judge_ends(found["low"], found["high"], -MARGIN, MARGIN) if found else None
        what = f"{measure.title}, {rows[1]['title']} against {rows[0]['title']}"
        return Fact(what, f"within {measure.show(MARGIN)}{measure.change_unit}", _show(name, found), holds)

    return judge


def takes_fewer(times: float) -> Judge:
    """The second arm needs so many times fewer steps."""

    def judge(rows: Rows, chance: float) -> Fact:
        found = _read(rows[1].get("differences"), "steps") or {}
        factor, low, high = (found.get(name) for name in ("factor", "factor_low", "factor_high"))
        holds = None if low is None or high is None else low <= times <= high
        text = "not known" if factor is None else f"{factor:.1f}"
        text += "" if low is None or high is None else f" [{low:.1f} to {high:.1f}]"
        return Fact("how many times fewer steps", f"{times:g}", text, holds)

    return judge


def is_memorised(rows: Rows, chance: float) -> Fact:
    """The last arm gives nearly all of its training pictures the labels that they came with."""
    found = _read(rows[-1], "train_accuracy")
    what = f"training pictures that get their label, {rows[-1]['title']}"
    least = f"at least {100 * MEMORISED:.0f} %"
    if found is None:
        return Fact(what, least, "not known", None)
    holds = (found["mean"] or 0.0) >= MEMORISED
    return Fact(what, least, MEASURES["train_accuracy"].show_estimate(found), holds)


def is_at_chance(rows: Rows, chance: float) -> Fact:
    """And is no better than guessing on new ones."""
    found = _read(rows[-1], "val_accuracy")
    what = f"new pictures that are right, {rows[-1]['title']}"
    claimed = f"{100 * chance:.0f} %, as guessing"
    if found is None or found["mean"] is None:
        return Fact(what, claimed, "not known", None)
    reach = (
        0.0
        if found["low"] is None or found["high"] is None
        else max(found["high"] - found["mean"], found["mean"] - found["low"])
    )
    holds = abs(found["mean"] - chance) <= max(MARGIN, reach)
    return Fact(what, claimed, MEASURES["val_accuracy"].show_estimate(found), holds)


JUDGES: dict[str, tuple[Judge, ...]] = {
    "softmax_svm": (is_same("test_accuracy"),),
    "random_labels": (is_memorised, is_at_chance),
    "frozen_unfrozen": (differs("seconds", 1), differs("test_accuracy", 1)),
    "practical": (differs("seconds", 1), differs("test_accuracy", 1)),
}
"""Claims that say more than that the decisive measure of the second arm is larger, or smaller."""


def _check_preset(at: At, preset: str, judges: tuple[Judge, ...]) -> Finding:
    found = find_run(at, "arms", _is_of(preset))
    if found is None:
        return Finding(
            note="No comparison of this has finished yet that you could see: networks have to be trained for it, "
            "which takes minutes."
        )
    run, document = found
    rows, chance = document["rows"], read_number(document, "chance") or 0.0
    if len(rows) < 2:
        return Finding(run=run.name)
    seeds = read_number(rows[1], "n")
    over = f", over {count(int(seeds), 'seed')}" if seeds else ""
    note = f"Of the run {run.name}{over}. In brackets: 95 % intervals of the differences."
    return Finding(tuple(judge(rows, chance) for judge in judges), note=note, run=run.name)


def _check_features(at: At, swaps: bool) -> Finding:
    found = find_run(at, "features", lambda run: True)
    rows = found[1]["rows"] if found else []
    learned, by_hand = (
        [row for row in rows if (row["kind"] in NETWORKS) == is_learned] for is_learned in (True, False)
    )
    if found is None or not learned or not by_hand:
        return Finding(
            note="No comparison of features with networks has finished yet that you could see: “Compare” in the "
            "bench “Before CNNs” starts one."
        )
    best, other = (max(each, key=lambda row: row["accuracy"]["value"]) for each in (learned, by_hand))
    one, two = (other["accuracy"], best["accuracy"]) if swaps else (best["accuracy"], other["accuracy"])
    ends = one["low"], one["high"], two["low"], two["high"]
    holds = (
        None
        if None in ends or not (one["low"] > two["high"] or two["low"] > one["high"])
        else one["low"] > two["high"]
    )
    shares = [f"{name_row(row)}: {100 * row['accuracy']['value']:.1f} %" for row in (best, other)]
    note = f"Of the run {found[0].name}: the best of each side. Clearly: their 95 % intervals stand apart."
    fact = Fact("right answers, learned against made by hand", "clearly more", "; ".join(shares), holds)
    return Finding((fact,), note=note, run=found[0].name)


def _cannot_tell(at: At) -> Finding:
    return Finding(
        note="It would take CIFAR-10, which has to be downloaded, and the networks of the paper, trained for hours. "
        "“What I choose to vary” in Train compares dropout on your own data."
    )


SECTION_OF = {
    "gap_translation": "pooling", "cnn_vs_mlp": "features", "blurpool": "translation",
    "frozen_unfrozen": "practicals", "practical": "practicals",
}  # fmt: skip
"""Presets that do not belong to losses, optimisers and regularisation."""


def _build_preset(name: str) -> Claim:
    preset = PRESETS[name]
    judges = JUDGES.get(name) or (differs(QUESTIONS[preset.question].measures[0], preset.direction),)
    return _build(name, preset.title, preset.claim, judges)


def _build(name: str, title: str, says: str, judges: tuple[Judge, ...]) -> Claim:
    return Claim(
        title, SECTION_OF.get(name, "losses"), says, _check_preset, {"preset": name, "judges": judges}, preset=name,
        command=f"python cli.py arms --preset {name} --name my-{name.replace('_', '-')}",
    )  # fmt: skip


TRAINED = {name: _build_preset(name) for name in PRESETS} | {
    "fourteen_times": _build(
        "bn_faster", "Fourteen times fewer steps",
        "With batch normalisation a network reaches the same accuracy in 14 times fewer steps, as Ioffe and Szegedy "
        "(2015) report of theirs.",
        (takes_fewer(14.0),),
    ),
    "dropout_figures": Claim(
        "Published errors with dropout", "losses",
        "On CIFAR-10 a convolutional network with max pooling errs in 14.98 to 15.60 %, with dropout in its last "
        "layers in 14.32 %, with dropout in all layers in 12.61 %.",
        _cannot_tell, see="tab=train",
    ),
    "end_to_end": Claim(
        "End to end is better", "features",
        "Learned end to end on the same data, a network is right more often than histogram, HOG or visual words "
        "with a classifier.",
        _check_features, {"swaps": False}, see="tab=learn&bench=before_cnns",
        command="python cli.py features --data shapes --name my-features",
    ),
}  # fmt: skip
"""Name -> claim."""
