"""What the headline of the repair bench says."""

import pytest

from tests.sentences import check_sentence
from ui.evaluate.repair import _compare


def make_arm(name: str, accuracy: float, consistency: float) -> dict:
    return {"arm": name, "title": name, "accuracy": {"value": accuracy}, "consistency": {"value": consistency}}


BASE = make_arm("as_is", 0.9, 0.8)


@pytest.mark.parametrize(
    "arms, facts",
    [
        ([BASE, make_arm("blur", 0.85, 0.95)], ["blur", "95.0 %", "15.0", "5.0", "85.0 %"]),
        ([BASE, make_arm("blur", 0.91, 0.95)], ["15.0", "1.0"]),
        ([BASE, make_arm("blur", 0.95, 0.7)], ["as_is", "80.0 %", "90.0 %"]),
        ([make_arm("blur", 0.85, 0.95)], ["blur", "95.0 %", "85.0 %"]),
    ],
)
def test_consistency_gained_stands_beside_accuracy_lost(arms, facts):
    check_sentence(_compare(arms), *facts)
