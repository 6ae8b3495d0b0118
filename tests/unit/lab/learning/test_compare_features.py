"""The comparison as a run: rows, networks beside it, what is drawn, and going on after a stop."""

import numpy as np
import pytest

from analysis.errors import UserError
from lab.documents import read_document
from lab.learning import compare_features
from lab.learning.compare_features import JOB, NETWORKS, PICTURES, TITLES, FeaturesConfig, describe, read_pictures
from models.runs.run import list_runs, read_run
from models.runs.submit import create_run
from tests.device import DEVICE
from tests.sentences import check_sentence, refused


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run that was stopped after two rows, and then went on."""
    root = tmp_path_factory.mktemp("runs")
    config = FeaturesConfig(dataset="digits", limit=40, epochs=1, device=DEVICE, data_root=str(root))
    path, heard = create_run(root, "a", config.to_dict(), "features"), []

    def stop_early(row):
        heard.append((row["kind"], row["classifier"]))
        if len(heard) == 2:
            (path / "stop").touch()

    assert JOB.run(path, stop_early) is None
    state = read_run(root, "a").state
    (path / "stop").unlink(missing_ok=True)
    document = JOB.start(config, path, stop_early)
    return root, document, heard, state


def test_a_run_goes_on_from_its_rows(done):
    root, document, heard, state = done
    assert state == "stopped" and read_run(root, "a").state == "finished"
    assert [(row["kind"], row["classifier"]) for row in document["rows"]] == heard
    assert len(heard) == len(set(heard)) == 2 * 4 + len(NETWORKS)
    assert {row["kind"] for row in document["rows"]} == set(TITLES)
    assert read_document(read_run(root, "a")) == document


def test_all_were_tested_on_the_same_pictures(done):
    rows = done[1]["rows"]
    assert {(row["learned"], row["tested"], row["moved"]) for row in rows} == {(40, 40, 40)}
    networks = [row for row in rows if row["kind"] in NETWORKS]
    assert {row["num_features"] for row in networks} == {32 * 32}


def test_networks_are_runs_of_their_own(done):
    names = {run.name for run in list_runs(done[0])}
    assert names == {"a", *(f"a-{name}" for name in NETWORKS)}


def test_words_and_templates_can_be_drawn(done):
    run = read_run(done[0], "a")
    pictures = read_pictures(run)
    assert pictures["linear"].shape == (10, 1, 32, 32) and pictures["mlp"].shape[1:] == (1, 32, 32)
    assert pictures["small_cnn"].ndim == 4 and pictures["words"].shape[1:] == (1, 6, 6)
    weights = compare_features.load_run_model(done[0] / "a-linear")[0].head.classifier.weight
    assert np.array_equal(pictures["linear"].reshape(10, -1), weights.detach().numpy())
    kept = (run.path / PICTURES).read_bytes()
    for content in (b"", b"PK", kept[: len(kept) // 2]):
        (run.path / PICTURES).write_bytes(content)
        assert read_pictures(run) == {}
    (run.path / PICTURES).write_bytes(kept)


def make_row(kind, classifier, accuracy, consistency, spread=0.01):
    shares = {
        name: {"value": value, "low": value - spread, "high": value + spread}
        for name, value in (("accuracy", accuracy), ("consistency", consistency))
    }
    return {"kind": kind, "classifier": classifier, **shares}


def test_the_finding_follows_from_the_numbers():
    rows = [make_row("hog", "linear", 0.8, 0.7), make_row("pixels", "knn", 0.7, 0.3), make_row("mlp", "", 0.75, 0.4)]
    check_sentence(describe(rows), "80.0", "75.0", "70.0", "30.0")
    close = [*rows[:2], make_row("small_cnn", "", 0.81, 0.9)]
    check_sentence(describe(close), "80.0", "81.0", "90.0", "30.0")
    assert describe(rows[:1]) == ""


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match="limit"):
        FeaturesConfig(limit=1)
    with refused("nothing-of-that-name"):
        FeaturesConfig(dataset="nothing-of-that-name")
