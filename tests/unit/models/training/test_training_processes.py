"""One training on two processes: once started as a user does, `torchrun --nproc_per_node 2 cli.py train ...`."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil
import pytest
import torch
import typer
from safetensors.torch import load_file

import commands.training  # noqa: F401 (adds the command)
from commands.app import app
from models.checkpoints import load_run_model
from models.data.shapes import ShapesConfig
from models.runs.process import find_process, record_process
from models.runs.run import read_run, request_stop
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from models.training.resume import RESUME_FILE
from models.training.run import train
from tests.forked import join_all, start_together

ROOT = Path(__file__).parents[4]
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
OPTIONS = [
    *("--dataset", "shapes", "--num-images", "200", "--clutter", "0", "--color", "by_class", "--channels", "8,12"),
    *("--epochs", "6", "--batch-size", "20", "--precision", "float32", "--json"),
]
ONE = TrainingConfig(
    dataset="shapes",
    shapes=ShapesConfig(num_images=200, clutter=0.0, color="by_class"),
    model={"channels": [8, 12]},
    epochs=6,
    batch_size=20,
    precision="float32",
    device="cpu",
    data_root=str(ROOT / "data"),
)
"""The same."""
PER_EPOCH = 140
"""Training pictures: 200 without 30 for validation and 30 for the test; 7 batches of 20."""


def environment(root: Path) -> dict[str, str]:
    # Passive: threads that spin while they wait would slow down the other process.
    return {
        "CONVSCOPE_DEVICE": "cpu",
        "CONVSCOPE_RUNS_ROOT": str(root),
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": "1",
    }


def run_torchrun(root: Path, *arguments: str) -> str:
    """What the command printed; nothing that it started outlives a failure."""
    command = [*LAUNCHER, str(ROOT / "cli.py"), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment(root), text=True, **pipes)
    try:
        out, err = process.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        raise
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out


def start(root: Path, *arguments: str) -> list[ForkServerProcess]:
    """The same two processes without torchrun, and without its seconds of importing."""
    return start_together(2, arguments, environment(root), root / "printed")


def finish(processes: list[ForkServerProcess], timeout: float = 120) -> None:
    assert join_all(processes, timeout) == [0, 0]


def epochs_of(run) -> list[dict]:
    return [line for line in run.metrics if line["kind"] == "epoch"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder with the runs "one" and "two", each on as many processes, and what the latter printed."""
    root = tmp_path_factory.mktemp("runs")
    train(ONE, root / "one")
    return root, run_torchrun(root, "train", "--name", "two", *OPTIONS)


def test_two_processes_see_as_many_pictures_in_as_many_steps(runs):
    one, two = (read_run(runs[0], name) for name in ("one", "two"))
    assert one.state == two.state == "finished"
    assert one.config == two.config
    for number, run in enumerate((one, two), start=1):
        environment = json.loads((run.path / "environment.json").read_text())
        assert (environment["processes"], environment["precision"]) == (number, "no")
    for run in (one, two):
        assert (run.status["step"], run.status["total_steps"], run.status["epoch"]) == (42, 42, 6)
        assert [(line["epoch"], line["step"]) for line in epochs_of(run)] == [(i, 7 * i) for i in range(1, 7)]
        for line in epochs_of(run):  # of all processes together
            assert line["samples_per_second"] * line["seconds"] == pytest.approx(PER_EPOCH, rel=0.02)


def test_two_processes_learn_as_much(runs):
    """30 pictures each: the standard error of an accuracy of 0.8 is 0.07."""
    one, two = (read_run(runs[0], name).result for name in ("one", "two"))
    for measure in ("val_accuracy", "test_accuracy"):
        assert min(one[measure], two[measure]) > 0.5
        assert abs(one[measure] - two[measure]) <= 0.2


def test_the_run_directory_of_two_processes_is_that_of_one(runs):
    def files(name: str) -> set[str]:
        return {str(path.relative_to(runs[0] / name)) for path in (runs[0] / name).rglob("*")}

    assert files("one") == files("two")
    assert json.loads((runs[0] / "two" / "data.json").read_text()) == json.loads(
        (runs[0] / "one" / "data.json").read_text()
    )
    model, _, preprocessing = load_run_model(runs[0] / "two")
    examples = load_file(runs[0] / "two" / "examples.safetensors")
    with torch.no_grad():
        logits = model(preprocessing.normalize(examples["images"].float() / 255))
    accuracy = (logits.argmax(1) == examples["labels"]).float().mean().item()
    assert accuracy == pytest.approx(read_run(runs[0], "two").result["val_accuracy"])
    kinds = [line["kind"] for line in read_run(runs[0], "two").metrics if line["kind"] != "step"]
    assert kinds == ["layers", "epoch"] * 6


def test_two_processes_print_one_document(runs):
    document = json.loads(runs[1])
    assert document["run"] == "two" and runs[1].count("\n") == 1
    assert document["weights_sha256"] == read_run(runs[0], "two").result["weights_sha256"]


def test_torchrun_takes_no_option_of_the_command_for_its_own():
    """It would, by abbreviation, also behind the name of the program."""
    from torch.distributed.run import parse_args

    command = typer.main.get_command(app).commands["train"]
    # --run is one that it does take; the name before it is the one to use.
    flags = [parameter.opts[0] for parameter in command.params]
    taken = []
    for flag in flags:
        try:
            found = parse_args(["--nproc_per_node", "2", "cli.py", "train", flag, "x"])
            if found.training_script_args != ["train", flag, "x"]:
                taken.append(flag)
        except SystemExit:
            taken.append(flag)
    assert len(flags) > 30 and taken == []


def test_gradients_are_those_of_the_whole_batch(tmp_path):
    """Without batch normalisation, whose statistics are those of a process, only rounding differs."""
    options = [*OPTIONS, "--norm", "none", "--max-steps", "10", "--learning-rate", "0.05", "--l1", "1e-4"]
    options += ["--clip-norm", "0.5"]
    model = {"channels": [8, 12], "norm": "none"}
    changes = {"model": model, "max_steps": 10, "learning_rate": 0.05, "l1": 1e-4, "clip_norm": 0.5}
    train(replace(ONE, **changes), tmp_path / "one")
    finish(start(tmp_path, "train", "--name", "two", *options))
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    first = load_file(tmp_path / "one" / "snapshots" / "0000000.safetensors")
    assert any((one[name] - first[name]).abs().max() > 0.01 for name in one)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-5)


def test_a_stopped_training_goes_on_with_two_processes(tmp_path):
    options = [*OPTIONS[:-1], "--epochs", "30", "--augment", "--seed", "3"]  # the later --epochs counts
    finish(start(tmp_path, "train", "--name", "whole", *options))
    processes = start(tmp_path, "train", "--name", "a", *options)
    deadline = time.monotonic() + 120
    while not (tmp_path / "a" / RESUME_FILE).exists() and time.monotonic() < deadline and processes[0].is_alive():
        time.sleep(0.02)
    request_stop(tmp_path / "a")
    finish(processes)
    stopped = read_run(tmp_path, "a")
    assert stopped.state == "stopped" and stopped.has_model and (tmp_path / "a" / RESUME_FILE).exists()
    assert 0 < stopped.status["step"] < 210
    finish(start(tmp_path, "resume", "a"))
    run, whole = read_run(tmp_path, "a"), read_run(tmp_path, "whole")
    assert (run.state, run.status["step"]) == ("finished", 210)
    assert [line["epoch"] for line in epochs_of(run)] == list(range(1, 31))
    assert run.result["weights_sha256"] == whole.result["weights_sha256"]
    assert run.result["val_accuracy"] == whole.result["val_accuracy"]
    assert TrainingConfig.from_dict(run.config).epochs == 30


def test_a_stop_before_its_turn_ends_all_processes(tmp_path):
    """None of them is left waiting for the others."""
    create_run(tmp_path, "two", ONE.to_dict())
    request_stop(tmp_path / "two")
    finish(start(tmp_path, "train", "--name", "two", *OPTIONS), timeout=90)
    assert read_run(tmp_path, "two").state == "stopped"


def is_waiting(run_dir: Path) -> bool:
    """Whether a run's first process stands in the queue of a device; by then it hears signals."""
    return run_dir.exists() and read_run(run_dir.parent, run_dir.name).device is not None


def test_a_signal_to_the_first_process_in_the_queue_ends_all(tmp_path):
    create_run(tmp_path, "before", ONE.to_dict())  # nobody's process: it waits for ever, and was there earlier
    record_process(tmp_path / "before", os.getpid())
    processes = start(tmp_path, "train", "--name", "two", *OPTIONS)
    deadline = time.monotonic() + 90
    while not is_waiting(tmp_path / "two") and time.monotonic() < deadline and processes[0].is_alive():
        time.sleep(0.05)
    assert read_run(tmp_path, "two").state == "queued"
    find_process(tmp_path / "two").terminate()
    finish(processes, timeout=60)
    assert read_run(tmp_path, "two").state == "stopped"


def test_early_stopping_ends_all_processes_at_the_same_epoch(tmp_path):
    options = [*OPTIONS, "--epochs", "40", "--patience", "1", "--schedule", "constant", "--learning-rate", "0.3"]
    finish(start(tmp_path, "train", "--name", "two", *options))
    run = read_run(tmp_path, "two")
    found = [line["val_accuracy"] for line in epochs_of(run)]
    assert run.state == "finished" and len(found) == run.result["epochs"] < 40
    assert run.result["val_accuracy"] == max(found) and found.index(max(found)) == len(found) - 2


@pytest.mark.parametrize(("mode", "changes"), [("frozen", ("--augment-by", "flip=1")), ("frozen_then_unfrozen", ())])
def test_a_backbone_that_is_frozen_for_a_while_trains_on_two_processes(tmp_path, mode, changes):
    options = ["--dataset", "shapes", "--num-images", "60", "--image-size", "64", "--arch", "transfer", "--json"]
    options += ["--set", "backbone=efficientnet_lite0", "--set", f"mode={mode}", "--set", "frozen_share=0.5"]
    finish(start(tmp_path, "train", "--name", "two", *options, *changes, "--batch-size", "8", "--max-steps", "4"))
    run = read_run(tmp_path, "two")
    assert (run.state, run.status["step"]) == ("finished", 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--train-limit", "1"), "A batch of 1 cannot be divided among 2 processes"),
        (("--arch", "mlp", "--set", "norm=batch", "--train-limit", "3"), "a batch of 3 on 2 processes gives"),
    ],
)
def test_a_share_that_is_too_small_ends_all_processes_in_words(tmp_path, options, words):
    processes = start(tmp_path, "train", "--name", "two", *OPTIONS[:8], *options)
    assert join_all(processes, 60) == [2, 2]
    run = read_run(tmp_path, "two")
    assert words in (tmp_path / "printed.0").read_text()
    assert run.state == "failed" and words in run.message and not run.metrics
