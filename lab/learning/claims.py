"""Every claim of the lecture notes that can be checked, and what checking it finds."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.errors import Progress, UserError, no_progress
from lab.learning.claim import SECTIONS, VERDICTS, At, Claim, Finding
from lab.learning.claims_convolution import CONVOLUTION
from lab.learning.claims_kernels import KERNEL
from lab.learning.claims_networks import ARCHITECTURAL, FEATURES, LOSSES
from lab.learning.claims_pooling import POOLING
from lab.learning.claims_trained import TRAINED
from lab.learning.claims_translation import TRANSLATION
from lab.session import Lab
from models.settings import show_value

_ALL = CONVOLUTION | KERNEL | POOLING | TRANSLATION | FEATURES | LOSSES | ARCHITECTURAL | TRAINED
CLAIMS: dict[str, Claim] = {
    name: claim for section in SECTIONS for name, claim in _ALL.items() if claim.section == section
}
"""Name -> claim, in the order of the notes."""
LONG = 1.0
"""Seconds from which on it is said how long a check takes."""


@dataclass(frozen=True)
class Checked:
    """A claim, what came out, and the verdict with something broken; None where that says nothing."""

    name: str
    claim: Claim
    found: Finding
    control: str | None

    def to_json(self) -> dict:
        """A JSON-ready dictionary."""
        found = self.found
        facts = [vars(fact) for fact in found.facts]
        control = {"broken": self.claim.broken, "verdict": self.control} if self.control else None
        return {
            "name": self.name,
            "claim": self.claim.says,
            "verdict": found.verdict,
            "facts": facts,
            "number": found.number,
            "note": found.note,
            "run": found.run,
            "control": control,
        }


def find_claim(name: object) -> Claim:
    """A claim by its name. Raises UserError: there is none."""
    if isinstance(name, str) and name in CLAIMS:
        return CLAIMS[name]
    near = difflib.get_close_matches(str(name)[:80], CLAIMS, n=1)
    hint = f"did you mean {near[0]}?" if near else "the list of claims has their names."
    raise UserError(f"There is no claim {show_value(name)}; {hint}")


def describe_claim(name: str) -> dict:
    """What can be said of a claim before it is checked, JSON-ready."""
    claim = find_claim(name)
    return {
        "name": name,
        "title": claim.title,
        "section": claim.section,
        "claim": claim.says,
        "guess": vars(claim.guess) if claim.guess else None,
        "seconds": claim.seconds,
        "see": claim.see,
        "preset": claim.preset,
        "command": claim.command,
    }


def check_claim(lab: Lab, name: str, progress: Progress = no_progress) -> Checked:
    """Checks a claim now, and that its check can tell: with something broken the verdict has to be another one.

    A claim of training is not trained for: the newest finished comparison that whoever asks may see is read.

    Raises:
        UserError: There is no such claim, or what it needs cannot be used.
    """
    claim = find_claim(name)
    with lab.models.turns.take():  # one computes at a time
        at = At(lab, lab.models.turns.sharing(progress))
        found = claim.run(at)
        at.progress(1, 2)
        control = claim.run(at, claim.control).verdict if claim.control and found.verdict != "open" else None
    return Checked(name, claim, found, control)


def describe_verdict(document: Mapping[str, Any]) -> str:
    """The verdict of :meth:`Checked.to_json` in a sentence."""
    said = f"{VERDICTS[document['verdict']]}."
    control = document["control"]
    if control:
        said += f" With something broken ({control['broken']}) it {VERDICTS[control['verdict']]}."
    return said[0].upper() + said[1:]
