"""The self-check as it is shown."""

import pytest

from analysis.self_check.identities import IDENTITIES, IdentityResult
from tests.unit.ui.widgets.test_html import Reader
from ui.shift.self_check import _show

TITLES = {(identity.name, identity.control_of is not None): identity.title for identity in IDENTITIES}


def found(name: str, *, error: float | None, passed: bool | None, is_control: bool = False) -> IdentityResult:
    title = TITLES[name, is_control]
    return IdentityResult(name, title, error, 1e-6, is_control, passed, f"{name} says nothing.")


@pytest.mark.parametrize(
    ("passed", "words"), [(True, "2 of 2 checks passed."), (False, "1 of 2 checks passed; failed:")]
)
def test_a_control_stands_below_what_it_must_break_and_the_rest_apart(passed, words):
    results = (
        found("I1", error=None, passed=None),
        found("I2", error=0.0, passed=True),
        found("I4", error=None, passed=None),
        found("I3", error=0.5, passed=passed, is_control=True),
    )
    page = Reader(_show("net", results))
    assert page.texts[0].startswith(f"net: {words}") and (TITLES["I3", True] in page.texts[0]) is not passed
    rows = [text.strip() for text in page.texts[page.texts.index("how") + 1 :]]
    assert rows[:6] == [
        TITLES["I2", False],
        "I2",
        "holds",
        "0, to the last bit",
        "≤\u00a01e\u201106",
        "I2 says nothing.",
    ]
    outcome = "breaks, as it must" if passed else "does not break, but must"
    assert rows[6:10] == [f"Control: {TITLES['I3', True]}", "I3", outcome, "5.0e\u201101"]
    assert "2 checks that this model says nothing about" in rows
    assert f"{TITLES['I1', False]} (I1): I1 says nothing." in rows


def test_every_control_belongs_to_an_identity():
    positives = {identity.name for identity in IDENTITIES if identity.control_of is None}
    assert {identity.control_of for identity in IDENTITIES} - {None} <= positives
