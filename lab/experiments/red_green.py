"""Red-Green as an experiment (:mod:`lab.experiments.red_green_network`): a row for each border, and the published."""

import statistics
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from analysis.errors import Progress
from lab.experiments.red_green_network import (
    CONVOLUTIONS,
    RedGreenConfig,
    make_data,
    measure_red_green,
    train_red_green,
)
from models.devices import resolve_device


def measure(lab, config: RedGreenConfig, run_dir: Path, progress: Progress, known: dict) -> Iterator[dict]:
    """Trains and tests ``repeats`` networks of each kind; one measurement for each network."""
    data, device = make_data(config), resolve_device(config.device)
    jobs = [(name, config.seed + repeat) for name in config.convolutions for repeat in range(config.repeats)]
    total = len(jobs) * config.epochs
    progress(0, total)
    for number, (name, seed) in enumerate(jobs):
        if (name, seed) in known:
            yield known[name, seed]
            continue
        count = partial(lambda before, epoch: progress(before + epoch, total), number * config.epochs)
        net = train_red_green(name, data, config, seed=seed, device=device, on_epoch=count)
        yield {"convolution": name, "seed": seed, **asdict(measure_red_green(net, data.test))}


def summarize(config: RedGreenConfig, measured: list[dict]) -> dict:
    """The table so far, and what it says."""
    rows = []
    for name in config.convolutions:
        own = [m for m in measured if m["convolution"] == name]
        if own:
            rows.append(_row(name, own))
    return {"rows": rows, "sentence": _describe(rows, config.num_test)}


def _row(name: str, measured: list[dict]) -> dict:
    """Means and standard deviations (of the population, as the published script has them) over the seeds."""
    kind, row = CONVOLUTIONS[name], {"convolution": name, "title": CONVOLUTIONS[name].title, "repeats": len(measured)}
    for test in ("similar", "dissimilar"):
        accuracies, published = [m[test] for m in measured], getattr(kind, test)
        row[test] = {"mean": statistics.fmean(accuracies), "std": statistics.pstdev(accuracies)}
        row[f"published_{test}"] = {"mean": published[0], "std": published[1]}
    row["max_logit_difference"] = max(m["max_logit_difference"] for m in measured)
    row["identical"] = row["max_logit_difference"] == 0
    row["identity_expected"] = kind.is_invariant
    return row


def _describe(rows: list[dict], num_test: int) -> str:
    parts = []
    if same := [row["title"] for row in rows if row["identical"]]:
        parts.append(
            f"The move changed no bit of the logits of {num_test} test pictures with: {'; '.join(same)}. "
            "Such a network cannot know the half, so both tests score alike."
        )
    for row in rows:
        if not row["identical"]:
            before, after = row["similar"]["mean"], row["dissimilar"]["mean"]
            parts.append(
                f"With {row['title']}, logits change by up to {row['max_logit_difference']:.2g} and accuracy goes "
                f"from {100 * before:.1f} % to {100 * after:.1f} %."
            )
    if wrong := [row["title"] for row in rows if row["identity_expected"] and not row["identical"]]:
        parts.append(f"Unexpected: the logits should not have changed with: {'; '.join(wrong)}.")
    return " ".join(parts)
