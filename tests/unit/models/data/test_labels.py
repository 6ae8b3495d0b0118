"""Wrong labels in exact numbers, and corrections by picture."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import UserError
from models.data.dataset import Split
from models.data.labels import apply_corrections, check_corrections, corrupt
from tests.sentences import refused


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 6), max_size=200),
    st.floats(0, 1, exclude_max=True),
    st.integers(7, 20),
    st.integers(0, 99),
)
def test_exactly_the_share_is_replaced_by_other_classes(labels, share, num_classes, seed):
    labels = torch.tensor(labels, dtype=torch.int64)
    before = labels.clone()
    noisy = corrupt(labels, share, num_classes, seed)
    assert (noisy != labels).sum() == round(share * len(labels))
    assert torch.equal(labels, before) and noisy.dtype == torch.int64
    assert not len(labels) or (noisy.min() >= 0 and noisy.max() < num_classes)
    assert torch.equal(noisy, corrupt(labels, share, num_classes, seed))


def test_every_other_class_is_equally_likely():
    labels = torch.full((90_000,), 2)
    counts = torch.bincount(corrupt(labels, 0.9999999, 10, 0), minlength=10)
    assert counts[2] == 0
    # Each is binomial (90,000, 1/9), with a standard deviation of 94.
    assert (counts[torch.arange(10) != 2] - 10_000).abs().max() < 5 * 94


def test_more_noise_adds_to_less():
    labels = torch.arange(1000) % 10
    some, more = (corrupt(labels, share, 10, 5) for share in (0.2, 0.5))
    changed = some != labels
    assert torch.equal(more[changed], some[changed])


def test_all_random_labels_tell_nothing():
    labels = torch.arange(90_000) % 10
    noisy = corrupt(labels, 1.0, 10, 0)
    table = torch.bincount(labels * 10 + noisy, minlength=100)
    assert (table - 900).abs().max() < 5 * 30  # binomial (90,000, 1/100): the right class is as likely as others


@pytest.mark.parametrize(("share", "classes"), [(-0.1, 10), (1.1, 10), (float("nan"), 10), (0.5, 1), ("0.5", 10)])
def test_values_out_of_range(share, classes):
    with pytest.raises(UserError):
        corrupt(torch.zeros(5, dtype=torch.int64), share, classes, 0)


@pytest.fixture
def split():
    return Split(
        torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 8, 8).clone(),
        torch.tensor([0, 1, 2, 0, 1]),
        torch.tensor([3, 8, 9, 20, 21]),
    )


def test_corrections_are_by_id(split):
    corrected = apply_corrections(split, {8: 2, 20: None, 7: 1, 999: None}, num_classes=3)
    assert corrected.ids.tolist() == [3, 8, 9, 21] and corrected.labels.tolist() == [0, 2, 2, 1]
    assert corrected.images[:, 0, 0, 0].tolist() == [0, 1, 2, 4]
    assert split.labels.tolist() == [0, 1, 2, 0, 1] and len(split) == 5
    assert apply_corrections(split, {}) is split


def test_ids_from_a_file_are_text(split):
    assert apply_corrections(split, {"8": 0, "3": None}).labels.tolist() == [0, 2, 0, 1]
    assert check_corrections({"8": 0, 5: None}) == {8: 0, 5: None}


@pytest.mark.parametrize(
    "corrections",
    [None, [1], {"x": 0}, {"²": 0}, {-1: 0}, {"9" * 5000: 0}, {8: 3}, {8: -1}, {8: "1"}, {8: 1.0}, {8: True}],
)
def test_hostile_corrections_are_refused(split, corrections):
    with pytest.raises(UserError):
        apply_corrections(split, corrections, num_classes=3)


def test_a_split_is_never_left_empty(split):
    with refused("5"):
        apply_corrections(split, dict.fromkeys(split.ids.tolist()))
