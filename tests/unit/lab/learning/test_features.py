"""Hand-made features put to the test: the contract of the command line, the intervals, the shift test of all."""

import numpy as np
import pytest
import torch

from analysis.errors import Cancelled, UserError
from analysis.features.classifiers import CLASSIFIERS
from analysis.features.kinds import KINDS
from lab.comparisons.measure import MAX_SHIFT, NUM_MOVED, measure_translation
from lab.learning.features import grade, measure_features, part_of, set_exam
from models.networks.linear import LinearClassifier, LinearConfig
from models.training.config import TrainingConfig
from models.training.run import load_data
from models.training.setup import choose_pictures


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    return set_exam("digits", str(tmp_path_factory.getbasetemp()), 60, 1)


def test_the_pictures_are_those_of_a_training(exam):
    config = TrainingConfig(dataset="digits", seed=1, train_limit=60)
    dataset = load_data(config)
    assert torch.equal(exam.train.ids, choose_pictures(config, dataset).ids) and len(exam.train) == 60
    assert len(exam.test) == len(exam.moved) == 60 and set(exam.test.ids.tolist()) <= set(dataset.test.ids.tolist())


def test_a_limit_that_leaves_nothing_to_learn_is_refused():
    for limit in (1, 10**6, True):
        with pytest.raises(UserError, match="limit"):
            set_exam("digits", ".", limit)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_with_every_classifier_is_better_than_a_guess(exam, kind):
    found = list(measure_features(exam, kind, list(CLASSIFIERS)))
    assert [row.classifier for row in found] == list(CLASSIFIERS)
    for row in found:
        document = row.summary()
        low, high = document["interval"]
        assert set(document) == {"accuracy", "interval", "seconds", "shift_consistency"}
        assert 0 <= low <= document["accuracy"] <= high <= 1 and document["seconds"] > 0
        assert 0.1 <= document["shift_consistency"] <= 1
        assert document["accuracy"] > (0.5 if kind in ("hog", "pixels") else 0.1)


def test_a_histogram_feels_shifts_less_than_pixels_do(exam):
    rows = {kind: next(measure_features(exam, kind, ["linear"])) for kind in ("histogram", "pixels")}
    assert rows["histogram"].consistency["value"] > rows["pixels"].consistency["value"]


def test_votes_are_graded_as_networks_are(exam):
    """The very numbers of the test that networks are put to."""
    torch.manual_seed(0)
    network = LinearClassifier(LinearConfig(num_classes=10, in_channels=1, image_size=32)).eval()
    prep, reach = exam.dataset.preprocessing(), range(-MAX_SHIFT, MAX_SHIFT + 1)
    padded = np.pad(exam.moved.images.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), "edge")
    windows = [padded[..., 3 - dy : 35 - dy, 3 - dx : 35 - dx] for dy in reach for dx in reach]
    with torch.inference_mode():
        votes = [network(prep.normalize(torch.from_numpy(window).float() / 255)).argmax(1) for window in windows]
    found = grade(exam, ("linear", ""), np.ones(60, bool), torch.stack(votes, dim=1), 0.0, 1024)
    expected = measure_translation(network, prep, exam.test)
    assert found.consistency["value"] == pytest.approx(expected.consistency, abs=1e-3)
    assert found.accuracy == {"value": 1.0, "low": 1.0, "high": 1.0} and found.moved == 60 <= NUM_MOVED


def test_progress_rises_and_can_cancel(exam):
    seen = []
    next(measure_features(exam, "bow", ["knn"], lambda done, total: seen.append(done / total)))
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == 1

    def refuse(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        next(measure_features(exam, "hog", ["knn"], refuse))


def test_a_part_reports_its_share_of_the_whole():
    seen = []
    part = part_of(lambda done, total: seen.append((done, total)), 0.5, 0.75)
    part(0, 3), part(3, 3)
    assert seen == [(500, 1000), (750, 1000)]
