"""What is printed cannot steer a terminal, and signals end a program cleanly."""

import io
import os
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import typer

from models.terminal import PrintableStream, ends_as_interrupted, ends_at_once, printable, printable_output

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("고양이, café – 100 %", "고양이, café – 100 %"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("cat\u202egnp.exe\u2066", "cat\\u202egnp.exe\\u2066"),
        ("half \ud83d", "half \\ud83d"),
        ("one\ntwo\rthree\tfour\x85\u2028", "one\\ntwo\\rthree\\tfour\\x85\\u2028"),
        ("\x9b2J\x7f\x00", "\\x9b2J\\x7f\\x00"),
    ],
)
def test_text_only_shows(text, shown):
    assert printable(text) == shown


def test_no_character_that_steers_is_left():
    shown = printable("".join(map(chr, range(0x110000))))
    turning = ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not [c for c in shown if unicodedata.bidirectional(c) in turning]


def test_all_that_is_printed_goes_that_way(capsys):
    with printable_output():
        print("\x1b[2J", end="\n")
        print("3 of 4", end="\r")
        typer.echo("name\rerror: \ud800")
        print("bad\x07", file=sys.stderr)
    out, err = capsys.readouterr()
    assert out == "\\x1b[2J\n3 of 4\rname\\rerror: \\ud800\n" and err == "bad\\x07\n"


def test_what_a_stream_cannot_encode_is_an_escape():
    inside = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="")
    PrintableStream(inside).write("사진")
    inside.flush()
    assert inside.buffer.getvalue() == b"\\uc0ac\\uc9c4"


def test_sigterm_is_an_interruption_and_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt), ends_as_interrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.sigtimedwait([], 5)
    with ends_at_once():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_importing_ends_without_a_word(number):
    code = (
        "import os, time\nfrom models.terminal import ends_at_once\n"
        f"with ends_at_once():\n    os.kill(os.getpid(), {int(number)})\n    time.sleep(30)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")
