"""The range test: what it reads out of losses, and what it finds for a real training."""

import json
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.documents import read_document
from lab.jobs import main
from models.data.datasets import load_dataset
from models.runs.run import read_run, request_stop
from models.runs.stop import StopRequest
from models.runs.submit import create_run
from models.runs.writer import RunWriter
from models.training import lr_finder
from models.training.config import TrainingConfig
from models.training.lr_finder import HIGHEST, JOB, LOWEST, STEPS, measure_losses, rate_at, read_losses
from models.training.run import train
from models.training.steps import train_step
from tests.device import DEVICE

TINY = {
    "dataset": "shapes",
    "shapes": {"num_images": 200, "clutter": 0.0, "color": "by_class"},
    "model": {"channels": [8, 12]},
    "epochs": 8,
    "batch_size": 20,
    "device": DEVICE,
    "precision": "float32",
}


def u_shaped(bottom: float) -> list[float]:
    """Losses that fall around a tenth of the rate ``bottom`` and explode above it."""
    losses = []
    for step in range(STEPS):
        position = math.log10(rate_at(step)) - math.log10(bottom)
        losses.append(0.3 + 2 / (1 + math.exp(4 * (position + 1))) + 0.5 * math.exp(min(30.0, 4 * position)))
    return losses


def test_rates_rise_by_the_same_factor():
    rates = [rate_at(step) for step in range(STEPS)]
    assert rates[0] == pytest.approx(LOWEST) and rates[-1] == pytest.approx(HIGHEST)
    factors = [after / before for before, after in pairwise(rates)]
    assert factors == pytest.approx([(HIGHEST / LOWEST) ** (1 / (STEPS - 1))] * (STEPS - 1))
    assert [rate_at(step, 3) for step in range(3)] == pytest.approx([LOWEST, math.sqrt(LOWEST * HIGHEST), HIGHEST])


@pytest.mark.parametrize("bottom", [1e-3, 1e-2, 0.1, 1.0])
def test_the_suggestion_is_on_the_slope_before_the_lowest_loss(bottom):
    found = read_losses(u_shaped(bottom))
    lowest = found.rates[found.losses.index(min(found.losses))]
    assert bottom / 30 < found.suggestion < bottom
    assert found.suggestion < lowest


def test_the_suggestion_is_where_the_smoothed_loss_falls_fastest():
    found = read_losses(u_shaped(0.1))
    slopes = [found.losses[step + 1] - found.losses[step - 1] for step in range(10, len(found.losses) - 1)]
    assert found.suggestion == pytest.approx(found.rates[10 + slopes.index(min(slopes))], rel=0.05)


def test_losses_are_smoothed_without_a_bias_towards_zero():
    losses = u_shaped(0.1)[:40]
    found = read_losses(losses)
    for step in (0, 1, 7, 39):  # the weighted mean by its definition, in float64
        weights = [0.9 ** (step - earlier) for earlier in range(step + 1)]
        mean = sum(w * x for w, x in zip(weights, losses, strict=False)) / sum(weights)
        assert found.losses[step] == pytest.approx(mean)


@pytest.mark.parametrize(
    "losses",
    [
        [2.0 + 0.01 * step for step in range(STEPS)],
        [2.0 * 1.02**step for step in range(STEPS)],
        [2.0] * STEPS,
        [2.3] * STEPS,
        [math.log(6)] * STEPS,
    ],
    ids=["line", "exponential", "constant 2", "constant 2.3", "constant log 6"],
)
def test_a_loss_that_never_falls_has_no_suggestion(losses):
    assert read_losses(losses).suggestion is None


@settings(max_examples=40)
@given(loss=st.floats(1e-6, 1e6), num=st.integers(1, STEPS))
def test_a_network_that_learns_nothing_has_no_suggestion(loss, num):
    assert read_losses([loss] * num).suggestion is None


def test_a_loss_that_diverges_ends_the_test_there():
    losses = [2.0] * 20 + [1.5] * 20 + [50.0] * 60
    found = read_losses(losses)
    assert 40 < len(found.losses) == len(found.rates) < 50
    assert found.losses[-1] > 4 * min(found.losses) and found.losses[-2] <= 4 * min(found.losses)
    assert found.suggestion == pytest.approx(rate_at(20), rel=0.2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_follows_a_loss_that_is_no_number_is_left_out(bad):
    losses = u_shaped(1.0)
    whole = read_losses(losses[:60])
    assert read_losses([*losses[:60], bad, *losses[60:]]) == whole
    assert len(whole.losses) == 60
    first = read_losses([bad, *losses])
    assert (first.rates, first.losses, first.suggestion) == ((), (), None)


@settings(max_examples=40)
@given(losses=st.lists(st.floats(0, 1e30) | st.just(math.nan), max_size=STEPS))
def test_whatever_the_losses_are_the_answer_is_json(losses):
    found = read_losses(losses)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["rates"] == list(found.rates) and len(document["rates"]) == len(document["losses"])
    if found.suggestion is not None:
        assert min(found.rates) * 0.9 < found.suggestion < max(found.rates) * 1.1
        assert min(after - before for before, after in pairwise(found.losses)) < 0


def test_a_few_losses_are_too_few_for_a_suggestion():
    for num in range(12):
        assert read_losses([2.0 - 0.1 * step for step in range(num)]).suggestion is None


def test_a_real_test_suggests_a_rate_that_trains(tmp_path):
    run_dir = create_run(tmp_path, "rate", TINY, "range_test")
    state = torch.random.get_rng_state()
    found = JOB.run(run_dir)
    assert torch.equal(torch.random.get_rng_state(), state)
    run = read_run(tmp_path, "rate")
    assert (run.state, run.status["step"]) == ("finished", STEPS) or len(found.rates) < STEPS
    assert read_document(run) == found.to_json() == json.loads((run_dir / "result.json").read_text())
    good = 0.2  # the default rate, with which this network learns these pictures
    assert good / 100 <= found.suggestion <= good * 100
    config = TINY | {"learning_rate": found.suggestion}
    assert train(TrainingConfig.from_dict(config), tmp_path / "trained").test_accuracy > 0.5
    # It is no training: nothing but the answer is left.
    left = {path.name for path in run_dir.iterdir()}
    assert left <= {"config.json", "status.json", "process.json", "result.json"}
    assert JOB.run(create_run(tmp_path, "again", TINY, "range_test")) == found


def test_the_optimiser_gets_the_rates_of_the_test_and_the_losses_are_means(tmp_path, monkeypatch):
    """So small rates change nothing: the losses are those of the untrained network on each batch."""
    monkeypatch.setattr(lr_finder, "HIGHEST", 1e-6)
    config = TrainingConfig.from_dict(TINY | {"model": {"channels": [8, 12], "norm": "none"}, "max_steps": 7})
    rates, trained = [], []

    def listen(prepared, *arguments):
        train_step(prepared, *arguments)
        rates.append(prepared.optimizer.param_groups[0]["lr"])
        trained.append(prepared)

    monkeypatch.setattr(lr_finder, "train_step", listen)
    run_dir = create_run(tmp_path, "rate", config.to_dict(), "range_test")
    data = load_dataset("shapes", data_root="", seed=0, shapes=config.shapes)
    with RunWriter(run_dir) as writer, StopRequest(run_dir) as stop:
        losses = measure_losses(config, data, "cpu", writer, stop)
    assert rates == pytest.approx([1e-6] * 7) and len(losses) == 7
    with torch.no_grad():
        images = trained[0].preprocessing.normalize(data.train.images.float() / 255)
        expected = torch.nn.functional.cross_entropy(trained[0].module(images), data.train.labels).item()
    assert sum(losses) / 7 == pytest.approx(expected, rel=1e-3)  # 7 batches of 20 are all 140 pictures


def test_a_network_that_explodes_still_gives_an_answer(tmp_path):
    config = TINY | {"model": {"channels": [8, 12], "norm": "none"}}
    found = JOB.run(create_run(tmp_path, "rate", config, "range_test"))
    assert all(math.isfinite(loss) for loss in found.losses)
    assert read_run(tmp_path, "rate").state == "finished"


def test_what_belongs_to_the_training_alone_is_left_out(tmp_path):
    """Neither its number of steps nor patience, snapshots or trackers that may not even be installed."""
    config = TINY | {"trackers": ["trackio"], "max_steps": 3, "patience": 1, "snapshots": True}
    found = JOB.run(create_run(tmp_path, "rate", config, "range_test"))
    assert found == JOB.run(create_run(tmp_path, "plain", TINY, "range_test"))


def test_stop_ends_it_without_a_result(tmp_path, monkeypatch):
    run_dir = create_run(tmp_path, "rate", TINY, "range_test")

    def step_and_stop(prepared, meter, step, rate):
        train_step(prepared, meter, step, rate)
        if step == 4:
            request_stop(run_dir)

    monkeypatch.setattr(lr_finder, "train_step", step_and_stop)
    assert JOB.run(run_dir) is None
    run = read_run(tmp_path, "rate")
    assert (run.state, run.status["step"], run.document) == ("stopped", 5, None)


def test_stop_while_data_are_read_is_a_stop_too(tmp_path, monkeypatch):
    run_dir = create_run(tmp_path, "rate", TINY, "range_test")

    def load(config, progress):
        request_stop(run_dir)
        progress(0.5, "Reading pictures")
        raise AssertionError("it went on")

    monkeypatch.setattr("models.training.run.load_data", load)
    assert JOB.run(run_dir) is None
    run = read_run(tmp_path, "rate")
    assert (run.state, run.document) == ("stopped", None)


def test_stop_while_features_are_computed_is_a_stop_too(tmp_path, folder):
    config = {
        "dataset": str(folder),
        "architecture": "transfer",
        "model": {"backbone": "efficientnet_lite0", "mode": "frozen"},
        "image_size": 64,
        "batch_size": 8,
        "device": DEVICE,
    }
    run_dir = create_run(tmp_path / "runs", "rate", config, "range_test")
    tell = RunWriter.update

    def tell_and_stop(self, **values):
        tell(self, **values)
        if "features" in str(values.get("message")):
            request_stop(run_dir)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunWriter, "update", tell_and_stop)
        assert JOB.run(run_dir) is None
    assert read_run(tmp_path / "runs", "rate").state == "stopped"


@pytest.fixture
def folder(tmp_path):
    """A folder of drawn pictures, one folder per class."""
    from PIL import Image

    data = load_dataset("shapes", data_root="", seed=1, shapes=TrainingConfig.from_dict(TINY).shapes, image_size=64)
    for number, (image, label) in enumerate(
        zip(data.train.images[:60], data.train.labels[:60].tolist(), strict=True)
    ):
        path = tmp_path / "pictures" / data.categories[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return tmp_path / "pictures"


def test_the_program_says_what_it_found(tmp_path, capsys):
    run_dir = create_run(tmp_path, "rate", TINY, "range_test")
    assert main([str(run_dir)]) == 0
    assert f"suggested learning rate: {read_run(tmp_path, 'rate').document['suggestion']}" in capsys.readouterr().out
    broken = create_run(tmp_path, "broken", TINY | {"epochs": 0}, "range_test")
    assert main([str(broken)]) == 1
    assert "epochs must be" in capsys.readouterr().err and read_run(tmp_path, "broken").state == "failed"
