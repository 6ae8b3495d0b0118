"""Pictures are divided as folders say; what they do not say is drawn from those for training."""

import numpy as np
import pytest

from models.data.division import divide, hold_out

LABELS = np.repeat([0, 1, 2], [40, 40, 20])


def check(found, num):
    together = np.concatenate([found[part] for part in ("train", "validation", "test")])
    assert sorted(together) == list(range(num)) and all((np.diff(index) > 0).all() for index in found.values())


def test_without_parts_every_class_has_its_share_in_each():
    found = divide(LABELS, [None] * 100, seed=3)
    check(found, 100)
    assert [len(found[part]) for part in ("train", "validation", "test")] == [70, 15, 15]
    assert np.bincount(LABELS[found["test"]]).tolist() == [6, 6, 3]
    others, test = hold_out(LABELS, 15, 3)
    train, validation = hold_out(LABELS[others], 15, 3)
    assert (found["test"] == test).all() and (found["validation"] == others[validation]).all()
    assert (found["train"] == others[train]).all()


@pytest.mark.parametrize("given", [("train", "validation"), ("train", "test"), ("train", "validation", "test")])
def test_given_parts_are_kept(given):
    parts = [given[number % len(given)] for number in range(100)]
    found = divide(LABELS, parts, seed=0)
    check(found, 100)
    for part in given[1:]:
        assert found[part].tolist() == [number for number, own in enumerate(parts) if own == part]
    missing = {"validation", "test"} - set(given)
    assert all(len(found[part]) == 8 for part in missing)  # 15 % of the 50 for training
    assert {parts[number] for part in missing for number in found[part]} <= {"train"}
