"""One table of every model: the bundled ones, torchvision's, and finished training runs."""

import contextlib
import difflib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from analysis.errors import UserError
from analysis.grammar import count
from models.checkpoints import load_checkpoint, read_model_card
from models.ordinary_files import is_ordinary
from models.runs.run import Run, list_runs, read_run
from models.weights import USABLE, is_weight_file
from models.zoo.lite0 import efficientnet_lite0
from models.zoo.spec import ModelSpec
from models.zoo.torchvision_zoo import torchvision_model, torchvision_names

ASSETS = Path(__file__).parent.parent / "assets"
DEFAULT_MODEL = "efficientnet_lite0"
RUN_PREFIX = "run/"


@cache
def fashion_cnn() -> ModelSpec:
    """Our own small CNN, trained by this project's trainer on Fashion-MNIST."""
    card = read_model_card(ASSETS / "fashion_cnn.json")
    return ModelSpec(
        name="fashion_cnn",
        source="bundled",
        num_params=card.num_params,
        categories=card.categories,
        preprocessing=card.preprocessing,
        build=lambda: load_checkpoint(ASSETS / "fashion_cnn.json", ASSETS / "fashion_cnn.safetensors")[0],
        trained_on="Fashion-MNIST",
        accuracy=card.test_accuracy,
        measured_on=_name_pictures(10_000),
    )


BUNDLED: dict[str, Callable[[], ModelSpec]] = {DEFAULT_MODEL: efficientnet_lite0, "fashion_cnn": fashion_cnn}


class Registry:
    """Finds models by name. Runs are read from ``runs_root`` at every call: a finished one is there at once."""

    def __init__(self, runs_root: str | Path):
        self.runs_root = Path(runs_root)

    def list_names(self) -> list[str]:
        """Every name :meth:`get` knows: bundled, own runs (newest first), torchvision's."""
        runs = [RUN_PREFIX + run.name for run in list_runs(self.runs_root) if run.has_model]
        return [*BUNDLED, *runs, *torchvision_names()]

    def list_specs(self) -> Iterator[ModelSpec]:
        """The specs of :meth:`list_names`, one by one, without runs whose files are damaged."""
        for name in self.list_names():
            with contextlib.suppress(UserError):
                yield self.get(name)

    def get(self, name: str) -> ModelSpec:
        """The model called ``name``; "run/NAME@500" is a run's network as it was after 500 steps.

        A builder of torchvision may name its weights: "resnet50:IMAGENET1K_V1".

        Raises:
            UserError: No such model; names the nearest ones, or says of a weight file what can be used instead.
        """
        if not isinstance(name, str):  # a choice that was cleared
            raise UserError("Choose a model first.")
        if name in BUNDLED:
            return BUNDLED[name]()
        if name.partition(":")[0] in torchvision_names():
            return torchvision_model(name)
        if name.startswith(RUN_PREFIX):
            return self._run_model(name.removeprefix(RUN_PREFIX))
        if is_weight_file(name):
            raise UserError(f"{Path(name).name} is a weight file, not the name of a model: {USABLE}.")
        near = difflib.get_close_matches(name, self.list_names(), n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else " `models` lists the names."
        raise UserError(f"There is no model called {name}.{hint}")

    def _run_model(self, run_name: str) -> ModelSpec:
        run_name, at, step = run_name.partition("@")
        run = read_run(self.runs_root, run_name)
        weights = find_snapshot(run, step) if at else run.path / "weights.safetensors"
        if not at and not run.has_model:
            raise UserError(f"The run {run_name} has no trained model yet (it is {run.state}).")
        card = read_model_card(run.path / "model.json")
        return ModelSpec(
            name=RUN_PREFIX + run_name + at + step,
            source="run",
            num_params=card.num_params,
            categories=card.categories,
            preprocessing=card.preprocessing,
            build=lambda: load_checkpoint(run.path / "model.json", weights)[0],
            trained_on=Path(str(run.config.get("dataset", "own pictures"))).stem,
            accuracy=None if at else run.result_number("test_accuracy"),
            measured_on=_name_pictures(run.count_pictures("test")),
            version=weights.stat().st_mtime_ns,
        )


def _name_pictures(number: int | None) -> str:
    return count(number, "test picture") if number else "test pictures"


def find_snapshot(run: Run, step: str) -> Path:
    """The weights of a run as they were after so many steps. Raises UserError: they were not kept."""
    is_step = step.isascii() and step.isdigit() and len(step) <= 10
    folder = run.path / "snapshots"
    path = folder / f"{int(step):07d}.safetensors" if is_step else None
    if path is None or folder.is_symlink() or not is_ordinary(path):
        raise UserError(f"The run {run.name} has no snapshot of step {step[:20]}.")
    return path
