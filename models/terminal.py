"""What a terminal or a log is given: text from outside may not steer it, and a signal ends a program cleanly."""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

END_SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 128 + signal.SIGINT
"""The exit status of a program that was interrupted."""

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and the end of a line
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing
    "\u2028\u2029"  # the end of a line, of another kind
    "\ud800-\udfff]"  # half a character, which no encoding takes
)
_LINES = re.compile(r"[\t\n]")


def printable(text: object) -> str:
    """The text as one line that only shows: whatever would steer a terminal becomes an escape, such as \\x1b."""
    return _LINES.sub(_escape, printable_lines(str(text)))


def printable_lines(text: str) -> str:
    """As :func:`printable`, but lines stay lines and tabs stay tabs."""
    return _STEERING.sub(_escape, text)


def _escape(found: re.Match) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode()


class PrintableStream:
    """A text stream, to be written to as if it were the one inside; a carriage return alone is for progress."""

    buffer = None
    """No way around it."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text as it can be printed here."""
        shown = text if text == "\r" else printable_lines(text)
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines) -> None:
        """Writes one after the other."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Inside the block, whatever this process prints can be printed as :func:`printable_lines` says."""
    with redirect_stdout(PrintableStream(sys.stdout)), redirect_stderr(PrintableStream(sys.stderr)):
        yield


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Inside the block, which only imports, a signal ends the process without a word: there is nothing to clean up.

    Raised in the middle of an import, KeyboardInterrupt would become whatever the module makes of it.
    """
    with _on_signals(END_SIGNALS, lambda number, frame: os._exit(128 + number)):
        yield


@contextmanager
def ends_as_interrupted() -> Iterator[None]:
    """Inside the block, SIGTERM, which service managers send, is what Ctrl-C is: KeyboardInterrupt."""
    with _on_signals((signal.SIGTERM,), signal.default_int_handler):
        yield


@contextmanager
def _on_signals(numbers: tuple[int, ...], handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python lets only that one receive signals
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
