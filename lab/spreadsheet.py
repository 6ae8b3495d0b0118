"""Tables as CSV, for spreadsheets: Excel reads every letter, and no cell becomes a formula."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

BYTE_ORDER_MARK = "\ufeff"
"""Without it, Excel takes UTF-8 for the local encoding and shows 사진 as gibberish."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""With these a spreadsheet takes a text for a formula, in East Asian settings also with the wide ones."""


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object] | Sequence[object]]) -> str:
    """A table as CSV: a line of headings, then the rows; None is an empty cell.

    Args:
        rows: Cells in the order of the columns, or by their names; other names are left out.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(columns)
    for row in rows:
        cells = [row.get(column) for column in columns] if isinstance(row, Mapping) else row
        writer.writerow([_as_text(cell) if isinstance(cell, str) else cell for cell in cells])
    return BYTE_ORDER_MARK + file.getvalue()


def _as_text(cell: str) -> str:
    """The apostrophe says that what follows is text; half characters, which no encoding takes, are marked."""
    text = cell.encode("utf-8", "replace").decode()
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
