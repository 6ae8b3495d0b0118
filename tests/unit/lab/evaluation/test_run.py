"""Evaluations that are interrupted, stopped, started again; as runs and from the command line."""

import json
import random
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import cli
from analysis.errors import Cancelled
from lab.documents import read_document
from lab.evaluation import run as evaluation
from lab.evaluation.config import EvaluationConfig
from lab.evaluation.predict import Voter
from lab.evaluation.run import JOB, _choose
from lab.jobs import main
from models.data.labelled import open_evaluation_data
from models.runs.run import read_run, request_stop
from models.runs.submit import create_run
from tests.device import DEVICE
from tests.sentences import refused
from tests.unit.lab.evaluation.insects import value


def test_votes_depend_neither_on_batches_nor_on_the_limit(run, folder, monkeypatch):
    seen, report = [], evaluation.report
    monkeypatch.setattr(evaluation, "report", lambda results, seed: seen.append(results) or report(results, seed))
    run()
    run(batch_size=5)
    run(limit=23)
    everything, batched, limited = (results[0].chunk.votes for results in seen)
    assert (everything.top1 == batched.top1).all()
    assert np.allclose(everything.margin, batched.margin, atol=1e-5)
    config = EvaluationConfig(models=("toy",), data=str(folder), limit=23)
    with open_evaluation_data(folder, data_root="") as data:
        rows = _choose(data, config)
        fewer = _choose(data, replace(config, limit=7))
    assert len(rows) == 23 and set(fewer) < set(rows) and (np.diff(rows) > 0).all()
    assert (everything.top1[rows] == limited.top1).all()
    assert np.allclose(everything.margin[rows], limited.margin, atol=1e-5)


def stop_after(chunks: int):
    """Progress that stops an evaluation."""

    def stop(done, total):
        if done == chunks:
            raise Cancelled

    return stop


def test_an_interrupted_evaluation_goes_on_from_its_chunks(run, tmp_path, monkeypatch):
    expected = run()
    assert not (tmp_path / "work").exists()
    with pytest.raises(Cancelled):
        run(stop_after(2))
    files = sorted((tmp_path / "work").rglob("*.npz"))
    assert [path.name for path in files] == ["000000.npz", "000001.npz"]
    files[1].write_bytes(files[1].read_bytes()[:-100])  # as a full disk leaves it
    computed = []
    compute = Voter._compute
    monkeypatch.setattr(Voter, "_compute", lambda self, images: computed.append(images[0]) or compute(self, images))
    heard = []
    assert run(lambda done, total: heard.append((done, total))) == expected
    assert computed == [32, 64] and heard == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert not (tmp_path / "work").exists()


def test_other_settings_and_other_weights_do_not_share_chunks(run, lab, tmp_path, modules, monkeypatch):
    for options in ({}, {"seed": 1}, {"models": ("other",)}, {"boundary": "circular"}, {"threads": 2}):
        with pytest.raises(Cancelled):
            run(stop_after(1), **options)
    assert len(list((tmp_path / "work").iterdir())) == 5


def test_pictures_that_changed_are_computed_again(run, folder, tmp_path):
    copied = tmp_path / "insects"
    shutil.copytree(folder, copied)

    with pytest.raises(Cancelled):
        run(stop_after(1), data=str(copied), boundary="circular")
    for path in copied.rglob("*.png"):
        Image.new("L", (18, 18), 200).save(path)
    assert value(run(data=str(copied), boundary="circular"), "consistency") == 1


def test_a_second_evaluation_survives_the_end_of_the_first(run, tmp_path):
    expected = run()

    def remove(done, total):
        shutil.rmtree(tmp_path / "work", ignore_errors=True)

    assert run(remove) == expected


def test_a_place_that_cannot_be_written_is_named(run, tmp_path):
    (tmp_path / "work").write_text("in the way")
    with refused():
        run()


def test_nothing_leaks(run, monkeypatch):
    def state():
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.conv.fp32_precision,
            torch.is_inference_mode_enabled(),
        )

    before = state()
    run(threads=3)
    run(protocol="aw", scale=0.4)
    assert state() == before
    monkeypatch.setattr(Voter, "_vote", lambda self, images: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(threads=3)
    assert state() == before


def test_a_job_writes_its_run(modules, folder, tmp_path, capsys):
    config = EvaluationConfig(models=("toy",), data=str(folder), threads=1, device=DEVICE)
    run_dir = create_run(tmp_path / "runs", "a", config.to_dict(), "evaluation")
    request_stop(run_dir)
    assert JOB.run(run_dir) is None
    assert read_run(tmp_path / "runs", "a").state == "stopped"
    (run_dir / "stop").unlink()
    assert main([str(run_dir)]) == 0
    run = read_run(tmp_path / "runs", "a")
    assert run.state == "finished" and (run.status["step"], run.status["total_steps"]) == (3, 3)
    document = read_document(run)
    assert document["models"][0]["num_images"] == 70 and run.result["seconds"] == document["seconds"]
    bad = create_run(tmp_path / "runs", "b", config.to_dict() | {"models": ["nobody"]}, "evaluation")
    assert main([str(bad)]) == 1 and "no model called nobody" in capsys.readouterr().err
    assert read_run(tmp_path / "runs", "b").state == "failed"


def test_a_job_stops_within_a_chunk_and_goes_on(modules, folder, tmp_path, monkeypatch):
    config = EvaluationConfig(models=("toy",), data=str(folder), threads=1, device=DEVICE)
    run_dir = create_run(tmp_path / "runs", "a", config.to_dict(), "evaluation")
    computed = []
    compute = Voter._compute

    def compute_and_stop(self, images):
        computed.append(int(images[0]))
        if len(computed) == 1:
            request_stop(run_dir)
        return compute(self, images)

    monkeypatch.setattr(Voter, "_compute", compute_and_stop)
    assert JOB.run(run_dir) is None and computed == [0]
    (run_dir / "stop").unlink()
    assert JOB.run(run_dir)["models"][0]["num_images"] == 70 and computed == [0, 32, 64]


@pytest.fixture
def command(modules, monkeypatch, tmp_path, capfd):
    """Runs cli.py in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("CONVSCOPE_RUNS_ROOT", str(tmp_path / "runs"))
    monkeypatch.setenv("CONVSCOPE_DEVICE", DEVICE)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["cli.py", "evaluate", *map(str, arguments)])
        capfd.readouterr()
        return cli.main(), *capfd.readouterr()

    return command


def test_command_prints_one_document_or_a_table(command, folder, tmp_path):
    common = ("--model", "toy", "--model", "other", "--data", folder, "--threads", 1, "--no-checks")
    code, out, err = command(*common, "--json")
    assert (code, err) == (0, "") and out.count("\n") == 1
    document = json.loads(out)
    assert [model["model"] for model in document["models"]] == ["toy", "other"] and len(document["pairs"]) == 1
    assert not (tmp_path / "runs" / ".evaluations").exists()
    code, out, _ = command(*common, "--name", "first")
    assert code == 0 and "consistency" in out and "toy minus other" in out
    kept = json.loads((tmp_path / "runs" / "first" / "result.json").read_text())
    assert kept["models"] == document["models"]


def test_a_stopped_command_says_so_in_one_line(command, folder, tmp_path, monkeypatch):
    compute = Voter._compute

    def compute_and_stop(self, images):
        request_stop(tmp_path / "runs" / "first")
        return compute(self, images)

    options = ("--model", "toy", "--data", folder, "--threads", 1, "--no-checks", "--json", "--name", "first")
    with monkeypatch.context() as patch:
        patch.setattr(Voter, "_compute", compute_and_stop)
        code, out, err = command(*options)
    assert (code, out) == (2, "") and "first was stopped; the same command goes on" in err and err.count("\n") == 1
    assert command(*options)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "toy", "--data", "nowhere"), "no data set or folder"),
        (("--model", "nobody", "--data", "shapes"), "no model called nobody"),
        (("--model", "toy"), "--data"),
        (("--data", "shapes"), "--model"),
        (("--model", "toy", "--data", "cifar10"), "cifar-10-binary"),
        (("--model", "toy", "--data", "shapes", "--protocol", "best"), "best"),
        (("--model", "toy", "--data", "shapes", "--protocol", "aps", "--boundary", "crop"), "not crop"),
        (("--model", "toy", "--data", "shapes", "--shifts", "1"), "shifts must be"),
        (("--model", "toy", "--data", "shapes", "--protocol", "aw", "--max-shift", "3"), "fixes its shifts"),
    ],
)
def test_command_says_what_to_put_right(command, arguments, words):
    code, out, err = command(*arguments)
    assert code == 2 and out == "" and err.startswith("error: ") and words in err and err.count("\n") == 1
