"""Visual words: patches against a loop, the nearest word, and a dictionary that finds what was put there."""

import numpy as np
import pytest

from analysis.features.words import PATCH, SPARE_CONTRAST, STEP, Dictionary, cut_patches, learn_words


def draw(num=4, channels=1, side=20, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, channels, side, side), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_are_cut_and_normalised_as_in_a_loop(channels):
    pictures = draw(2, channels)
    patches = cut_patches(pictures)
    assert patches.shape == (2, 8, 8, channels * PATCH**2)
    for n, row, column in [(0, 0, 0), (1, 3, 5), (1, 7, 7)]:
        patch = pictures[n, :, STEP * row :, STEP * column :][:, :PATCH, :PATCH].astype(float)
        expected = (patch - patch.mean()) / np.sqrt(patch.var() + SPARE_CONTRAST)
        assert patches[n, row, column] == pytest.approx(expected.ravel(), abs=1e-4)


def test_every_place_gets_the_word_that_is_nearest():
    words = learn_words(draw(), seed=0, num_words=7)
    found, patches = words.find(draw(seed=1)), cut_patches(draw(seed=1))
    distances = ((patches[..., None, :] - words.words.reshape(7, -1)) ** 2).sum(-1)
    assert (found == distances.argmin(-1)).all()
    assert words(draw(seed=1))[2] == pytest.approx(np.bincount(found[2].ravel(), minlength=7) / 64)


def test_a_dictionary_finds_the_patterns_that_pictures_are_made_of():
    rng = np.random.default_rng(0)
    stripes, checks = np.indices((24, 24))[0] % 2, np.indices((24, 24)).sum(0) % 2
    pictures = np.stack([255 * (stripes if rng.random() < 0.5 else checks) for _ in range(40)]).astype(np.uint8)
    found = learn_words(pictures[:, None], seed=0, num_words=4)
    bags = found(pictures[:, None])
    assert len(np.unique(bags.round(3), axis=0)) == 2  # each kind of picture has a bag of its own


def test_the_same_seed_gives_the_same_words_the_most_frequent_first():
    one, other = (learn_words(draw(30), seed=3, num_words=9) for _ in range(2))
    assert (one.words == other.words).all() and (np.diff(one.shares) <= 0).all()
    assert one.shares.sum() == pytest.approx(1)


def test_plain_pictures_have_one_word():
    found = learn_words(np.full((3, 3, 12, 12), 7, np.uint8), seed=0)
    assert found.words.shape == (1, 3, PATCH, PATCH) and (found.words == 0).all()


def test_a_bag_forgets_where_things_are():
    picture = np.zeros((1, 1, 40, 40), np.uint8)
    picture[..., 10:16, 10:16] = draw(1, 1, 6)
    words = Dictionary(learn_words(picture, seed=0, num_words=8).words, np.ones(8) / 8)
    assert (words(np.roll(picture, (4 * STEP, -2 * STEP), (2, 3))) == words(picture)).all()
