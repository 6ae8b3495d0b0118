"""What a claim of the lecture is, and the verdict that follows from its numbers."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from analysis.errors import Progress, no_progress
from lab.session import Lab

VERDICTS = {"holds": "holds", "fails": "does not hold", "open": "cannot be told here"}
"""What follows from the numbers -> in words."""
SECTIONS = {
    "convolution": "Convolution",
    "pooling": "Pooling, heads, receptive field",
    "translation": "Translation",
    "features": "Before CNNs",
    "losses": "Losses, optimisers, regularisation",
    "architectures": "Architectures",
    "practicals": "Practicals",
}
"""Parts of the lecture notes."""
DIGITS = 4
"""Of a number that was measured, significant ones."""


@dataclass(frozen=True)
class Fact:
    """A number of the claim beside the one that was found; ``holds`` is None where they cannot tell."""

    what: str
    claimed: str
    found: str
    holds: bool | None


@dataclass(frozen=True)
class Finding:
    """What came out when a claim was checked.

    Attributes:
        number: What a number that was predicted is compared with; None where there is none.
        note: What belongs to it: how it was measured, or what would be needed to tell.
        run: The run that the numbers come from, if they come from one.
    """

    facts: tuple[Fact, ...] = ()
    number: float | None = None
    note: str = ""
    run: str = ""

    @property
    def verdict(self) -> str:
        """A key of ``VERDICTS``: one fact that does not hold is enough, and without facts nothing can be told."""
        outcomes = [fact.holds for fact in self.facts]
        if False in outcomes:
            return "fails"
        return "holds" if outcomes and None not in outcomes else "open"


@dataclass(frozen=True)
class At:
    """Where a claim is checked; ``progress`` may raise Cancelled."""

    lab: Lab
    progress: Progress = no_progress


@dataclass(frozen=True)
class Guess:
    """A number that is predicted before it is measured; ``share`` of it is how far off is near enough."""

    ask: str
    unit: str = ""
    share: float = 0.1


@dataclass(frozen=True)
class Claim:
    """A table entry.

    Attributes:
        section: A key of ``SECTIONS``.
        says: What is claimed, in the words of the notes.
        check: ``check(at, **given)`` measures and compares; the verdict follows from its facts.
        given: What is claimed, and of what.
        control: Other values of some of ``given``, for which the verdict must turn round, or the check sees nothing.
        broken: What these are, in words.
        guess: The number to be predicted; without it one predicts whether the claim holds.
        seconds: About how long it takes on two cores.
        see: The query of a link to where one can try it by hand.
        preset: The comparison of trained networks that the numbers come from (``lab.comparisons.claims``).
        command: What has to be run first, where the numbers come from a run.
    """

    title: str
    section: str
    says: str
    check: Callable[..., Finding]
    given: Mapping[str, Any] = field(default_factory=dict)
    control: Mapping[str, Any] = field(default_factory=dict)
    broken: str = ""
    guess: Guess | None = None
    seconds: float = 0.2
    see: str = ""
    preset: str = ""
    command: str = ""

    def run(self, at: At, changes: Mapping[str, Any] = MappingProxyType({})) -> Finding:
        """Checks it, with ``changes`` instead of what is given."""
        return self.check(at, **{**self.given, **changes})


def write(value: object) -> str:
    """A number, a size or a word as it is read: 760, 28 x 28 x 6, 0.133."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return (f"{value:,.{DIGITS}g}" if abs(value) < 10**DIGITS else f"{value:,.0f}").replace("-", "−")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " x ".join(map(write, value))
    return str(value)


def is_equal(what: str, found: Any, claimed: Any, tolerance: float = 0.0, unit: str = "") -> Fact:
    """Whether it is what is claimed; numbers may be off by ``tolerance``."""
    if isinstance(found, int | float) and not isinstance(found, bool):
        holds = abs(found - claimed) <= tolerance
    else:
        holds = (tuple(found) == tuple(claimed)) if isinstance(found, Sequence) else found == claimed
    return Fact(what, _with_unit(write(claimed), unit), _with_unit(write(found), unit), holds)


def are_equal(what: str, found: Iterable[float], claimed: Iterable[float], digits: int) -> Fact:
    """Whether numbers are those that are claimed, which are rounded to so many digits behind the point."""
    found, claimed = [*found], [*claimed]
    holds = len(found) == len(claimed) and all(
        abs(a - b) <= 0.5 * 10**-digits + 1e-9 for a, b in zip(found, claimed, strict=True)
    )
    texts = [", ".join(f"{value:.{digits}f}" for value in each) for each in (claimed, found)]
    return Fact(what, texts[0], texts[1], holds)


def is_more(what: str, found: float, least: float, unit: str = "") -> Fact:
    """Whether it is more than ``least``."""
    return Fact(what, _with_unit(f"more than {write(least)}", unit), _with_unit(write(found), unit), found > least)


def is_less(what: str, found: float, most: float, unit: str = "") -> Fact:
    """Whether it is less than ``most``."""
    return Fact(what, _with_unit(f"less than {write(most)}", unit), _with_unit(write(found), unit), found < most)


def is_share(what: str, right: int, total: int, *, above: float = -math.inf, below: float = math.inf) -> Fact:
    """Whether a share lies between two ends; None where its 95 % interval (Wilson) reaches beyond one of them."""
    from scipy.stats import binomtest

    ends = binomtest(right, total).proportion_ci(method="wilson")
    wanted = f"more than {100 * above:.0f} %" if below == math.inf else f"less than {100 * below:.0f} %"
    text = f"{100 * right / total:.1f} % [{100 * ends.low:.1f}, {100 * ends.high:.1f}] of {total:,}"
    return Fact(what, wanted, text, judge_interval(ends.low, ends.high, above, below))


def judge_interval(low: float, high: float, above: float, below: float) -> bool | None:
    """Whether all of an interval lies between two ends; False where none of it does, None where a part does."""
    if above < low and high < below:
        return True
    return False if high <= above or low >= below else None


def is_no_difference(what: str, difference: float, tolerance: float = 1e-9) -> Fact:
    """Whether two ways to compute something differ by no more than rounding."""
    return Fact(what, "0", "0" if difference == 0 else f"{difference:.2g}", difference <= tolerance)


def is_difference(what: str, difference: float, tolerance: float = 1e-9) -> Fact:
    """Whether two ways to compute something differ by more than rounding."""
    return Fact(what, "not 0", "0" if difference == 0 else f"{difference:.3g}", difference > tolerance)


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}".strip()
