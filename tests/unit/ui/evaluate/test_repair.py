"""What the headline of the repair bench says."""

import pytest

from ui.evaluate.repair import _compare


def make_arm(name: str, accuracy: float, consistency: float) -> dict:
    return {"arm": name, "title": name, "accuracy": {"value": accuracy}, "consistency": {"value": consistency}}


BASE = make_arm("as_is", 0.9, 0.8)


@pytest.mark.parametrize(
    "arms, words",
    [
        ([BASE, make_arm("blur", 0.85, 0.95)], ["blur, 95.0 %: +15.0 points", "costs 5.0 points", "85.0 %"]),
        ([BASE, make_arm("blur", 0.91, 0.95)], ["+15.0 points", "gains 1.0 points of accuracy too"]),
        ([BASE, make_arm("blur", 0.95, 0.7)], ["as_is, 80.0 %, with accuracy 90.0 %"]),
        ([make_arm("blur", 0.85, 0.95)], ["blur, 95.0 %, with accuracy 85.0 %"]),
    ],
)
def test_consistency_gained_stands_beside_accuracy_lost(arms, words):
    text = _compare(arms)
    assert text.startswith("Most consistent: ")
    assert all(word in text for word in words), text
