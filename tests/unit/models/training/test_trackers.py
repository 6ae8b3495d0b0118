"""Reporting to experiment trackers: what is handed over, and what is said when a package is missing."""

import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from models.runs.run import read_run
from models.training import trackers
from models.training.config import TrainingConfig
from models.training.run import train
from models.training.trackers import PROJECT, TRACKERS, check_installed, close_trackers, open_trackers
from tests.device import DEVICE
from tests.sentences import refused

TINY = {
    "dataset": "shapes",
    "shapes": {"num_images": 200, "clutter": 0.0, "color": "by_class"},
    "model": {"channels": [8, 12]},
    "epochs": 2,
    "batch_size": 20,
    "device": DEVICE,
}


class Accelerator:
    """Remembers what it was asked to start."""

    def __init__(self):
        self.started = []

    def init_trackers(self, project, config=None, init_kwargs=None):
        self.started.append((project, config, init_kwargs or {}))


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_named_before_anything_is_trained(tmp_path, monkeypatch, name):
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    with refused(name, f"pip install {TRACKERS[name]}"):
        check_installed((name,))
    with refused(f"pip install {TRACKERS[name]}"):
        train(TrainingConfig.from_dict(TINY | {"trackers": [name]}), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_packages_are_looked_for_by_their_own_name(monkeypatch):
    asked = []
    monkeypatch.setattr(trackers, "find_spec", lambda package: asked.append(package) or SimpleNamespace())
    check_installed(tuple(TRACKERS))
    check_installed(())
    assert asked == list(TRACKERS.values())


def test_what_trackers_say_is_not_among_the_output(tmp_path, monkeypatch, capsys):
    def finish():
        print("finished")
        raise RuntimeError("no run")

    talker = SimpleNamespace(init_trackers=lambda *_: print("started"), end_training=lambda: print("ended"))
    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(finish=finish))
    open_trackers(talker, ("trackio",), tmp_path / "a", {})
    close_trackers(talker)
    assert capsys.readouterr() == ("", "started\nended\nfinished\n")


def test_only_plain_settings_are_noted(tmp_path):
    accelerator = Accelerator()
    config = TrainingConfig.from_dict(TINY | {"trackers": ["tensorboard"], "corrections": {"3": None}})
    open_trackers(accelerator, config.trackers, tmp_path / "my-run", config.to_dict())
    ((project, noted, options),) = accelerator.started
    assert project == PROJECT and options == {}
    assert noted["learning_rate"] == 0.2 and noted["dataset"] == "shapes" and noted["snapshots"] is True
    assert all(isinstance(value, int | float | str | bool) for value in noted.values())
    assert "model" not in noted and "corrections" not in noted and "train_limit" not in noted


def test_a_tracked_run_has_the_name_of_the_run(tmp_path):
    accelerator = Accelerator()
    open_trackers(accelerator, ("tensorboard", "trackio"), tmp_path / "my-run", {})
    assert accelerator.started == [(PROJECT, {}, {"trackio": {"name": "my-run"}})]


def test_without_trackers_nothing_is_started(tmp_path):
    accelerator = Accelerator()
    open_trackers(accelerator, (), tmp_path, {})
    assert accelerator.started == []


def test_accelerate_knows_every_tracker():
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    assert set(TRACKERS) <= set(LOGGER_TYPE_TO_CLASS)


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_gets_the_numbers_of_the_run(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plain = train(TrainingConfig.from_dict(TINY), tmp_path / "plain")
    result = train(TrainingConfig.from_dict(TINY | {"trackers": ["tensorboard"]}), tmp_path / "a")
    assert result.weights_sha256 == plain.weights_sha256
    epochs = [line for line in read_run(tmp_path, "a").metrics if line["kind"] == "epoch"]
    found = []
    for path in sorted((tmp_path / "a").rglob("events.out.tfevents.*")):
        events = EventAccumulator(str(path)).Reload()
        if "val_accuracy" in events.Tags()["scalars"]:
            found += [(event.step, event.value) for event in events.Scalars("val_accuracy")]
    assert found == [(line["step"], pytest.approx(line["val_accuracy"])) for line in epochs]
