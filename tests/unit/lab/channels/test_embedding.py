"""A data set as a plane, with what is known of each picture."""

import numpy as np
import pytest
import torch

from analysis.channels.embedding import read_features
from analysis.errors import Cancelled
from lab.channels.embedding import embed_pictures
from lab.channels.pictures import open_pictures
from lab.session import Lab
from tests.device import DEVICE
from tests.sentences import refused


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("embedding")
    return Lab(DEVICE, data_root=root, runs_root=root)


def test_the_points_are_those_of_the_features_with_what_the_model_says(lab):
    found = embed_pictures(lab, "fashion_cnn", "samples", 10, shifts=True)
    with open_pictures(lab, "fashion_cnn", "samples", 10) as pictures, lab.use("fashion_cnn") as (loaded, _):
        features, logits = read_features(loaded.module, pictures.load(loaded, range(10))[1])
    distances, own = (np.linalg.norm(each[:, None] - each[None], axis=2) for each in (features, found.points))
    assert (own <= distances + 1e-3).all()  # a projection brings nothing apart
    categories = lab.registry.get("fashion_cnn").categories
    assert list(found.predicted) == [categories[index] for index in logits.argmax(1).tolist()]
    assert found.num_features == features.shape[1] and set(found.is_right) == {None}
    torch.testing.assert_close(found.confidence, logits.softmax(1).amax(1), atol=1e-4, rtol=1e-4)
    assert ((found.consistency * 4) % 1 == 0).all()
    document = found.to_json()
    keys = {"x", "y", "picture", "name", "label", "predicted", "right", "confidence", "consistency"}
    assert len(document["points"]) == 10 and set(document["points"][0]) == keys


def test_labels_of_a_known_set_say_what_is_right(lab):
    found = embed_pictures(lab, "fashion_cnn", "fashion_mnist", 40)
    assert sum(found.is_right) >= 32 and found.consistency is None
    for label, seen, right in zip(found.labels, found.predicted, found.is_right, strict=True):
        assert right == (label.casefold() == seen.casefold())
    other = embed_pictures(lab, "fashion_cnn", "shapes", 8)
    assert set(other.is_right) == {None} and None not in other.labels


def test_what_cannot_be_is_refused_and_cancelled_work_ends(lab):
    with refused("1"):
        embed_pictures(lab, "fashion_cnn", "samples", 1)
    with refused("pca"):
        embed_pictures(lab, "fashion_cnn", "samples", 4, "guess")

    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        embed_pictures(lab, "fashion_cnn", "samples", 4, progress=cancel)
