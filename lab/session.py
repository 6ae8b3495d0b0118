"""The lab without a face: what the page, its API and the command line do, one method per user action.

It is the only place where models and analysis meet. Pictures come in as ``PIL.Image``, results go out as
frozen dataclasses; ``to_json`` of a result is the document that the command line prints and the API returns.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from analysis.attribution import methods
from analysis.equivariance import align
from analysis.errors import Progress, UserError, no_progress
from analysis.network.layers import Layer, extract_features, find_layer, outline
from analysis.network.predict import (
    Prediction,
    find_class,
    find_ties,
    measure_margins,
    predict,
    to_probabilities,
    top_k,
)
from analysis.shift import move
from analysis.shift.circular import CircularPadding
from lab.explaining import Contrast, MethodFacts, find_baseline, find_contrast, list_methods
from lab.facts import Facts
from lab.lru import RecentResults
from lab.results import Classification, Explanation, FileResult, ShiftResult
from models.cache import LoadedModel, ModelCache
from models.data.images import open_image
from models.data.samples import list_samples
from models.names import find_path, readable_path
from models.registry import Registry

CHUNK = 16
"""Pictures per forward pass when many are classified."""
MAX_EXPLANATIONS = 48
"""Explanations kept, so that another colour, or one more beside them, does not compute them again."""
MAX_FACTS = 64
"""Models whose layers are remembered."""


@dataclass
class Lab:
    """Everything one server (or one command) has: models, and where data and runs are.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        data_root: Folder for data sets, under a readable name, which goes into the files of runs.
    """

    device: str = "auto"
    data_root: Path = Path("data")
    runs_root: Path = Path("runs")
    registry: Registry = field(init=False)
    models: ModelCache = field(init=False)
    _facts: dict[tuple[str, int], Facts] = field(init=False, default_factory=dict)
    _explanations: RecentResults[Explanation] = field(
        init=False, default_factory=lambda: RecentResults(MAX_EXPLANATIONS)
    )

    def __post_init__(self):
        # In full, for programs that it starts work in another folder.
        self.data_root = Path(readable_path(Path(self.data_root).resolve()))
        self.runs_root = Path(self.runs_root).resolve()
        self.registry = Registry(self.runs_root)
        self.models = ModelCache(self.registry, self.device)

    def classify(
        self, image: Image.Image, model: str, top: int = 5, progress: Progress = no_progress
    ) -> Classification:
        """The ``top`` most probable classes of a picture."""
        spec = self.models.check(model)
        pixels = spec.preprocessing.to_pixels(image)
        logits, seconds = self.models.compute(
            model, spec.to_inputs(pixels[None], self.models.device), progress=progress
        )
        tops = top_k(to_probabilities(logits)[0], spec.categories, top)
        return Classification(spec, pixels, tops, seconds * 1000, spec.preprocessing.list_notes(image))

    def classify_files(
        self, paths: Sequence[str | Path], model: str, top: int = 5, progress: Progress = no_progress
    ) -> Iterator[FileResult]:
        """Classifies many files in chunks; a broken one gives a result with its problem."""
        for start in range(0, len(paths), CHUNK):
            yield from self._classify_chunk(paths[start : start + CHUNK], model, top, progress)
            progress(min(start + CHUNK, len(paths)), len(paths))

    def shift(
        self,
        image: Image.Image,
        model: str,
        dx: float,
        dy: float,
        boundary: str = "zero",
        *,
        twin: bool = False,
        layer: str | None = None,
        channel: int | None = None,
        top: int = 5,
        progress: Progress = no_progress,
    ) -> ShiftResult:
        """Shifts a picture in network-input pixels and measures what the network makes of it.

        Args:
            dx: Pixels to the right, fractions included; less than the input's side, unless the picture wraps around.
            twin: Whether to ask the circular twin of the model (:mod:`analysis.shift.circular`) instead.
            channel: Which of its channels; None takes the one that responds most.
        """
        with self.use(model, progress) as (loaded, facts):
            prep = loaded.spec.preprocessing
            canvas = prep.to_canvas(image)
            before = prep.crop(canvas)
            x, y = move.check_distance(dx, dy, prep.crop_size, boundary)
            if boundary == "crop":
                moved = move.shift_crop(canvas, prep.crop_size, x, y)
            else:
                moved = move.shift_pixels(before, x, y, boundary, prep.mean)
            compared = find_layer(facts.layers, layer) if layer else None
            levels = facts.find_levels(loaded, twin=twin)
            with CircularPadding() if twin else nullcontext():
                measured = align.measure_shift(
                    loaded.module,
                    loaded.to_inputs(torch.stack([before, moved.pixels])),
                    x,
                    y,
                    outline(facts.layers),
                    circular=boundary == "circular",
                    levels=levels,
                    compare=compared,
                    channel=channel,
                )
        probabilities = to_probabilities(measured.logits)
        tops = [top_k(row, loaded.spec.categories, top) for row in probabilities]
        best = tops[0][0].index
        margin_before, margin_after = measure_margins(measured.logits.float(), best).tolist()
        return ShiftResult(
            model=loaded.spec,
            dx=dx,
            dy=dy,
            boundary=boundary,
            is_twin=twin,
            before_pixels=before,
            after_pixels=moved.pixels,
            is_real=moved.is_real,
            before=tops[0],
            after=tops[1],
            probability_change=float(probabilities[1, best] - probabilities[0, best]),
            margin_before=margin_before,
            margin_after=margin_after,
            near_tie=bool(find_ties(measured.logits.float()).any()),
            layers=measured.layers,
            comparison=measured.comparison,
            notes=loaded.spec.preprocessing.list_notes(image),
        )

    def explain(
        self,
        image: Image.Image,
        model: str,
        method: str,
        target: int | str | None = None,
        layer: str | None = None,
        progress: Progress = no_progress,
        loading: Progress = no_progress,
        options: Mapping[str, float | None] | None = None,
        *,
        contrast: Contrast | None = None,
        baseline: str | Image.Image | None = None,
    ) -> Explanation:
        """Attributes a class score, or by how much one exceeds another, to the pixels of a picture.

        Args:
            target: Index or name of a class, None the predicted one.
            layer: Of the methods that need one; None what suits them.
            progress: Counts pictures.
            loading: Counts the bytes of weights that have to be downloaded.
            options: Of the method, by the names of its parameters.
            contrast: Two classes in the place of a target: the score of the first minus that of the second.
            baseline: A key of ``BASELINES`` or a picture, for the methods that compare with one.
        """
        if target is not None and contrast is not None:
            raise UserError("Choose a class or a contrast of two, not both.")
        with self.use(model, loading) as (loaded, _):
            pixels = loaded.spec.preprocessing.to_pixels(image)
            digest = hashlib.sha256(pixels.numpy().tobytes()).digest()
            start, called = find_baseline(loaded, pixels, baseline)
            drawn = None if start is None else hashlib.sha256(start.cpu().numpy().tobytes()).digest()
            asked = (method, target, layer, contrast, called, drawn, *sorted((options or {}).items()))
            key = (digest, model, loaded.spec.version, *asked)
            found = self._explanations.get(key)
            if found is None:
                classes = target if contrast is None else find_contrast(contrast, loaded.spec.categories)
                found = self._explain(loaded, pixels, method, classes, layer, progress, start, options or {})
                found = replace(found, baseline=called)
                self._explanations.keep(key, found, 1)
            notes = loaded.spec.preprocessing.list_notes(image)
            return found if found.notes == notes else replace(found, notes=notes)

    def _explain(
        self, loaded: LoadedModel, pixels: Tensor, method, target, layer, progress, baseline, options
    ) -> Explanation:
        inputs = loaded.to_inputs(pixels[None])
        probabilities = predict(loaded.module, inputs)[0]
        best = int(probabilities.argmax())
        index, versus = target if isinstance(target, tuple) else (target, None)
        index = best if index is None else find_class(index, loaded.spec.categories)
        result = methods.attribute(
            loaded.module,
            inputs,
            index,
            method,
            layer=layer,
            versus=versus,
            baseline=baseline,
            progress=self.models.turns.sharing(progress),
            **options,
        )
        predicted, compared = (
            None if each is None else Prediction(each, loaded.spec.categories[each], float(probabilities[each]))
            for each in (index, versus)
        )
        assert predicted is not None
        return Explanation(loaded.spec, pixels, predicted, index == best, result, versus=compared)

    def extract(self, image: Image.Image, model: str, layer: str) -> Tensor:
        """The feature map ``(C, h, w)`` of one layer, on the CPU."""
        with self.use(model) as (loaded, facts):
            name = find_layer(facts.layers, layer).name
            return extract_features(loaded.module, loaded.prepare(image), name)[0]

    def first_filters(self, model: str) -> Tensor:
        """The kernels ``(N, C, h, w)`` of the first convolution, on the CPU."""
        with self.use(model) as (loaded, _):
            for module in loaded.module.modules():
                if isinstance(module, torch.nn.Conv2d):
                    return module.weight.detach().float().cpu().clone()
        raise UserError(f"{model} has no convolution.")

    def layers(self, model: str, progress: Progress = no_progress) -> tuple[Layer, ...]:
        """Every layer of a model, in the order of computation."""
        with self.use(model, progress) as (_, facts):
            return facts.layers

    def obstacles(self, model: str) -> dict[str, str]:
        """The explanation methods that cannot work on a model, each with the reason."""
        with self.use(model) as (loaded, facts):
            return facts.find_obstacles(loaded)

    def methods(self, model: str, progress: Progress = no_progress) -> list[MethodFacts]:
        """Every explanation method: whether it works on a model, why not, and what it costs."""
        with self.use(model, progress) as (loaded, facts):
            return list_methods(facts.find_obstacles(loaded), loaded.spec.preprocessing.crop_size)

    def foretell(self, model: str) -> dict[str, float]:
        """About how many seconds each method that works on a model takes here, as it is by itself."""
        with self.use(model) as (loaded, facts):
            rows = list_methods(facts.find_obstacles(loaded), loaded.spec.preprocessing.crop_size)
            seconds = facts.find_seconds(loaded)
        # Back through the network is about as far as there: weights get no gradient.
        return {row.method: (row.cost.forwards + row.cost.backwards) * seconds for row in rows if row.reason is None}

    def default_layer(self, model: str) -> str | None:
        """The last feature map that Grad-CAM can use."""
        with self.use(model) as (loaded, facts):
            facts.find_obstacles(loaded)
            return facts.default_layer

    def open_image(self, name_or_path: str | Path, progress: Progress = no_progress) -> Image.Image:
        """A picture file, or a sample by its name where no such file exists.

        ``progress`` counts the bytes of a large one, and may cancel.
        """
        sample = list_samples().get(str(name_or_path))
        path = find_path(Path(name_or_path))
        return open_image(sample.path if sample and not path.is_file() else path, progress=progress)

    @contextmanager
    def use(self, model: str, progress: Progress = no_progress) -> Iterator[tuple[LoadedModel, Facts]]:
        """Lends a model, with what is known of it, and the turn to compute, for the length of a ``with`` block.

        ``progress`` counts the bytes of weights that have to be downloaded.
        """
        with self.models.use(model, progress) as loaded:
            key = (model, loaded.spec.version)
            if key not in self._facts:
                outdated = [known for known in self._facts if known[0] == model]
                for known in outdated or list(self._facts)[: 1 - MAX_FACTS]:  # the snapshots of a run are many
                    del self._facts[known]
                self._facts[key] = Facts.find(loaded)
            yield loaded, self._facts[key]

    def _classify_chunk(
        self, paths: Sequence[str | Path], model: str, top: int, progress: Progress
    ) -> list[FileResult]:
        spec = self.registry.get(model)
        prep = spec.preprocessing
        pixels, notes, problems = {}, {}, {}
        for path in paths:
            try:
                image = self.open_image(path)  # one at a time at full size
                pixels[path], notes[path] = prep.to_pixels(image), prep.list_notes(image)
            except UserError as error:
                problems[path] = FileResult(str(path), problem=str(error))
        results = {}
        if pixels:
            inputs = spec.to_inputs(torch.stack(list(pixels.values())), self.models.device)
            logits, seconds = self.models.compute(model, inputs, progress=progress)
            results = {
                path: FileResult(str(path), top_k(row, spec.categories, top), seconds * 1000, notes=notes[path])
                for path, row in zip(pixels, to_probabilities(logits), strict=True)
            }
        return [results.get(path) or problems[path] for path in paths]
