"""A run as one page of HTML that needs nothing else: to read on a phone, to print, to hand in.

Curves are static SVG, drawn by matplotlib: some 20 KB each, sharp in print, and without scripts, so that the page
can forbid them all. (plotly would have to bring 4.5 MB of scripts along, or a browser to draw in.) The page itself is
``assets/report.html``, a template that escapes whatever comes from files.
"""

import io
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TypeGuard

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from analysis.confusion import Confusion, measure_confusion, select_classes
from analysis.errors import Progress, UserError, no_progress
from analysis.grammar import count
from lab.runs.examples import read_examples, read_predictions
from models.checkpoints import ModelCard, read_model_card
from models.ordinary_files import read_json
from models.runs.run import Run, read_run
from models.training.capsule import pack_capsule
from models.training.provenance import describe_config

ASSETS = Path(__file__).parents[2] / "assets"
MAX_POINTS = 500
"""Of each curve."""
MAX_CLASSES = 15
"""In the confusion matrix; of more classes those that are confused most."""
MAX_VALUE_LENGTH = 300
MAX_DATA_BYTES = 32 * 2**20
_CHARTS = {"Loss": ("train_loss", "val_loss"), "Accuracy": ("train_accuracy", "val_accuracy")}
_COLORS = {"train": "#b45309", "val": "#1d4ed8"}
_LABELS = {"train": "training", "val": "validation"}
_RIGHT, _WRONG = "29, 78, 216", "220, 38, 38"


def build_run_report(run_dir: str | Path) -> str:
    """One page of HTML about a training: facts, curves, mistakes, settings, data, environment, notes.

    What the run has no files for is left out, or said to be missing. The same files give the same page.

    Raises:
        UserError: There is no such run, it is no training, or its model is damaged.
    """
    run_dir = Path(run_dir)
    run = read_run(run_dir.parent, run_dir.name)
    if run.kind != "training" or run.state == "damaged":
        raise UserError(f"There is no report about {run.name}: it is {run.message or 'no training'}")
    card = read_model_card(run_dir / "model.json") if run.has_model else None
    return _load_template().render(
        name=run.name,
        message=run.message,
        facts=_list_facts(run, card),
        sha256=(run.result or {}).get("weights_sha256") or "-",
        charts=_draw_charts(run),
        mistakes=_list_mistakes(_read_confusion(run)),
        notes=run.notes.strip(),
        tables=[
            ("Settings", _flat(describe_config(run.config))),
            ("Data", _read_data(run_dir)),
            ("Environment", _read_environment(run_dir)),
        ],
    )


def write_capsule(
    run: Run, out_path: str | Path, *, pictures: bool = False, progress: Progress = no_progress
) -> Path:
    """Packs a finished training with its report; see :func:`models.training.capsule.pack_capsule`."""
    page = build_run_report(run.path)
    progress(1, 3)
    return pack_capsule(run.path, out_path, page, pictures=pictures)


@cache
def _load_template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        finalize=_bounded,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["whole"] = lambda text: escape(_printable(text))
    return environment.get_template("report.html")


def _list_facts(run: Run, card: ModelCard | None) -> list[tuple[str, object]]:
    result = run.result or {}
    epochs = [line for line in run.metrics if line.get("kind") == "epoch"]
    last = epochs[-1] if epochs else {}
    return [
        ("State", run.state),
        (
            "Test accuracy",
            _percent(result.get("test_accuracy")),
        ),
        ("Test pictures", run.count_pictures("test")),
        ("Validation accuracy", _percent(result.get("val_accuracy"))),
        ("Training accuracy", _percent(last.get("train_accuracy"))),
        ("Epochs", result.get("epochs")),
        ("Seconds", _rounded(result.get("seconds"))),
        ("Trained values", f"{card.num_params:,}" if card else None),
        ("Device", run.status.get("device")),
    ]


def _draw_charts(run: Run) -> list[tuple[str, str]]:
    """Title and ``<svg>`` element of each chart; none before the first epoch is over."""
    epochs = [line for line in run.metrics if line.get("kind") == "epoch" and _is_number(line.get("epoch"))]
    return [(title, _draw(title, names, epochs)) for title, names in _CHARTS.items()] if epochs else []


def _draw(title: str, names: Sequence[str], epochs: list[dict]) -> str:
    """An ``<svg>`` element; all text in it is our own."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    shown = epochs[:: math.ceil(len(epochs) / MAX_POINTS)]
    for name in names:
        points = [(line["epoch"], line[name]) for line in shown if _is_number(line.get(name))]
        part = name.partition("_")[0]
        if points:
            # With a mark, because one epoch makes no line; dashes, because print may have no colours.
            style = "o--" if part == "train" else "o-"
            axes.plot(*zip(*points, strict=True), style, markersize=3, label=_LABELS[part], color=_COLORS[part])
    if axes.lines:
        axes.legend(frameon=False)
    axes.set(title=title, xlabel="epoch")
    axes.locator_params("x", integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        FigureCanvasSVG(figure).print_svg(file, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = file.getvalue()
    return svg[svg.index("<svg") :]


def _read_confusion(run: Run) -> Confusion | None:
    """What the network said about the kept validation pictures; None without them, or where they fit nothing."""
    try:
        examples = read_examples(run)
        return measure_confusion(read_predictions(run, examples), examples.labels, examples.categories)
    except UserError:
        return None


def _list_mistakes(confusion: Confusion | None) -> dict[str, object] | None:
    """A sentence, a row of scores for each class, and the matrix: class -> (pictures, colour) of each cell."""
    if confusion is None:
        return None
    shown = list(range(len(confusion.categories)))
    intro = f"{confusion.num_correct} of {count(len(confusion), 'kept validation picture')} are recognised"
    if len(shown) > MAX_CLASSES:
        shown = select_classes(confusion.counts, MAX_CLASSES)
        intro += f"; shown are the {MAX_CLASSES} classes of {len(confusion.categories)} that are confused most"
    scores = confusion.score_classes()
    rows = [
        (
            score.category,
            score.pictures,
            _percent(score.recall.value),
            None if score.recall.low is None else f"{score.recall.low:.1%} to {score.recall.high:.1%}",
            _percent(score.precision),
        )
        for score in (scores[index] for index in shown)
    ]
    counts = confusion.counts[shown][:, shown].tolist()
    totals = confusion.counts.sum(1)[shown].clamp(min=1).tolist()
    matrix = [
        (
            confusion.categories[index],
            [
                (count, f"{_RIGHT if row == column else _WRONG}, {0.55 * count / totals[row]:.2f}")
                for column, count in enumerate(counts[row])
            ],
        )
        for row, index in enumerate(shown)
    ]
    return {"intro": intro, "scores": rows, "matrix": matrix}


def _read_data(run_dir: Path) -> list[tuple[str, object]] | None:
    try:
        data = read_json(run_dir / "data.json", MAX_DATA_BYTES)
    except UserError:
        return None
    splits = data.get("splits")
    parts = splits.items() if isinstance(splits, dict) else ()
    counts = [(f"{name} pictures", part.get("count")) for name, part in parts if isinstance(part, dict)]
    return [*((key, data.get(key)) for key in ("name", "categories", "image_size", "in_channels", "sha256")), *counts]


def _read_environment(run_dir: Path) -> list[tuple[str, object]] | None:
    try:
        return _flat(read_json(run_dir / "environment.json"))
    except UserError:
        return None


def _flat(values: dict, prefix: str = "") -> list[tuple[str, object]]:
    """(name, value) of each setting, those inside others as "shapes.position"."""
    pairs: list[tuple[str, object]] = []
    for name, value in values.items():
        is_table = isinstance(value, dict) and value and not prefix
        pairs += _flat(value, f"{name}.") if is_table else [(f"{prefix}{name}", value)]
    return pairs


def _bounded(value: object) -> str:
    """What the page shows of a value, which the template then escapes."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return "-"
    text = _printable(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 3] + "..."


def _printable(text: str) -> str:
    """Without halves of characters, which no file can hold."""
    return text.encode(errors="replace").decode()


def _percent(value: object) -> str | None:
    return f"{value:.2%}" if _is_number(value) else None


def _rounded(value: object) -> str | None:
    return f"{value:.1f}" if _is_number(value) else None


def _is_number(value: object) -> TypeGuard[float]:
    # Drawing needs more than to be finite: scales of curves near the largest float overflow.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30
