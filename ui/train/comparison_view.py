"""A comparison of arms as HTML: what was claimed, the verdict, and a row for each arm; and its curves."""

from markupsafe import Markup

from analysis.figures.curves import read_number
from analysis.grammar import count
from lab.comparisons.claims import PRESETS
from lab.comparisons.config import ArmsConfig
from lab.comparisons.sentences import MEASURES, QUESTIONS
from lab.comparisons.variations import VARIATIONS, find_question
from models.runs.run import UNFINISHED, Run
from ui.widgets.html import format_count, note_html, sentence_html, table_html

ALWAYS = ("val_accuracy", "test_accuracy", "train_accuracy", "gap", "steps", "seconds")
"""Columns of the table; others where they were measured."""
BOUNDS = ("at least", "at most")


def describe_preset(name: str) -> Markup:
    """What is claimed."""
    return note_html(f"{PRESETS[name].claim} {PRESETS[name].note}".rstrip())


def describe_variation(name: str, shifts: bool) -> Markup:
    """What a comparison of one's own is about."""
    question = QUESTIONS[find_question(VARIATIONS[name], shifts)].title.lower()
    return note_html(f"The other settings are those of “Single run”. The verdict is about: {question}.")


def count_tested(document: dict | None) -> int | None:
    """How many test pictures the networks of a result were asked about; None where it does not say."""
    try:
        (number,) = {network["counted"]["test_accuracy"] for network in (document or {})["networks"]}
    except (KeyError, TypeError, ValueError):  # a file that somebody has changed, or an arm that failed
        return None
    return number if isinstance(number, int) else None


def describe_verdict(run: Run, config: ArmsConfig, tested: int | None = None) -> Markup:
    """The verdict, and what was claimed; ``tested`` is how many pictures test accuracies are shares of."""
    claim = note_html(f"{config.title}. {config.claim}".strip())
    text, also = (str(run.status.get(name) or "") for name in ("sentence", "also"))
    of = f"Test accuracies are shares of {count(tested, 'picture')}." if tested else ""
    notes = " ".join(filter(None, [also, of]))
    return claim + (sentence_html(text) if text else "") + (note_html(notes) if notes else "")


def read_curves(run: Run, config: ArmsConfig, measure: str) -> list[tuple[str, list[list[dict]]]]:
    """The points of each arm's seeds; one that is being trained stands apart, or the others would wait for it."""
    known = {(arm.name, seed) for arm in config.arms for seed in config.all_seeds}
    lines = [line for line in _read_points(run, measure) if _key(line) in known]
    curves = []
    for arm in config.arms:
        by_seed: dict[int, dict] = {}
        for line in lines:
            if line["arm"] == arm.name:  # by step: once, also after a restart
                by_seed.setdefault(line["seed"], {})[read_number(line, "step")] = line
        seeds = {seed: list(points.values()) for seed, points in by_seed.items()}
        last = lines[-1] if lines and run.state in UNFINISHED else {}
        current = last.get("seed") if last.get("arm") == arm.name else None
        others = [len(points) for seed, points in seeds.items() if seed != current]
        if current is not None and others and len(seeds[current]) < min(others):
            curves.append((f"{arm.title}, seed {current} so far", [seeds.pop(current)]))
        curves.append((arm.title, list(seeds.values())))
    return sorted(curves, key=lambda curve: curve[0].endswith("so far"))  # the colours of the arms stay


def _read_points(run: Run, measure: str) -> list[dict]:
    """The ends of epochs; of the validation accuracy what was measured often, if it was: it decides about steps."""
    if measure == "val_accuracy":
        often = [line for line in run.metrics if read_number(line, "sample_accuracy") is not None]
        if often:
            return [{**line, measure: line["sample_accuracy"]} for line in often]
    return [line for line in run.metrics if line.get("kind") == "epoch"]


def _key(line: dict) -> tuple | None:
    """Arm and seed that a line names."""
    arm, seed = line.get("arm"), line.get("seed")
    return (arm, seed) if isinstance(arm, str) and isinstance(seed, int) else None


def tabulate(run: Run, config: ArmsConfig) -> Markup:
    """One row per arm: means over seeds with their intervals, and the difference that the verdict is about."""
    rows = {str(row.get("arm")): row for row in run.status.get("rows", ()) if isinstance(row, dict)}
    found = [(arm, rows[arm.name]) for arm in config.arms if arm.name in rows]
    if not found:
        return Markup("")
    columns = [name for name in MEASURES if name in ALWAYS or any(_read(row, name) for _, row in found)]
    decisive = QUESTIONS[config.question].measures[0]
    cells = [
        [
            arm.title,
            _show_difference(decisive, _read(row.get("differences"), decisive)),
            *(_show(name, _read(row, name)) for name in columns),
            format_count(read_number(row, "parameters") or 0),
            row.get("n"),
        ]
        for arm, row in found
    ]
    titles = [MEASURES[name].column for name in columns]
    change = f"{MEASURES[decisive].column}, change"
    table = table_html(["arm", change, *titles, "parameters", "seeds"], cells)
    arms = ", ".join(arm.name for arm in config.arms)
    names = f"Every network is a model: run/{run.name}-ARM-SEED, with ARM out of {arms}."
    return table + note_html(
        f"Means over seeds, in brackets their 95 % intervals; the change is from the first arm. {names}"
    )


def _read(values: object, name: str) -> dict | None:
    """``{mean, low, high}`` out of what a file says, or None."""
    found = values.get(name) if isinstance(values, dict) else None
    if not isinstance(found, dict) or read_number(found, "mean") is None:
        return None
    numbers = {end: read_number(found, end) for end in ("mean", "low", "high")}
    numbers["bound"] = found.get("bound") if found.get("bound") in BOUNDS else None
    return numbers if numbers["high"] is not None else numbers | {"low": None}


def _show(name: str, found: dict | None) -> str:
    return MEASURES[name].show_estimate(found) if found else "–"


def _show_difference(name: str, found: dict | None) -> str:
    if found is None:
        return "–"
    measure = MEASURES[name]
    text = f"{measure.show(found['mean'], '+')}{measure.change_unit}"
    if found.get("bound"):
        size = f"{measure.show(abs(found['mean']))}{measure.change_unit}"
        text = f"{found['bound']} {size} {measure.words[found['mean'] < 0]}"
    if found["low"] is None:
        return text
    return f"{text} [{measure.show(found['low'], '+')}, {measure.show(found['high'], '+')}]"
