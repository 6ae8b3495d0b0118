"""What is said of a map: where it is strong, in a sentence."""

from analysis.figures.overlay import Concentration, find_concentration
from lab.session import Explanation
from ui.widgets.html import format_percent

SIGNS = ("positive", "negative", "signed", "absolute")
"""Which part of a map is shown; what they are called is in ``assets/explain/looks.html``."""
HALVES = {
    "absolute": "Half of the strength",
    "positive": "Half of the evidence for it",
    "negative": "Half of the evidence against it",
    "signed": "Half of the evidence of either sign",
}
FLAT = {
    "absolute": "The map is the same everywhere: this method finds no pixel that matters for this class.",
    "positive": "No pixel speaks for this class; choose another kind of evidence.",
    "negative": "No pixel speaks against this class; choose another kind of evidence.",
    "signed": "The map is the same everywhere: this method finds no pixel that matters for this class.",
}
PLACES = (
    ("upper left", "upper middle", "upper right"),
    ("left", "middle", "right"),
    ("lower left", "lower middle", "lower right"),
)
EVEN = 1.5 / 9
"""No ninth of the picture that holds less of a map stands out."""


def describe(found: Explanation, sign: str) -> tuple[str, bool]:
    """Where the map is strong, in a sentence; and whether there is anything to see."""
    where = find_concentration(found.attribution.values, sign)
    if where is None or found.attribution.is_flat:
        return FLAT[sign], False
    return f"{HALVES[sign]} lies in {format_percent(where.area)} of the picture, {_place(where)}.", True


def _place(where: Concentration) -> str:
    if where.share < EVEN:
        return "spread over all of it"
    return f"most in the {PLACES[where.row][where.column]} ({format_percent(where.share)} in that ninth)"
