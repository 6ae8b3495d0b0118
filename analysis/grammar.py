"""Numbers in sentences: how many of what, what these do, and the article before one."""

import re

_BEFORE_AN = re.compile(r"[aeio]|8|1[18](?:\d{3})*(?!\d)", re.IGNORECASE)
"""Whose name begins with a vowel: 8, 80, 800; 11 and 18, also of thousands. U is left out: a unit, a U-Net."""
_OF_ONE = {"are": "is", "have": "has", "were": "was"}


def count(number: int, what: str, do: str = "") -> str:
    """1 picture, 2,000 pictures, 3 classes, 0 copies; 1 picture looks, 2 pictures look."""
    return f"{number:,} {what if number == 1 else _name_many(what)}" + (f" {agree(number, do)}" if do else "")


def agree(number: int, do: str) -> str:
    """The verb for so many: looks, look; is, are."""
    return _OF_ONE.get(do, f"{do}s") if number == 1 else do


def _name_many(what: str) -> str:
    if re.search(r"(?:s|x|sh|(?<!epo)ch)$", what):
        return f"{what}es"
    return f"{re.sub(r'(?<=[^aeiou])y$', 'ie', what)}s"


def article(what: object) -> str:
    """A 7 x 7 map, an 8 x 8 map; a list, an int."""
    return f"{'an' if _BEFORE_AN.match(str(what)) else 'a'} {what}"
