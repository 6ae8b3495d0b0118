"""Matched arms end to end on drawn shapes: equal data, numbers against oracles, stopping and going on."""

import errno
import itertools
import json
import os
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from sklearn.isotonic import IsotonicRegression

import cli
from analysis.shift.move import extend
from analysis.shift.shift_map import map_shifts
from lab.comparisons import run as arms
from lab.comparisons import train as arm_training
from lab.comparisons.claims import configure_preset
from lab.comparisons.config import ArmsConfig
from lab.comparisons.measure import measure_accuracy, measure_translation, open_data
from lab.comparisons.run import JOB
from lab.comparisons.variations import vary
from lab.runs.examples import read_examples
from models.checkpoints import load_run_model
from models.ordinary_files import read_json
from models.registry import Registry
from models.runs.files import write_json
from models.runs.run import read_run, request_stop
from models.runs.submit import create_run
from models.runs.writer import RunWriter
from models.training.config import TrainingConfig
from models.training.run import train
from tests.device import DEVICE
from tests.sentences import check_sentence, refused

BASE = {
    "dataset": "shapes",
    "shapes": {"num_images": 240, "clutter": 0.0, "color": "by_class"},
    "model": {"channels": [6, 8]},
    "image_size": 16,
    "epochs": 3,
    "batch_size": 24,
    "device": DEVICE,
    "seed": 3,
    "snapshots": False,
}
HEADS = [
    {"name": "flatten", "title": "flatten", "changes": {"model": {"head": "flatten"}}},
    {"name": "gap", "title": "mean", "changes": {"model": {"head": "gap"}}},
]


def configure(**values) -> ArmsConfig:
    base = BASE | values.pop("base", {})
    return ArmsConfig.from_dict({"base": base, "arms": HEADS, "seeds": 2, "question": "translation", **values})


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """A finished comparison: the folder of its runs and its document."""
    root = tmp_path_factory.mktemp("runs")
    state = torch.random.get_rng_state()
    document = JOB.start(configure(shifts=True), root / "heads")
    assert torch.equal(torch.random.get_rng_state(), state)
    return root, document


def test_document(comparison):
    root, document = comparison
    assert json.loads(json.dumps(document)) == read_json(root / "heads" / "result.json")
    # Seed by seed, so that what a stopped comparison has can be compared.
    names = ["heads-flatten-3", "heads-gap-3", "heads-flatten-4", "heads-gap-4"]
    assert [network["run"] for network in document["networks"]] == names
    for network in document["networks"]:
        assert network["gap"] == network["train_accuracy"] - network["val_accuracy"]
    assert all(len(network["curve"]) == 3 and network["state"] == "finished" for network in document["networks"])
    assert [row["n"] for row in document["rows"]] == [2, 2] and document["sentence"].startswith("Shift consistency")
    run = read_run(root, "heads")
    assert (run.state, run.kind, run.status["step"]) == ("finished", "arms", run.status["total_steps"])
    assert run.status["sentence"] == document["sentence"] and len(run.status["rows"]) == 2
    lines = [(line["arm"], line["seed"], line["epoch"]) for line in run.metrics]
    assert lines == [(arm, seed, epoch) for seed in (3, 4) for arm in ("flatten", "gap") for epoch in (1, 2, 3)]


def test_steps_of_a_comparison_that_validates_often(tmp_path):
    """Against the lines of the runs themselves: the first point that has the common accuracy, and the one before."""
    config = configure(base={"validate_often": True, "epochs": 6}, question="steps")
    document = JOB.start(config, tmp_path / "often")
    assert document["least_target"] > 1 / 6 + 0.25 * 5 / 6 - 1e-9 and not document["reasons"]
    for network in document["networks"]:
        lines = read_run(tmp_path, network["run"]).metrics
        points = [(line["step"], line["sample_accuracy"]) for line in lines if "sample_accuracy" in line]
        assert [(point["step"], point["accuracy"]) for point in network["samples"]] == points
        assert len(points) > len(network["curve"]) == 6 and points[0][0] == 0
        accuracies = IsotonicRegression().fit_transform(range(len(points)), [accuracy for _, accuracy in points])
        target = document["targets"][str(network["seed"])]
        number = next(n for n, accuracy in enumerate(accuracies) if accuracy >= target - 1e-9)
        assert (network["steps_low"], network["steps_high"]) == (points[number - 1][0], points[number][0])
        assert network["steps_low"] <= network["steps"] <= network["steps_high"]
        assert max(accuracies) >= target - 1e-9
    change = document["rows"][1]["differences"]["steps"]
    assert change["low"] < change["mean"] < change["high"] and change["factor_low"] < change["factor_high"]
    lines = read_run(tmp_path, "often").metrics
    assert {line["kind"] for line in lines} == {"epoch", "sample"}
    assert sum("sample_accuracy" in line for line in lines) == sum(len(n["samples"]) for n in document["networks"])
    # The page's *Go on* of one that was stopped collects the same lines, and gives the same answer.
    (tmp_path / "often" / "process.json").unlink()
    path = tmp_path / "often" / "status.json"
    write_json(path, {**read_json(path), "state": "stopped"})
    again = JOB.run(tmp_path / "often")
    assert again["rows"] == document["rows"] and read_run(tmp_path, "often").metrics == lines


def test_what_is_compared_often_are_presets_and_variations():
    assert configure_preset("bn_faster").base.validate_often and configure_preset("random_labels").base.validate_often
    assert vary(TrainingConfig.from_dict(BASE), "norm", ["none", "batch"]).base.validate_often
    assert not ArmsConfig.from_dict({"base": BASE, "arms": HEADS}).base.validate_often  # as files from before


def test_resolution_of_shares(comparison):
    """Every share says of how many it is one, so that no interval is narrower than that."""
    _, document = comparison
    sizes = [
        len(split) for split in (lambda data: (data.train, data.validation, data.test))(open_data(configure().base))
    ]
    for network in document["networks"]:
        counted = network["counted"]
        assert [counted[f"{name}_accuracy"] for name in ("train", "val", "test")] == sizes
        assert counted["shifted_accuracy"] == sizes[2] * 49 and counted["consistency"] == sizes[2] * 49 * 24
        for name, num in counted.items():
            parts = network[name] * num
            assert parts == pytest.approx(round(parts), abs=1e-6)
    for row in document["rows"]:
        for name in counted:
            assert row[name]["high"] - row[name]["low"] > 0.4 / counted[name]


def test_arms_trained_before_an_option_existed_are_kept(comparison, tmp_path):
    """Their files do not name it: it has its default, and the comparison goes on without training them again."""
    _, document = comparison
    break_off(comparison, tmp_path)
    for path in tmp_path.glob("heads*/config.json"):
        values = read_json(path)
        values.get("base", values).pop("validate_often")
        write_json(path, values)
    before = {path: path.read_bytes() for path in tmp_path.glob("heads-*/status.json")}
    again = JOB.run(tmp_path / "heads")
    assert again["rows"] == document["rows"] and before == {path: path.read_bytes() for path in before}


def test_arms_are_models_that_share_data_and_seed(comparison):
    root, document = comparison
    for seed in (3, 4):
        configs = [read_run(root, f"heads-{arm}-{seed}").config for arm in ("flatten", "gap")]
        assert [config.pop("model")["head"] for config in configs] == ["flatten", "gap"]
        assert configs[0] == configs[1] and configs[0]["seed"] == seed
        pictures = [read_examples(read_run(root, f"heads-{arm}-{seed}")).images for arm in ("flatten", "gap")]
        assert torch.equal(*pictures)
    assert {f"run/{network['run']}" for network in document["networks"]} <= set(Registry(root).list_names())


def test_an_arm_is_the_training_that_one_gets_without_a_comparison(comparison, tmp_path):
    _, document = comparison
    alone = train(TrainingConfig.from_dict(BASE | {"model": {"channels": [6, 8], "head": "gap"}}), tmp_path / "alone")
    network = next(network for network in document["networks"] if network["run"] == "heads-gap-3")
    assert network["weights_sha256"] == alone.weights_sha256
    assert (network["val_accuracy"], network["test_accuracy"]) == (alone.val_accuracy, alone.test_accuracy)


def test_what_is_measured_of_a_network_against_loops(comparison):
    root, document = comparison
    network = next(network for network in document["networks"] if network["run"] == "heads-flatten-4")
    config = TrainingConfig.from_dict(read_run(root, network["run"]).config)
    dataset = open_data(config)
    module, _, preprocessing = load_run_model(root / network["run"])
    module.eval()
    with torch.no_grad():
        right = [
            int(module(preprocessing.normalize(image[None].float() / 255)).argmax()) == int(label)
            for image, label in zip(dataset.train.images, dataset.train.labels, strict=True)
        ]
        assert network["train_accuracy"] == pytest.approx(sum(right) / len(right), abs=0.011)
        consistency = []
        for image in dataset.test.images:
            scene = extend(preprocessing.normalize(image.float() / 255), 3, "replicate")
            *_, shift_map = map_shifts(module, scene, 3)
            consistency.append(shift_map.consistency)
    assert network["consistency"] == pytest.approx(sum(consistency) / len(consistency), abs=0.005)


def test_corrections_are_heeded():
    config = TrainingConfig.from_dict(BASE)
    dataset = open_data(config)
    wrong, gone = dataset.train.ids[:2].tolist()
    corrected = open_data(TrainingConfig.from_dict(BASE | {"corrections": {str(wrong): 5, str(gone): None}}))
    assert len(corrected.train) == len(dataset.train) - 1 and gone not in corrected.train.ids
    assert corrected.train.labels[corrected.train.ids == wrong].tolist() == [5]


def test_a_network_that_ignores_the_picture_is_consistent():
    dataset = open_data(TrainingConfig.from_dict(BASE))

    class Constant(torch.nn.Linear):
        def forward(self, x):
            return torch.eye(6)[2].expand(len(x), 6)

    module, preprocessing = Constant(1, 1), dataset.preprocessing()
    moved = measure_translation(module, preprocessing, dataset.test, boundary="mean")
    share = float((dataset.test.labels == 2).double().mean())
    assert moved.consistency == 1.0 and moved.accuracy == pytest.approx(share)
    assert measure_accuracy(module, preprocessing, dataset.test) == pytest.approx(share)


def test_no_more_pictures_at_a_time_than_in_training():
    dataset, seen = open_data(TrainingConfig.from_dict(BASE)), set()

    class Counting(torch.nn.Linear):
        def forward(self, x):
            seen.add(len(x))
            return torch.zeros(len(x), 6)

    for measure in (measure_accuracy, measure_translation):
        measure(Counting(1, 1), dataset.preprocessing(), dataset.train, batch_size=20)
    assert max(seen) == 20 and len(dataset.train) > 20


def test_arms_whose_networks_prefer_different_pictures(tmp_path, monkeypatch):
    """A pretrained network, an MLP as large for the same pictures, and one that takes those of the data set."""
    names = ("base", "mlp", "small")
    changes = ({}, {"equal_mlp": 1}, {"architecture": "small_cnn", "model": {"head": "flatten"}})
    chosen = [{"name": n, "title": n, "changes": change} for n, change in zip(names, changes, strict=True)]
    base = {"architecture": "transfer", "model": {}, "image_size": None, "epochs": 1, "learning_rate": 0.001}
    config = configure(arms=chosen, base=base | {"shapes": {"num_images": 60}}, seeds=1, question="accuracy")
    seen, real = [], arms.measure_accuracy

    def measure(module, preprocessing, split, **options):
        seen.append((split.images.shape[-1], options["batch_size"]))
        return real(module, preprocessing, split, **options)

    monkeypatch.setattr(arms, "measure_accuracy", measure)
    document = JOB.start(config, tmp_path / "sizes")
    size = config.base.picture_size
    assert [network["state"] for network in document["networks"]] == ["finished"] * 3 and size > 32
    assert seen == [(size, 24), (size, 24), (32, 24)]
    counted = [row["parameters"] for row in document["rows"]]
    modules = [load_run_model(tmp_path / f"sizes-{name}-3")[0] for name in names]
    assert counted == [sum(p.numel() for p in module.parameters()) for module in modules]
    assert counted[1] == pytest.approx(counted[0], rel=0.05) and counted[2] < counted[0]


def test_what_is_finished_is_neither_trained_nor_measured_again(comparison, monkeypatch):
    root, document = comparison
    path = root / "heads" / "status.json"
    write_json(path, {**read_json(path), "state": "stopped"})
    monkeypatch.setattr(arms, "measure_accuracy", None)
    monkeypatch.setattr(arm_training, "train", None)
    again = JOB.run(root / "heads")
    assert again["networks"] == document["networks"] and again["rows"] == document["rows"]
    # Not what looking at them took, but training them.
    assert again["seconds"] == document["seconds"] == sum(network["seconds"] for network in document["networks"])
    with refused("heads"):
        JOB.start(configure(shifts=True), root / "heads")


def test_a_stop_ends_the_arm_and_the_comparison_which_goes_on(tmp_path, stopped_in_training):
    with stopped_in_training(tmp_path / "long"), refused():
        JOB.start(configure(base={"epochs": 400}), tmp_path / "long")
    assert [read_run(tmp_path, name).state for name in ("long", "long-flatten-3")] == ["stopped", "stopped"]


def test_a_broken_off_arm_goes_on_to_the_same_weights(comparison, tmp_path, monkeypatch):
    _, document = comparison
    first = TrainingConfig.from_dict(BASE | {"model": {"channels": [6, 8], "head": "flatten"}})
    run_dir = tmp_path / "heads-flatten-3"

    def stop_after_an_epoch(line):
        if line["kind"] == "epoch":
            request_stop(run_dir)

    assert train(first, run_dir, stop_after_an_epoch).state == "stopped"
    trained = []
    monkeypatch.setattr(
        arm_training, "train", lambda config, path, *more: trained.append(path.name) or train(config, path, *more)
    )
    again = JOB.start(configure(shifts=True), tmp_path / "heads")
    assert "heads-flatten-3" not in trained and len(trained) == 3  # the first was resumed
    for one, other in zip(again["networks"], document["networks"], strict=True):
        assert one["weights_sha256"] == other["weights_sha256"]
    assert again["rows"][1]["consistency"] == document["rows"][1]["consistency"]
    assert len(read_run(tmp_path, "heads").metrics) == 12


def break_off(comparison, tmp_path) -> None:
    """Copies the finished comparison as one that was stopped; this process is none that works on it."""
    shutil.copytree(comparison[0], tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*/process.json"):
        path.unlink()
    path = tmp_path / "heads" / "status.json"
    write_json(path, {**read_json(path), "state": "stopped"})


def test_time_left_counts_from_where_it_went_on(comparison, tmp_path, monkeypatch):
    break_off(comparison, tmp_path)
    shutil.rmtree(tmp_path / "heads-gap-4")
    left, real, seconds = [], RunWriter.update, itertools.count()

    def update(writer, **values):
        if writer.run_dir.name == "heads" and "seconds_left" in values:
            left.append(values["seconds_left"])
        real(writer, **values)

    monkeypatch.setattr(RunWriter, "update", update)
    monkeypatch.setattr(arms, "time", SimpleNamespace(monotonic=lambda: next(seconds)))  # one for each epoch
    JOB.run(tmp_path / "heads")
    assert left == [2, 1, 0, 0]


@pytest.mark.parametrize("broken", ["config.json", "status.json"])
def test_a_damaged_arm_begins_anew(comparison, tmp_path, broken):
    _, document = comparison
    break_off(comparison, tmp_path)
    (tmp_path / "heads-gap-4" / broken).write_bytes(b"{")
    assert read_run(tmp_path, "heads-gap-4").state == "damaged"
    again = JOB.run(tmp_path / "heads")
    assert [n["weights_sha256"] for n in again["networks"]] == [n["weights_sha256"] for n in document["networks"]]
    assert read_run(tmp_path, "heads-gap-4").state == "finished"
    lines = [(line["arm"], line["seed"], line["epoch"]) for line in read_run(tmp_path, "heads").metrics]
    assert len(lines) == len(set(lines)) == 12


def test_a_damaged_run_that_is_known_to_be_another_is_left_alone(comparison, tmp_path):
    break_off(comparison, tmp_path)
    write_json(tmp_path / "heads-gap-4" / "config.json", {"mine": True})
    (tmp_path / "heads-gap-4" / "status.json").write_bytes(b"{")
    with refused("heads-gap-4"):
        JOB.run(tmp_path / "heads")
    assert (tmp_path / "heads-gap-4" / "weights.safetensors").exists()


def test_an_arm_whose_weights_are_damaged_is_a_finding(comparison, tmp_path):
    break_off(comparison, tmp_path)
    (tmp_path / "heads" / "measurements.jsonl").unlink()
    (tmp_path / "heads-gap-4" / "weights.safetensors").write_bytes(b"")
    again = JOB.run(tmp_path / "heads")
    assert [network["state"] for network in again["networks"]] == ["finished"] * 3 + ["failed"]
    assert again["sentence"].startswith("heads-gap-4 failed: ") and "damaged" in again["networks"][3]["message"]


EDITS = {
    "a measurement without its number": ("heads/measurements.jsonl", "train_accuracy", None),
    "a measurement that is a word": ("heads/measurements.jsonl", "train_accuracy", "good"),
    "a measurement that says whose it is": ("heads/measurements.jsonl", "arm", "another"),
    "a count that is none": ("heads/measurements.jsonl", "counted", 3),
    "an epoch without its step": ("heads-gap-4/metrics.jsonl", "step", None),
    "an epoch without its accuracy": ("heads-gap-4/metrics.jsonl", "val_accuracy", None),
    "an accuracy that is a list": ("heads-gap-4/metrics.jsonl", "val_accuracy", [0.5]),
}


@pytest.mark.parametrize("file, entry, value", EDITS.values(), ids=EDITS)
def test_what_somebody_edited_by_hand_is_a_finding(comparison, tmp_path, file, entry, value):
    break_off(comparison, tmp_path)
    path = tmp_path / file
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    edited = next(line for line in reversed(lines) if line.get("kind", "epoch") == "epoch")
    edited.pop(entry, None)
    if value is not None:
        edited[entry] = value
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = JOB.run(tmp_path / "heads")
    assert [network["state"] for network in again["networks"]] == ["finished"] * 3 + ["failed"]
    check_sentence(again["networks"][3]["message"], file, entry)


def test_a_measurement_of_nobody_is_none(comparison, tmp_path):
    break_off(comparison, tmp_path)
    path = tmp_path / "heads" / "measurements.jsonl"
    path.write_text('{"run": ["heads"], "weights_sha256": {}}\n{}\n' + path.read_text())
    assert JOB.run(tmp_path / "heads")["networks"] == comparison[1]["networks"]


def test_a_result_without_its_accuracy_is_a_finding(comparison, tmp_path):
    break_off(comparison, tmp_path)
    path = tmp_path / "heads-gap-4" / "status.json"
    status = read_json(path)
    del status["result"]["val_accuracy"]
    write_json(path, status)
    again = JOB.run(tmp_path / "heads")
    assert "status.json is damaged: val_accuracy is missing" in again["networks"][3]["message"]


def test_an_arm_that_diverges_is_a_finding(tmp_path):
    rates = [
        {"name": f"r{number}", "title": f"rate {rate}", "changes": {"learning_rate": rate}}
        for number, rate in enumerate((0.05, 100.0))
    ]
    base = {"model": {"channels": [6, 8], "norm": "none"}, "epochs": 20, "schedule": "constant"}
    document = JOB.start(configure(arms=rates, base=base, seeds=1, question="accuracy"), tmp_path / "rates")
    good, bad = document["networks"]
    assert (good["state"], bad["state"]) == ("finished", "failed") and "learning rate of 100 is too high" in bad[
        "message"
    ]
    assert [row["n"] for row in document["rows"]] == [1, 0]
    assert document["sentence"].startswith("rates-r1-3 failed: The loss stopped")
    assert read_run(tmp_path, "rates").status["sentence"] == document["sentence"]


def test_a_full_disk_is_no_finding(comparison, tmp_path, monkeypatch):
    """It may have room for what the comparison itself writes, but none for the weights of an arm."""
    _, document = comparison
    break_off(comparison, tmp_path)
    shutil.rmtree(tmp_path / "heads-gap-3")

    def refuse(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("models.training.recorder.write_bytes", refuse)
        with refused("heads-gap-3"):
            JOB.run(tmp_path / "heads")
    assert [read_run(tmp_path, name).state for name in ("heads", "heads-gap-3")] == ["failed", "failed"]
    again = JOB.run(tmp_path / "heads")
    assert [n["weights_sha256"] for n in again["networks"]] == [n["weights_sha256"] for n in document["networks"]]


def test_a_run_of_the_same_name_is_left_alone(comparison, tmp_path):
    with RunWriter(create_run(tmp_path, "second-gap-4", {"mine": True})) as writer:
        writer.update(state="finished")
    with refused("second-gap-4"):
        JOB.start(configure(), tmp_path / "second")
    assert read_run(tmp_path, "second-gap-4").config == {"mine": True}
    assert not (tmp_path / "second-flatten-3").exists()


def test_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CONVSCOPE_RUNS_ROOT", str(tmp_path))
    monkeypatch.setenv("CONVSCOPE_DEVICE", DEVICE)
    path = tmp_path / "base.json"
    path.write_text(json.dumps(BASE | {"epochs": 1, "augment": {"flip": 1.0}}))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cli.py", "arms", *map(str, arguments)])
        return cli.main(), *capsys.readouterr()

    code, out, _ = run("--name", "a", "--vary", "dropout=0,0.5", "--base", path, "--seeds", 1, "--json")
    document = json.loads(out)
    assert code == 0 and [row["title"] for row in document["rows"]] == ["dropout: 0", "dropout: 0.5"]
    assert document["config"]["base"]["augment"]["flip"] == 1.0
    small = '{"epochs": 1, "shapes": {"num_images": 60}, "image_size": 16}'
    code, out, _ = run("--name", "b", "--preset", "cnn_vs_mlp", "--base", small, "--seeds", 1)
    assert code == 0 and "CNN" in out and "Test accuracy, against" in out
    # A learning rate with which nothing is learned in so few steps.
    slow = json.dumps(BASE | {"epochs": 1, "learning_rate": 1e-6})
    code, out, _ = run("--name", "d", "--vary", "norm=none,batch", "--base", slow, "--seeds", 2)
    assert (
        code == 0 and "Steps are not compared: with seed 3, normalisation" in out and "steps to the common" not in out
    )
    code, out, _ = run("--name", "e", "--vary", "norm=none,batch", "--base", slow, "--seeds", 2, "--json")
    document = json.loads(out)
    assert code == 0 and document["reasons"]["steps"] == document["sentence"]
    assert [row["steps"] for row in document["rows"]] == [None, None] and set(document["targets"]) == {"3", "4"}
    for wrong, words in (
        (["--name", "c"], "either --preset or --vary"),
        (["--name", "c", "--vary", "dropout"], "NAME=V1,V2"),
        (["--name", "c", "--vary", "dropout=0,1", "--base", "{"], "neither JSON"),
        (["--name", "c", "--vary", "dropout=0,0.5", "--base", "[]"], "neither JSON"),
        (["--name", "c", "--preset", "magic"], "preset must be one of"),
        (["--name", "../c", "--preset", "bn_faster"], "A run name"),
    ):
        code, _, err = run(*wrong)
        assert code == 2 and words in err
    assert not (tmp_path / "c").exists()
