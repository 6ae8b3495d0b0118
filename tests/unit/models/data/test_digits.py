"""The digits of scikit-learn, as bytes."""

import numpy as np

from models.data.datasets import load_dataset
from models.data.digits import CATEGORIES, load_digits


def test_every_digit_of_scikit_learn_in_255_grey_values():
    from sklearn.datasets import load_digits as original

    images, labels = load_digits()
    assert images.shape == (1797, 8, 8) and images.dtype == np.uint8 and labels.dtype == np.int64
    assert np.abs(images - original().images * 255 / 16).max() <= 0.5 and images.max() == 255
    assert np.array_equal(labels, original().target) and len(CATEGORIES) == 10


def test_as_a_data_set_they_are_enlarged_but_keep_their_brightness():
    data = load_dataset("digits", data_root="unused", seed=0)
    assert data.train.images.shape == (1257, 1, 32, 32) and len(data.validation) == len(data.test) == 270
    images, labels = load_digits()
    ids = data.train.ids.numpy()
    assert np.array_equal(data.train.labels, labels[ids])
    assert abs(data.train.images.float().mean().item() - images[ids].mean()) < 1
    small = load_dataset("digits", data_root="unused", seed=0, image_size=8)
    assert np.array_equal(small.train.images[:, 0], images[small.train.ids.numpy()])
