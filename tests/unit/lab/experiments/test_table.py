"""Experiments end to end on tiny settings: rows one by one, stops, runs as jobs, and the command line."""

import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

import cli
from analysis.errors import Cancelled, UserError
from lab import schemas
from lab.documents import read_document, read_measurements, read_rows
from lab.experiments import location_bias, red_green
from lab.experiments import table as experiments
from lab.experiments.red_green_network import CONVOLUTIONS
from lab.experiments.table import EXPERIMENTS, JOB, ExperimentConfig, configure, place_run
from lab.jobs import main
from lab.session import Lab
from models.data.preprocessing import Preprocessing
from models.networks.parts import HEADS
from models.registry import Registry
from models.runs.files import read_lines
from models.runs.run import read_run, request_stop
from models.runs.submit import create_run, take_up_run
from models.runs.writer import RunWriter
from tests.device import DEVICE
from tests.sentences import check_sentence, refused

ROOT = Path(__file__).parents[4]
RED_GREEN = {"repeats": 2, "epochs": 1, "num_train": 20, "num_validation": 10, "num_test": 20, "device": DEVICE}
HEAD = next(iter(HEADS))
LOCATION = {"repeats": 1, "epochs": 1, "num_images": 120, "num_test": 60, "device": DEVICE}
TINY = {
    "red_green": RED_GREEN,
    "location_bias": LOCATION,
    "traces": {"model": "fashion_cnn", "pictures": ["bag", "trouser"], "device": DEVICE},
}


@pytest.fixture
def lab(tmp_path):
    return Lab(device=DEVICE, runs_root=tmp_path)


def start(root: Path, name: str, **options) -> Path:
    take_up_run(root / "try", configure(name, TINY[name] | options).to_dict(), "experiment")
    return root / "try"


def test_the_table_is_complete():
    assert set(TINY) == set(EXPERIMENTS)
    for name, experiment in EXPERIMENTS.items():
        assert experiment.name == name and experiment.title and experiment.explanation
        config = configure(name, TINY[name], full=True)
        assert ExperimentConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_full_is_the_published_protocol():
    settings = configure("red_green", {}, full=True).settings
    sizes = (settings.num_train, settings.num_validation, settings.num_test)
    assert (sizes, settings.repeats, settings.epochs) == ((2000, 1000, 1000), 10, 50)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_rows_appear_one_by_one_and_the_document_is_json(name, lab, tmp_path):
    config, seen, reports = configure(name, TINY[name]).settings, [], []
    document = EXPERIMENTS[name].run(
        lab,
        config,
        tmp_path / "try",
        lambda *numbers: reports.append(numbers),
        publish=lambda measurement, make_document: seen.append(make_document()),
    )
    assert json.loads(json.dumps(document, allow_nan=False))["state"] == document["state"] == "finished"
    assert [len(partial["measurements"]) for partial in seen] == list(range(1, len(document["measurements"]) + 1))
    assert seen[0]["state"] == "running" and len(seen[0]["rows"]) == 1 < len(document["rows"])
    assert document["sentence"] and document["experiment"] == name and document["seconds"] > 0
    assert document["num_measurements"] == len(document["measurements"]) and document["note"] == ""
    assert reports[0][0] == 0 and max(done for done, _ in reports) <= reports[0][1]


def test_red_green_sets_its_rows_beside_the_published_ones(lab, tmp_path):
    document = JOB.run(start(tmp_path, "red_green"))
    assert read_rows(read_run(tmp_path, "try")) == document["rows"]
    assert [row["convolution"] for row in document["rows"]] == list(CONVOLUTIONS)
    for row in document["rows"]:
        own = [m for m in document["measurements"] if m["convolution"] == row["convolution"]]
        assert [m["seed"] for m in own] == [0, 1] and row["repeats"] == 2
        for test in ("similar", "dissimilar"):
            a, b = (m[test] for m in own)
            assert row[test] == pytest.approx({"mean": (a + b) / 2, "std": abs(a - b) / 2})
        is_exact = row["convolution"] in ("same_circular", "full_zero")
        assert row["identical"] is row["identity_expected"] is is_exact
        assert (row["max_logit_difference"] == 0) is is_exact
    assert document["rows"][2]["published_similar"] == {"mean": 0.737, "std": 0.01}


def test_red_green_says_so_if_an_identity_fails():
    config = configure("red_green", TINY["red_green"]).settings
    measured = {"convolution": "full_zero", "seed": 0, "similar": 0.9, "dissimilar": 0.9}
    for difference in (0.0, 1e-7):
        check_sentence(red_green.summarize(config, [measured | {"max_logit_difference": difference}])["sentence"])


def test_location_bias_leaves_models_with_the_same_budget(tmp_path):
    document = JOB.run(start(tmp_path, "location_bias"))
    assert read_rows(read_run(tmp_path, "try")) == document["rows"]
    names = [f"try-{head}-0" for head in HEADS]
    assert [m["run"] for m in document["measurements"]] == names
    configs = []
    for name, head in zip(names, HEADS, strict=True):
        run = read_run(tmp_path, name)
        assert run.state == "finished" and run.config["shapes"]["position"] == "left"
        assert not (run.path / "resume.safetensors").exists()
        assert run.config["model"].pop("head") == head
        configs.append(run.config)
        assert Registry(tmp_path).get(f"run/{name}").accuracy == run.result["test_accuracy"]
    assert configs[0] == configs[-1]
    for row, measured in zip(document["rows"], document["measurements"], strict=True):
        assert row["left"]["mean"] == measured["left"] and row["left"]["low"] is None
        assert row["drop"]["mean"] == pytest.approx(measured["left"] - measured["right"])


def test_a_run_of_the_same_name_is_never_replaced(tmp_path, make_run):
    make_run(tmp_path, f"try-{HEAD}-0")
    with refused(f"try-{HEAD}-0"):
        JOB.run(start(tmp_path, "location_bias"))
    assert read_run(tmp_path, f"try-{HEAD}-0").config == {"dataset": "insects"}
    assert read_run(tmp_path, "try").state == "failed"


def test_the_sentence_follows_the_numbers():
    def sentence(*rights):
        config = configure("location_bias", {"heads": ["gap", "flatten"], "repeats": 2}).settings
        heads = ("gap", "gap", "flatten", "flatten")
        rows = [{"head": head, "left": 0.9, "right": right} for head, right in zip(heads, rights, strict=True)]
        return location_bias.summarize(config, rows)["sentence"]

    check_sentence(sentence(0.89, 0.9, 0.2, 0.21), "gap", "90.0", "89.5")
    check_sentence(sentence(0.2, 0.21, 0.89, 0.9), "flatten")
    check_sentence(sentence(0.2, 0.9, 0.1, 0.9))


def test_test_pictures_differ_only_in_the_place(tmp_path):
    """A model that looks at one corner pixel's noise or colour cannot tell the sides apart."""

    class Corner(torch.nn.Module):
        def forward(self, x):
            seen.append(x[:, :, 0, 15])
            return torch.zeros(len(x), 6)

    seen = []
    config = configure("location_bias", {"num_test": 60, "clutter": 0.0, "device": DEVICE}).settings
    prep = Preprocessing(crop_size=32, resize_size=32, mean=(0.0,) * 3, std=(1.0,) * 3)
    accuracies = [location_bias._test(Corner(), prep, side, 0, config) for side in ("left", "right")]
    assert accuracies == pytest.approx([1 / 6, 1 / 6])  # always class 0
    same = (seen[0] == seen[1]).all(1).float().mean()
    assert same > 0.6  # in the others, an object covers the pixel


def test_traces_of_a_labelled_folder_follow_the_right_class(lab, tmp_path):
    for category, name in (("Bag", "bag"), ("Unknown thing", "trouser")):
        (tmp_path / "data" / category).mkdir(parents=True)
        lab.open_image(name).save(tmp_path / "data" / category / "a.png")
    (tmp_path / "data" / "Bag" / "broken.png").write_bytes(b"no picture")
    options = {"model": "fashion_cnn", "data": str(tmp_path / "data"), "device": DEVICE}
    document = JOB.start(config := configure("traces", options), place_run(tmp_path / "runs", config))
    bag, unknown = document["rows"]
    assert (bag["category"], bag["is_labelled"], unknown["is_labelled"]) == ("bag", True, False)
    assert len(document["skipped"]) == 1 and "broken.png" in document["skipped"][0]
    assert (bag["window"], bag["source"], len(bag["probabilities"])) == (28, 32, 5)
    assert "published sizes are for windows of 224" in document["sentence"]
    assert document["summary"]["amplitude"] == pytest.approx((bag["amplitude"] + unknown["amplitude"]) / 2)


def test_traces_of_a_plain_folder(lab, tmp_path):
    for number in range(3):
        Image.new("L", (40, 40), 80 * number).save(tmp_path / f"{number}.png")
    options = {"model": "fashion_cnn", "pictures": [str(tmp_path)], "protocol": "aw", "limit": 2, "device": DEVICE}
    document = EXPERIMENTS["traces"].run(lab, configure("traces", options).settings, tmp_path / "try")
    assert [Path(row["picture"]).name for row in document["rows"]] == ["0.png", "1.png"]
    assert all(len(row["probabilities"]) == 9 for row in document["rows"])


def test_a_job_leaves_its_rows_and_its_document(tmp_path):
    run_dir = start(tmp_path, "traces")
    done = subprocess.run(
        [sys.executable, "-m", "lab.jobs", run_dir],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("finished")
    run = read_run(tmp_path, "try")
    document = read_document(run)
    assert run.state == document["state"] == "finished"
    assert read_rows(run) == document["rows"] and run.result["sentence"] == document["sentence"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_stop_keeps_what_was_measured(name, tmp_path):
    run_dir = start(tmp_path, name)
    document = JOB.run(run_dir, lambda *_: request_stop(run_dir))
    run = read_run(tmp_path, "try")
    assert run.state == document["state"] == "stopped"
    assert len(document["measurements"]) == 1 and read_rows(run) == document["rows"]
    states = {read_run(tmp_path, path.parent.name).state for path in tmp_path.glob("*/config.json")}
    assert states <= {"stopped", "finished"}


@pytest.mark.parametrize("name", ["location_bias", "traces"])
def test_a_stopped_run_goes_on_where_it_was(name, tmp_path):
    run_dir = start(tmp_path, name)
    first = JOB.run(run_dir, lambda *_: request_stop(run_dir))
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob(f"try-{HEAD}-0/weights.safetensors")}
    (run_dir / "stop").unlink()
    document = JOB.run(run_dir)
    assert document["state"] == read_run(tmp_path, "try").state == "finished"
    assert document["measurements"][0] == first["measurements"][0] and len(document["rows"]) > 1
    assert all(path.stat().st_mtime_ns == when for path, when in files.items())


class Counted:
    """An experiment of ``total`` measurements, without any work, that counts how often it is summed up."""

    def __init__(self, total: int):
        self.total, self.sums, self.measured = total, 0, []

    def measure(self, lab, config, run_dir, progress, known):
        for number in range(self.total):
            progress(number, self.total)
            if (f"p{number}",) not in known:
                self.measured.append(number)
            yield known.get((f"p{number}",), {"picture": f"p{number}", "value": number, "padding": "x" * 4000})

    def summarize(self, config, measured):
        self.sums += 1
        return {"rows": list(measured), "sentence": f"sum {sum(m['value'] for m in measured)}"}


@pytest.fixture
def counted(monkeypatch):
    stand_in = Counted(total=400)
    changed = replace(EXPERIMENTS["traces"], measure=stand_in.measure, summarize=stand_in.summarize)
    monkeypatch.setitem(EXPERIMENTS, "traces", changed)
    monkeypatch.setitem(schemas.MEASUREMENTS, "traces", TypeAdapter(list))
    return stand_in


def test_many_measurements_are_summed_up_rarely_and_kept_line_by_line(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "PUBLISH_SECONDS", 1000)
    run_dir = start(tmp_path, "traces")
    document = JOB.run(run_dir)
    assert counted.sums == 2  # once for the first row, once in the end
    assert document == read_run(tmp_path, "try").document
    assert [row["value"] for row in document["rows"]] == [m["value"] for m in document["measurements"]]
    assert len(document["rows"]) == experiments.MAX_KEPT and document["num_measurements"] == 400
    assert "200 of 400" in document["note"] and document["sentence"] == f"sum {sum(range(400))}"
    kept = read_lines(run_dir / "measurements.jsonl")
    assert [line["value"] for line in kept] == list(range(400))


def test_a_long_run_goes_on_also_after_a_crash_within_a_line(counted, tmp_path):
    run_dir = start(tmp_path, "traces")
    lines = run_dir / "measurements.jsonl"
    JOB.run(run_dir, lambda measurement, _: measurement["value"] == 349 and request_stop(run_dir))
    assert read_run(tmp_path, "try").state == "stopped" and lines.stat().st_size > 2**20
    lines.write_bytes(lines.read_bytes()[:-3000])
    (run_dir / "stop").unlink()
    counted.measured.clear()
    document = JOB.run(run_dir)
    assert counted.measured == list(range(349, 400))
    assert (document["state"], document["sentence"]) == ("finished", f"sum {sum(range(400))}")
    assert [line["value"] for line in read_lines(lines)] == list(range(400))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_measurement_without_a_part_is_damaged(name, tmp_path):
    """As somebody leaves it who edits the file by hand; one without its key is measured again."""
    run_dir = start(tmp_path, name)
    JOB.run(run_dir, lambda *_: request_stop(run_dir))
    lines = run_dir / "measurements.jsonl"
    (first, *_) = read_lines(lines)
    experiment = EXPERIMENTS[name]
    settings = ExperimentConfig.from_dict(read_run(tmp_path, "try").config).settings
    (run_dir / "stop").unlink(missing_ok=True)
    for part in first:
        left = {other: value for other, value in first.items() if other != part}
        lines.write_text(json.dumps(left) + "\n")
        try:
            known = read_measurements(run_dir, name, experiment.key)
        except UserError as error:
            assert re.fullmatch(
                rf"try/measurements\.jsonl is damaged: .*{part} is missing; start this work anew\.", str(error)
            )
        else:
            assert (known == []) == (part in experiment.key) and experiment.summarize(settings, known)[
                "rows"
            ] is not None
    lines.write_text(json.dumps(dict.fromkeys(first) | {key: first[key] for key in experiment.key}) + "\n")
    with refused("try/measurements.jsonl"):
        JOB.run(run_dir)
    assert read_run(tmp_path, "try").state == "failed"


def test_the_full_size_of_traces_can_be_written_down():
    assert configure("traces", TINY["traces"], full=True).settings.limit == 1001


def test_a_run_that_was_broken_off_is_taken_up_again_and_no_other(tmp_path):
    run_dir = start(tmp_path, "traces")
    with refused():  # queued
        start(tmp_path, "traces")
    first = JOB.run(run_dir, lambda *_: request_stop(run_dir))
    with refused():
        start(tmp_path, "traces", seed=1)
    assert start(tmp_path, "traces") == run_dir
    again = JOB.run(run_dir)
    assert again["state"] == "finished" and again["measurements"][0] == first["measurements"][0]
    with refused():
        start(tmp_path, "traces")
    config = configure("traces", TINY["traces"])
    names = [create_run(tmp_path, place_run(tmp_path, config).name, config.to_dict()).name for _ in range(2)]
    assert names == ["traces-1", "traces-2"]


@pytest.mark.parametrize(
    ("scale", "source", "words"),
    [(None, 38, "within 38"), (0.4, 38, "within 38"), (1.0, 38, "within 38"), (1.9, 14, "around a picture of 14")],
)
def test_traces_have_the_sizes_of_azulay_and_weiss(scale, source, words, lab, tmp_path):
    options = {"model": "fashion_cnn", "pictures": ["bag"], "protocol": "aw", "scale": scale, "device": DEVICE}
    document = EXPERIMENTS["traces"].run(lab, configure("traces", options).settings, tmp_path / "try")
    (row,) = document["rows"]
    assert (row["source"], len(row["probabilities"])) == (source, 9) and words in document["sentence"]


def test_the_scale_decides_what_is_seen(lab, tmp_path):
    def probabilities(scale):
        options = {"model": "fashion_cnn", "pictures": ["bag"], "protocol": "aw", "scale": scale, "device": DEVICE}
        (row,) = EXPERIMENTS["traces"].run(lab, configure("traces", options).settings, tmp_path / "try")["rows"]
        return row["probabilities"]

    assert probabilities(None) == probabilities(1.0)
    assert len({tuple(probabilities(scale)) for scale in (0.4, 1.0, 1.6)}) == 3


@pytest.mark.parametrize("epochs", [0, 1])
def test_cancelling_by_progress_stops(epochs, lab, tmp_path):
    def cancel(done, total):
        if done >= epochs:
            raise Cancelled

    config = configure("location_bias", LOCATION | {"epochs": 1000}).settings
    document = EXPERIMENTS["location_bias"].run(lab, config, tmp_path / "try", cancel)
    assert (document["state"], document["rows"], document["sentence"]) == ("stopped", [], "")


def test_stopping_one_of_its_trainings_stops_the_experiment(tmp_path):
    run_dir = start(tmp_path, "location_bias", epochs=1000)
    arm = tmp_path / f"try-{HEAD}-0"

    def watch():
        while not (arm / "metrics.jsonl").exists():
            time.sleep(0.01)
        request_stop(arm)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    assert JOB.run(run_dir)["state"] == read_run(tmp_path, arm.name).state == "stopped"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"experiment": "blue"},
        {"experiment": "red_green", "settings": {"model": "x"}},
        {"experiment": "location_bias", "settings": {"heads": ["mlp"]}},
        {"experiment": "location_bias", "settings": {"heads": []}},
        {"experiment": "location_bias", "settings": {"clutter": 2.0}},
        {"experiment": "location_bias", "settings": {"num_test": 5}},
        {"experiment": "traces", "settings": {}},
        {"experiment": "traces", "settings": {"pictures": ["a"], "data": "b"}},
        {"experiment": "traces", "settings": {"pictures": ["a"], "protocol": "zhang"}},
        {"experiment": "traces", "settings": {"pictures": ["a"], "scale": 0.4}},
        {"experiment": "traces", "settings": {"pictures": ["a"], "protocol": "aw", "scale": 0}},
    ],
    ids=str,
)
def test_bad_settings_fail_the_run(values, tmp_path, capsys):
    with refused() as caught:
        ExperimentConfig.from_dict(values)
    run_dir = create_run(tmp_path, "try", values, "experiment")
    assert main([str(run_dir)]) == 1 and str(caught.value) in capsys.readouterr().err
    assert read_run(tmp_path, "try").state == "failed"


class TestCommandLine:
    @pytest.fixture
    def run(self, tmp_path, monkeypatch, capfd):
        monkeypatch.setenv("CONVSCOPE_RUNS_ROOT", str(tmp_path / "runs"))
        monkeypatch.setenv("CONVSCOPE_DEVICE", DEVICE)
        monkeypatch.chdir(tmp_path)

        def run(*arguments):
            monkeypatch.setattr(sys, "argv", ["cli.py", "experiment", *map(str, arguments)])
            capfd.readouterr()
            return cli.main(), *capfd.readouterr()

        return run

    def test_prints_one_document(self, run, tmp_path):
        code, out, _ = run("traces", "bag", "-m", "fashion_cnn", "--protocol", "aw", "--json")
        document = json.loads(out)
        assert code == 0 and out.count("\n") == 1 and len(document["rows"][0]["probabilities"]) == 9
        assert read_run(tmp_path / "runs", "traces-1").state == "finished"
        code, out, _ = run("traces", "bag", "-m", "fashion_cnn", "--name", "mine")
        assert code == 0 and "picture bag" in out and read_run(tmp_path / "runs", "mine").state == "finished"

    def test_a_broken_off_run_goes_on_under_its_name(self, run, tmp_path):
        arguments = ("traces", "bag", "trouser", "-m", "fashion_cnn", "--protocol", "aw", "--scale", 1.3)
        assert run(*arguments, "--name", "mine")[0] == 0
        run_dir, lines = tmp_path / "runs" / "mine", tmp_path / "runs" / "mine" / "measurements.jsonl"
        first = lines.read_text().splitlines()[0]
        lines.write_text(first + "\n")
        RunWriter(run_dir).update(state="failed")
        code, out, err = run(*arguments, "--name", "mine", "--json")
        assert code == 0 and json.loads(out)["num_measurements"] == 2 and json.loads(out)["config"]["scale"] == 1.3
        assert err.startswith("picture trouser") and err.count("\n") == 1 and lines.read_text().startswith(first)
        assert run(*arguments, "--name", "mine")[0] == 2

    def test_settings_reach_the_experiment(self, run):
        sizes = [f"--set={name}={RED_GREEN[name]}" for name in ("num_train", "num_validation", "num_test")]
        options = ("--set", 'convolutions=["valid"]', "--epochs", 1, "--full", "--repeats", 1)
        code, out, _ = run("red_green", *sizes, *options, "--json")
        config = json.loads(out)["config"]
        assert code == 0 and config["optimizer"] == "adadelta" and config["convolutions"] == ["valid"]
        assert (config["repeats"], config["epochs"], config["num_train"]) == (1, 1, 20)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("blue",),
            ("red_green", "--protocol", "aw"),
            ("red_green", "--set", "epochs"),
            ("red_green", "--epochs", "0"),
            ("traces",),
            ("traces", "no-such-picture.png", "--data", "shapes"),
            ("traces", "bag", "-m", "no_such_model"),
            ("traces", "--data", "no-such-folder"),
            ("red_green", "--name", "../up"),
        ],
    )
    def test_mistakes_exit_with_2_and_one_line(self, run, arguments):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
