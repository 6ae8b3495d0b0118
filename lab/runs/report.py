"""A run as one page of HTML that needs nothing else: to read on a phone, to print, to hand in.

Curves are static SVG, drawn by matplotlib: some 20 KB each, sharp in print, and without scripts, so that the page
can forbid them all. (plotly would have to bring 4.5 MB of scripts along, or a browser to draw in.) Whatever comes
from files is escaped.
"""

import io
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from analysis.confusion import Confusion, measure_confusion, select_classes
from analysis.errors import UserError
from lab.runs.examples import read_examples, read_predictions
from models.checkpoints import ModelCard, read_json, read_model_card
from models.runs.run import Run, read_run
from models.training.provenance import describe_config

MAX_POINTS = 500
"""Of each curve."""
MAX_CLASSES = 15
"""In the confusion matrix; of more classes those that are confused most."""
MAX_VALUE_LENGTH = 300
MAX_DATA_BYTES = 32 * 2**20
_CHARTS = {
    "Loss": ("train_loss", "val_loss"),
    "Accuracy": ("train_accuracy", "val_accuracy"),
}
_COLORS = {"train": "#b45309", "val": "#1d4ed8"}
_LABELS = {"train": "training", "val": "validation"}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
body { color: #1c1917; background: #fff; font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 56rem;
  padding: 1rem; }
h1, .pairs td, .pairs th, pre, code { overflow-wrap: anywhere; }
h2 { border-bottom: 1px solid #d6d3d1; margin-top: 2rem; }
.facts { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); margin: 1rem 0; }
.facts div { border: 1px solid #d6d3d1; border-radius: 6px; padding: .5rem .7rem; }
.facts dt { color: #57534e; font-size: .8rem; } .facts dd { font-size: 1.2rem; font-weight: 600; margin: 0; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.charts figure { margin: 0; } .charts svg { height: auto; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #e7e5e4; padding: .2rem .5rem; text-align: left; vertical-align: top; }
.wide { overflow-x: auto; } .matrix td { min-width: 2rem; text-align: right; }
.matrix th { font-weight: 400; }
.wide td, .wide th { max-width: 12rem; overflow-wrap: break-word; }
.matrix td { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
pre { background: #f5f5f4; padding: .8rem; white-space: pre-wrap; }
.note { color: #57534e; font-size: .9rem; }
@media print { body { font-size: 11pt; max-width: none; } figure, table, .facts { break-inside: avoid; } }
"""


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
    sections = [
        _facts(run, card),
        _section("Curves", _curves(run)),
        _section("Validation pictures", _mistakes(_read_confusion(run))),
        _section("Notes", _notes(run)),
        _section("Settings", _table(_flat(describe_config(run.config)))),
        _section("Data", _data(run_dir)),
        _section("Environment", _environment(run_dir)),
    ]
    title = _text(run.name)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{title}</h1>\n{''.join(sections)}</body>\n</html>\n"
    )


def _facts(run: Run, card: ModelCard | None) -> str:
    result = run.result or {}
    epochs = [line for line in run.metrics if line.get("kind") == "epoch"]
    last = epochs[-1] if epochs else {}
    facts = [
        ("State", run.state),
        ("Test accuracy", _percent(result.get("test_accuracy"))),
        ("Validation accuracy", _percent(result.get("val_accuracy"))),
        ("Training accuracy", _percent(last.get("train_accuracy"))),
        ("Epochs", _shown(result.get("epochs"))),
        ("Seconds", _rounded(result.get("seconds"))),
        ("Trained values", f"{card.num_params:,}" if card else "-"),
        ("Device", _shown(run.status.get("device"))),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in facts)
    sha256 = _text(result.get("weights_sha256") or "-")
    message = f"<p>{_text(run.message)}</p>" if run.message else ""
    hash_line = f'<p class="note">SHA-256 of the weights: <code>{sha256}</code></p>'
    return f'{message}<dl class="facts">{cells}</dl>\n{hash_line}\n'


def _curves(run: Run) -> str:
    epochs = [line for line in run.metrics if line.get("kind") == "epoch" and _is_number(line.get("epoch"))]
    if not epochs:
        return "<p>No epoch was completed.</p>"
    charts = "".join(
        f'<figure role="img" aria-label="{title} by epoch">{_draw(title, names, epochs)}</figure>'
        for title, names in _CHARTS.items()
    )
    return f'<div class="charts">{charts}</div>'


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
            style = {"marker": "o", "markersize": 3, "linestyle": "--" if part == "train" else "-"}
            axes.plot(*zip(*points, strict=True), label=_LABELS[part], color=_COLORS[part], **style)
    if axes.lines:
        axes.legend(frameon=False)
    axes.set(title=title, xlabel="epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
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


def _mistakes(confusion: Confusion | None) -> str:
    if confusion is None:
        return "<p>The run keeps no validation pictures with predictions.</p>"
    shown = list(range(len(confusion.categories)))
    intro = f"{confusion.num_correct} of {len(confusion)} kept validation pictures are recognised"
    if len(shown) > MAX_CLASSES:
        shown = select_classes(confusion.counts, MAX_CLASSES)
        intro += f"; shown are the {MAX_CLASSES} classes of {len(confusion.categories)} that are confused most"
    scores = confusion.score_classes()
    rows = [
        (
            score.category,
            score.pictures,
            _percent(score.recall.value),
            _interval(score.recall),
            _percent(score.precision),
        )
        for score in (scores[index] for index in shown)
    ]
    head = ("class", "pictures", "recognised", "95 % interval", "right when predicted")
    return (
        f"<p>{intro}.</p>\n<h3>Each class</h3>{_rows(rows, head)}\n"
        f"<h3>Which class is taken for which</h3>{_matrix(confusion, shown)}"
    )


def _matrix(confusion: Confusion, shown: list[int]) -> str:
    counts = confusion.counts[shown][:, shown]
    totals = confusion.counts.sum(1)[shown].clamp(min=1)
    names = [_text(confusion.categories[index]) for index in shown]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = []
    for row, name in enumerate(names):
        cells = []
        for column, count in enumerate(counts[row].tolist()):
            color = "29, 78, 216" if row == column else "220, 38, 38"
            alpha = 0.55 * count / int(totals[row])
            cells.append(f'<td style="background: rgba({color}, {alpha:.2f})">{count}</td>')
        body.append(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="wide"><table class="matrix"><thead><tr><th>right class \\ predicted</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _notes(run: Run) -> str:
    notes = run.notes.strip()
    return f"<pre>{_text(notes, len(notes))}</pre>" if notes else "<p>None.</p>"


def _data(run_dir: Path) -> str:
    try:
        data = read_json(run_dir / "data.json", MAX_DATA_BYTES)
    except UserError:
        return "<p>Not recorded.</p>"
    splits = data.get("splits") if isinstance(data.get("splits"), dict) else {}
    counts = [(f"{name} pictures", part.get("count")) for name, part in splits.items() if isinstance(part, dict)]
    facts = [(key, data.get(key)) for key in ("name", "categories", "image_size", "in_channels", "sha256")]
    return _table([*facts, *counts])


def _environment(run_dir: Path) -> str:
    try:
        return _table(_flat(read_json(run_dir / "environment.json")))
    except UserError:
        return "<p>Not recorded.</p>"


def _flat(values: dict, prefix: str = "") -> list[tuple[str, object]]:
    """(name, value) of each setting, those inside others as "shapes.position"."""
    pairs = []
    for name, value in values.items():
        is_table = isinstance(value, dict) and value and not prefix
        pairs += _flat(value, f"{name}.") if is_table else [(f"{prefix}{name}", value)]
    return pairs


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>\n{content}\n</section>\n"


def _table(pairs: Iterable[tuple[str, object]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_text(name)}</th><td>{_text(_shown(value))}</td></tr>' for name, value in pairs
    )
    return f'<table class="pairs">{rows}</table>'


def _rows(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    top = "".join(f'<th scope="col">{_text(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{_text(_shown(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(value: object, limit: int = MAX_VALUE_LENGTH) -> str:
    """Escaped for HTML, bounded, and without halves of characters, which no file can hold."""
    text = str(value).encode(errors="replace").decode()
    return escape(text if len(text) <= limit else text[: limit - 3] + "...", quote=True)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _percent(value: object) -> str:
    return f"{value:.2%}" if _is_number(value) else "-"


def _interval(share) -> str:
    return "-" if share.low is None else f"{share.low:.1%} to {share.high:.1%}"


def _rounded(value: object) -> str:
    return f"{value:.1f}" if _is_number(value) else "-"


def _is_number(value: object) -> bool:
    # Drawing needs more than to be finite: scales of curves near the largest float overflow.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30
