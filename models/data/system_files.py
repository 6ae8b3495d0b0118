"""Files that systems leave beside the user's own: none of them is meant, so none is counted or listed."""

from pathlib import PurePath

_NAMES = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"}
_NAMES |= {"@eadir", ".ds_store", "icon\r", "icon\ufffd"}  # the last two: of macOS, as it is and made readable


def is_system_file(name: PurePath) -> bool:
    """Whether a file or folder, or one around it, is the system's: ``__MACOSX/``, ``._cat.jpg``, ``Thumbs.db``."""
    return any(part.casefold() in _NAMES or part.startswith("._") for part in name.parts)
