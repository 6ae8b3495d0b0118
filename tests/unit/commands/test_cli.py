"""The command line: one JSON document per command, or one line that says what to put right."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.unit.commands.fashion import CATEGORIES, FASHION

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["models"], ["fashion_cnn", "vit_b_16", "28 px"]),
        (["classify", "bag", *FASHION], ["bag", CATEGORIES[0], "%"]),
        (["shift", "bag", *FASHION], ["before", "after", "the class", "relative error"]),
        (["explain", "bag", *FASHION], ["method saliency", "category"]),
        (["layers", *FASHION], ["Conv2d", "stride", "sees"]),
        (["--help"], ["classify", "shift", "explain", "layers"]),
        (["classify", "--help"], ["--top-k", "--json"]),
    ],
)
def test_people_get_lines_instead_of_json(run, arguments, words):
    code, out, err = run(*arguments, *(["--top-k", "10"] if arguments[:2] == ["classify", "bag"] else []))
    assert (code, err) == (0, "")
    assert all(word in out for word in words)
    with pytest.raises(ValueError):
        json.loads(out)


@pytest.mark.parametrize(
    "command", [["shift-map", "--max-shift", 1], ["self-check"], ["meter"], ["shift", "--dx", 0.5]]
)
def test_without_json_people_get_lines(run, command):
    name, *options = command
    code, out, _ = run(name, *([] if name == "self-check" else ["bag"]), *FASHION, *options)
    assert code == 0 and out.count("\n") > 3


MISTAKES = {
    "no shifts": (["shift-map", "bag", *FASHION, "--max-shift", "0"], "between 1 and 64"),
    "map too large": (["shift-map", "bag", *FASHION, "--max-shift", "65"], "between 1 and 64"),
    "map without surroundings": (["shift-map", "bag", *FASHION, "--boundary", "crop"], "smaller shift"),
    "meter out of sight": (["meter", "bag", *FASHION, "--dx", "1e9"], "out of sight"),
    "meter of nothing": (["meter", "bag", *FASHION, "--dx", "nan"], "finite numbers"),
    "no such weights": (["classify", "bag", "--model", "resnet50:V9"], "IMAGENET1K_V1"),
    "no such picture": (["classify", "none.png", *FASHION], "none.png"),
    "a folder without pictures": (["classify", "empty", *FASHION], "no picture in the folder empty"),
    "a folder for one picture": (["shift", ".", *FASHION], "not a file"),
    "a weight file": (["classify", "bag", "--model", "mine.pth"], "cannot be opened yet"),
    "no such model": (["classify", "bag", "--model", "resnet81"], "Did you mean"),
    "no such run": (["layers", "--model", "run/none"], "no run named none"),
    "run outside": (["layers", "--model", "run/../x"], "run name"),
    "bad top-k": (["classify", "bag", "--top-k", "0"], "--top-k"),
    "bad method": (["explain", "bag", *FASHION, "--method", "magic"], "magic"),
    "bad boundary": (["shift", "bag", *FASHION, "--boundary", "magic"], "magic"),
    "bad dx": (["shift", "bag", *FASHION, "--dx", "far"], "--dx"),
    "shift out of sight": (["shift", "bag", *FASHION, "--dx", "28"], "out of sight"),
    "mean colour": (["shift", "bag", *FASHION, "--dy", "-28", "--boundary", "mean"], "out of sight"),
    "no end": (["shift", "bag", *FASHION, "--dx", "inf", "--boundary", "circular"], "finite numbers"),
    "all black map": (["shift-map", "bag", *FASHION, "--max-shift", "28"], "out of sight"),
    "all black meter": (["meter", "bag", *FASHION, "--dx", "28"], "out of sight"),
    "huge shift": (["shift", "bag", *FASHION, "--dy", "-99999999999999999999"], "out of sight"),
    "no surroundings": (["shift", "bag", *FASHION, "--boundary", "crop"], "smaller shift"),
    "bad target": (
        ["explain", "bag", *FASHION, "--target", "dresses"],
        "called dresses; did you mean dress (3)",
    ),
    "odd digit": (["explain", "bag", *FASHION, "--target", "²"], "no class called ²"),
    "very long target": (["explain", "bag", *FASHION, "--target", "9" * 5000], "no class called 99999"),
    "target too large": (["explain", "bag", *FASHION, "--target", "10"], "classes 0 to 9"),
    "negative target": (["explain", "bag", *FASHION, "--target=-1"], "classes 0 to 9"),
    "no such layer": (["explain", "bag", *FASHION, "--method", "grad_cam", "--layer", "none"], "none"),
    "out in no folder": (["explain", "bag", *FASHION, "--out", "none/x.png"], "none/x.png"),
    "out is a folder": (["explain", "bag", *FASHION, "--out", "."], "cannot be written"),
    "raw in no folder": (["explain", "bag", *FASHION, "--raw", "none/x.npy"], "none/x.npy"),
    "disk full": (["explain", "bag", *FASHION, "--raw", "/dev/full"], "/dev/full"),
    "no picture": (["classify", *FASHION], "images"),
    "no image": (["shift"], "image"),
    "unknown option": (["layers", "--colour"], "--colour"),
    "option without value": (["layers", "--model"], "--model"),
    "too many pictures": (["shift", "bag", "coat"], "coat"),
    "unknown command": (["paint"], "paint"),
    "no command": ([], "name a command"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_line_and_exit_code_2(run, settings, mistake):
    (settings / "text.png").write_text("this is text")
    (settings / "empty").mkdir()
    arguments, words = MISTAKES[mistake]
    code, out, err = run(*arguments[:1], *(["--json"] if arguments else []), *arguments[1:])
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert words in err


def test_bad_devices_are_refused(run, monkeypatch):
    monkeypatch.setenv("CONVSCOPE_DEVICE", "gpu")
    code, out, err = run("layers", *FASHION)
    assert (code, out) == (2, "") and err.startswith("error: There is no device called gpu")


def test_a_failed_download_is_one_line(run, monkeypatch, torch_home):
    def refuse(url, timeout):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    code, out, err = run("classify", "bag", "--model", "squeezenet1_1", "--json")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "squeezenet1_1-b8a52dc0.pth" in err and "no network" in err and str(torch_home) in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["classify", "chelsea", "--json"], 0), (["explain", "chelsea", "--methods"], 2)],
)
def test_a_process_of_its_own_keeps_the_contract(arguments, code):
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == code
    if code:
        assert done.stdout == "" and done.stderr.count("\n") == 1 and done.stderr.startswith("error: ")
    else:
        assert done.stderr == ""
        best = json.loads(done.stdout)["images"][0]["predictions"][0]
        assert best["category"] in ("tabby", "tiger cat", "Egyptian cat")
