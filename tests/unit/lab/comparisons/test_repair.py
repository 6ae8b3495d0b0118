"""The repair bench, end to end on drawn shapes: equal trainings, exact figures, stopping and going on."""

import json
import sys
from dataclasses import replace

import pytest
import torch

import cli
from lab.comparisons.repair import JOB, plan_repair
from lab.comparisons.repair_config import RepairConfig
from lab.comparisons.repair_measure import measure_circular_error
from lab.documents import read_document
from lab.session import Lab
from models.ordinary_files import read_json
from models.registry import Registry
from models.runs.run import read_run
from models.runs.submit import create_run
from models.runs.writer import RunWriter
from models.training.config import TrainingConfig
from models.training.run import train
from tests.device import DEVICE
from tests.sentences import refused

ARMS = ("as_is", "circular_aps", "circular_aps_gap")
START = {
    "dataset": "shapes",
    "shapes": {"num_images": 240, "clutter": 0.0, "color": "by_class"},
    "model": {"channels": [6, 8, 8], "head": "flatten"},
    "image_size": 16,
    "epochs": 2,
    "batch_size": 24,
    "device": DEVICE,
    "seed": 3,
}
CONFIG = RepairConfig(
    start_from="run/base",
    dataset="shapes",
    arms=ARMS,
    steps=5,
    batch_size=24,
    limit=None,
    shifts=3,
    max_shift=2,
    device=DEVICE,
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A finished bench: the folder of its runs and its document."""
    root = tmp_path_factory.mktemp("runs")
    train(TrainingConfig.from_dict(START), root / "base")
    state = torch.random.get_rng_state()
    document = JOB.start(CONFIG, root / "bench")
    assert torch.equal(torch.random.get_rng_state(), state)
    return root, document


def test_document(bench):
    root, document = bench
    assert document == read_document(read_run(root, "bench")) == json.loads(json.dumps(document))
    assert [arm["arm"] for arm in document["arms"]] == list(ARMS)
    for arm in document["arms"]:
        assert {"title", "explanation", "weights_sha256"} <= arm.keys()
        for name in ("accuracy", "consistency"):
            assert 0 <= arm[name]["low"] <= arm[name]["value"] <= arm[name]["high"] <= 1
        assert [layer["name"] for layer in arm["layers"]] == ["features.0", "features.1", "features.2"]
    assert len(document["pairs"]) == 3 and {"accuracy", "consistency"} <= document["pairs"][0].keys()
    assert (document["start_from"], document["data"]["num_images"]) == ("run/base", 36)
    run = read_run(root, "bench")
    assert (run.state, run.kind) == ("finished", "repair") and len(run.result["arms"]) == 3


def test_only_circular_padding_with_sampling_and_pooling_is_exact(bench):
    _, document = bench
    errors = {arm["arm"]: arm["circular_logit_error"] for arm in document["arms"]}
    assert errors["circular_aps_gap"] < 1e-5 < 1e-2 < min(errors["as_is"], errors["circular_aps"])
    exact = document["arms"][2]
    assert exact["consistency"]["value"] == 1.0
    # Each layer may take other pixels after a shift, but all its positions together say the same.
    assert all(layer["phase_spread"] < 1e-9 for layer in exact["layers"])
    assert document["arms"][0]["layers"][-1]["phase_spread"] > 1e-6


def test_arms_are_models_trained_alike(bench):
    root, document = bench
    runs = {arm: read_run(root, f"bench-{arm}") for arm in ARMS}
    for run in runs.values():
        assert (run.state, run.kind, run.status["step"]) == ("finished", "training", 5)
        # The evaluation saw the same pictures as the test at the end of the training, to the pixel.
        evaluated = next(row for row in document["arms"] if row["run"] == run.name)
        assert evaluated["accuracy"]["value"] == pytest.approx(run.result["test_accuracy"], abs=1e-12)
        assert evaluated["weights_sha256"] == run.result["weights_sha256"]
        assert f"run/{run.name}" in Registry(root).list_names()
    assert [bool(run.status["new_weights"]) for run in runs.values()] == [False, False, True]
    configs = [{key: value for key, value in run.config.items() if key != "model"} for run in runs.values()]
    assert configs[0] == configs[1] == configs[2]
    # Drawn and divided as for the start model, whatever the seed of the bench.
    assert (configs[0]["split_seed"], configs[0]["shapes"]["num_images"], configs[0]["seed"]) == (3, 240, 0)


def test_finished_arms_are_kept_and_others_trained_again(bench, tmp_path, monkeypatch):
    root, document = bench
    before = {arm: (root / f"bench-{arm}" / "status.json").stat().st_mtime_ns for arm in ARMS}
    write = {**read_json(root / "bench-as_is" / "status.json"), "state": "stopped"}
    (root / "bench-as_is" / "status.json").write_text(json.dumps(write))
    again = JOB.run(root / "bench")
    assert again["arms"] == document["arms"] and again["pairs"] == document["pairs"]
    after = {arm: (root / f"bench-{arm}" / "status.json").stat().st_mtime_ns for arm in ARMS}
    assert [before[arm] == after[arm] for arm in ARMS] == [False, True, True]
    with refused("bench"):
        JOB.start(CONFIG, root / "bench")


def test_a_run_of_the_same_name_is_left_alone(bench):
    root, _ = bench
    with RunWriter(create_run(root, "second-as_is", {"mine": True})) as writer:
        writer.update(state="finished")
    with refused("second-as_is"):
        JOB.start(replace(CONFIG, arms=("as_is",)), root / "second")
    assert read_run(root, "second").state == "failed" and read_run(root, "second-as_is").config == {"mine": True}


def test_a_stop_ends_the_arm_and_the_bench_which_can_go_on(bench, stopped_in_training):
    root, _ = bench
    config = replace(CONFIG, arms=("as_is", "circular"), steps=100_000)
    with (
        stopped_in_training(root / "third"),
        refused(),
    ):
        JOB.start(config, root / "third")
    assert [read_run(root, name).state for name in ("third", "third-as_is")] == ["stopped", "stopped"]
    assert not (root / "third-circular").exists()


def test_error_of_a_network_against_a_loop(bench):
    root, _ = bench
    with Lab(device=DEVICE, runs_root=root).use("run/base") as (loaded, _):
        pixels = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
        error = measure_circular_error(loaded, pixels)
        module, pixels = loaded.module.double(), pixels.to(loaded.device)
        with torch.no_grad():
            base = module(loaded.spec.preprocessing.normalize(pixels[None]).double())
            worst = 0.0
            for dy in range(16):
                for dx in range(16):
                    moved = loaded.spec.preprocessing.normalize(pixels[None].roll((dy, dx), (2, 3))).double()
                    worst = max(worst, float((module(moved) - base).norm() / base.norm()))
    assert error == pytest.approx(worst, rel=1e-4)


def test_random_shifts_follow_the_border_of_the_evaluation(bench):
    root, _ = bench
    for boundary, expected in (("circular", "circular"), ("zero", "zero")):
        config = replace(CONFIG, arms=("as_is", "shift_augment"), boundary=boundary)
        plan = plan_repair(config, root / "plan")
        assert [treatment.training.shift_augment for treatment in plan] == ["none", expected]


def test_command_line(bench, monkeypatch, capsys):
    root, _ = bench
    monkeypatch.setenv("CONVSCOPE_RUNS_ROOT", str(root))
    options = "--start-from run/base --dataset shapes --arm circular --steps 2 --seed 1 --limit 8 --shifts 2"
    arguments = [*options.split(), "--max-shift", "1", "--batch-size", "24", "--device", DEVICE]
    monkeypatch.setattr(sys, "argv", ["cli.py", "repair", *arguments, "--name", "cli", "--json"])
    assert cli.main() == 0
    document = json.loads(capsys.readouterr().out)
    assert [arm["run"] for arm in document["arms"]] == ["cli-circular"] and document["config"]["seed"] == 1
    monkeypatch.setattr(sys, "argv", ["cli.py", "repair", "--start-from", "run/none", "--name", "cli2"])
    assert cli.main() == 2 and "no run named none" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        {"arms": []},
        {"arms": ["magic"]},
        {"arms": ["gap", "gap"]},
        {"steps": 0},
        {"blur_size": 9},
        {"boundary": "glass"},
        {"start_from": None},
        {"shapes": {"position": "up"}},
        {"colour": 1},
    ],
    ids=str,
)
def test_bad_settings_are_refused_in_words(options):
    with refused():
        RepairConfig.from_dict(options)


def test_config_round_trip_through_json():
    assert RepairConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG


def test_arms_that_do_not_apply_fail_before_any_training(bench):
    root, _ = bench
    with refused("gap"):
        JOB.start(replace(CONFIG, start_from="fashion_cnn", arms=("as_is", "gap")), root / "fourth")
    assert not (root / "fourth-as_is").exists()
