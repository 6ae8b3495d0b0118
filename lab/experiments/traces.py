"""Traces (:mod:`analysis.consistency.traces`) of pictures of one's own or of a labelled data set, with any model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import PlainValidator

from analysis.consistency.design import Settings, counted_generator
from analysis.consistency.traces import PATHS, diagonal_trace, plan_trace, summarize_traces
from analysis.errors import Progress, UserError
from analysis.grammar import count
from lab.evaluation.predict import frame_picture
from models.data.labelled import map_labels, open_evaluation_data
from models.data.samples import find_pictures
from models.devices import DEVICES
from models.registry import DEFAULT_MODEL
from models.settings import Choice, Integer, Number, Text, checked_dataclass


def _read_pictures(pictures: object) -> tuple[str, ...]:
    if not isinstance(pictures, list | tuple) or not all(isinstance(name, str) for name in pictures):
        raise UserError("pictures must be a list of files or samples, data a name or the path of a folder.")
    return tuple(pictures)


@checked_dataclass
class TracesConfig:
    """What is traced: ``pictures`` (files, samples by name, or a folder of files), or the labelled set ``data``.

    The class that is followed is the right one where a labelled set has a class of the model, else the one
    predicted without a shift. ``limit`` keeps so many pictures, drawn by the seed from a labelled set. ``scale``
    is the size of the picture as Azulay and Weiss define it, for the protocol aw: up to 1 the share of the picture
    that is cropped, above 1 how many times smaller than the window it lies on a uniform background.
    """

    model: Annotated[str, Text("the name of a model", min_length=1)] = DEFAULT_MODEL
    protocol: Annotated[str, Choice(PATHS)] = "diag33"
    scale: Annotated[float | None, Number(0.01, 10)] = None
    pictures: Annotated[tuple[str, ...], PlainValidator(_read_pictures)] = ()
    data: Annotated[str | None, Text("a name or the path of a folder")] = None
    data_root: Annotated[str, Text("the path of a folder")] = "data"
    limit: Annotated[int, Integer(1, 10**6)] = 50
    seed: Annotated[int, Integer(0, 2**32 - 1)] = 0
    device: Annotated[str, Choice(DEVICES)] = "auto"

    def __post_init__(self):
        if bool(self.pictures) == bool(self.data):
            raise UserError("Name pictures, or a labelled data set, and not both.")
        if self.scale is not None and self.protocol != "aw":
            raise UserError("scale belongs to the protocol aw; leave it out, or choose that protocol.")

    @property
    def boundary(self) -> str:
        """What surrounds the windows: more of the picture, or a background around a smaller one."""
        return "mean" if self.scale is not None and self.scale > 1 else "crop"


@dataclass(frozen=True)
class _Picture:
    name: str
    open: Callable[[], Image.Image]
    category: str | None = None


def measure(lab, config: TracesConfig, run_dir: Path, progress: Progress, known: dict) -> Iterator[dict]:
    """One measurement for each picture: its trace, or why it could not be read."""
    with _found(lab, config) as pictures, lab.use(config.model) as (loaded, _):
        spec, prep = loaded.spec, loaded.spec.preprocessing
        settings = Settings(
            window=prep.crop_size,
            resize=prep.resize_size,
            boundary=config.boundary,
            seed=config.seed,
            scale=config.scale,
        )
        framing, shifts = plan_trace(config.protocol, settings)
        margin = max(max(abs(dx), abs(dy)) for dx, dy in shifts)
        for done, picture in enumerate(pictures):
            progress(done, len(pictures))
            if (picture.name,) in known:
                yield known[(picture.name,)]
                continue
            try:
                image = picture.open()
            except UserError as error:
                yield {"picture": picture.name, "problem": str(error)}
                continue
            rng = counted_generator(config.seed, picture.name)
            framed = frame_picture(image, prep, framing, config.boundary, margin, rng)
            inputs = replace(framed, pixels=loaded.to_inputs(framed.pixels[None])[0])
            target = -1 if picture.category is None else map_labels([picture.category], spec.categories)[0]
            trace = diagonal_trace(loaded.module, inputs, shifts, target=None if target < 0 else target)
            facts = {"picture": picture.name, "category": spec.categories[trace.target], "is_labelled": target >= 0}
            sizes = {"window": prep.crop_size, "source": framing.source}
            yield facts | sizes | trace.to_json()
        progress(len(pictures), len(pictures))


@contextmanager
def _found(lab, config: TracesConfig) -> Iterator[list[_Picture]]:
    if config.data is None:
        yield _own_pictures(lab, config)
        return
    with open_evaluation_data(config.data, data_root=config.data_root) as data:
        chosen = np.sort(np.random.default_rng(config.seed).permutation(len(data))[: config.limit])
        yield [_Picture(data.image_ids[i], partial(data.picture, i), data.categories[data.labels[i]]) for i in chosen]


def _own_pictures(lab, config: TracesConfig) -> list[_Picture]:
    names = find_pictures(config.pictures)
    return [_Picture(name, partial(lab.open_image, name)) for name in names[: config.limit]]


def summarize(config: TracesConfig, measured: list[dict]) -> dict:
    """The rows so far, their means, and what they say."""
    rows = [m for m in measured if "problem" not in m]
    skipped = [f"{m['picture']}: {m['problem']}" for m in measured if "problem" in m]
    if not rows:
        return {"rows": [], "skipped": skipped, "summary": None, "sentence": ""}
    summary = summarize_traces(rows)
    return {"rows": rows, "skipped": skipped, "summary": summary, "sentence": _describe(config, rows, summary)}


def _describe(config: TracesConfig, rows: list[dict], summary: dict) -> str:
    window, source = rows[0]["window"], rows[0]["source"]
    where = f"within {source}" if source > window else f"around a picture of {source}"
    text = (
        f"{count(len(rows), 'picture')}, {count(len(rows[0]['shifts']), 'window')} of {window} pixels "
        f"{where}, each one pixel further along the diagonal: a step changes the predicted class in "
        f"{100 * summary['change_rate']:.1f} % of cases and its probability by "
        f"{summary['mean_absolute_change']:.3f}; the median amplitude is {summary['median_amplitude']:.3f}."
    )
    if window != 224:
        text += f" The published sizes are for windows of 224 pixels ({PATHS[config.protocol]})."
    return text
