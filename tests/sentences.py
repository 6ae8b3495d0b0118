"""What users are told, whole sentences, in one file: ``sentences.json``, by the test that is told them.

A test says who refuses what, and which numbers and names the sentence must hold; how it is worded is only there.
``python -m pytest --record-sentences tests/unit/lab`` writes what the tests of this run are told, and takes out the
sentences of tests that are gone. The diff is to be read.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from analysis.errors import UserError

FILE = Path(__file__).with_name("sentences.json")
OPTION = "--record-sentences"
KNOWN: dict[str, dict[str, str]] = json.loads(FILE.read_text(encoding="utf-8"))
"""The sentences by the file and the name of the test; ``name #2`` is the second one of a test."""
GONE = pytest.StashKey[list[tuple[str, str]]]()
"""Where in ``KNOWN`` sentences are whose tests are no longer there, as far as this run can tell."""


@dataclass
class Running:
    """The test that runs, and what it has been told so far."""

    file: str
    name: str
    folders: str
    is_recorded: bool
    said: dict[str, str] = field(default_factory=dict)

    @property
    def next_name(self) -> str:
        return f"{self.name} #{len(self.said) + 1}" if self.said else self.name


def check_sentence(sentence: str, *facts: object, varies: str = "") -> None:
    """Compares with what is recorded as the running test's next sentence; the last one may come again and again.

    Args:
        facts: Numbers and names that must be in the sentence, whatever is recorded.
        varies: A regular expression for what is not the same in each run.
    """
    __tracebackhide__ = True
    for fact in facts:
        assert re.search(rf"(?<!\w){re.escape(str(fact))}(?!\w)", sentence), f"{fact} is not in {sentence!r}"
    sentence = re.sub(running.folders, "TMP", sentence)
    if varies:
        sentence = re.sub(varies, "...", sentence)
    if running.said and sentence == [*running.said.values()][-1]:
        return
    name = running.next_name
    running.said[name] = sentence
    if not running.is_recorded:
        recorded = KNOWN.get(running.file, {}).get(name)
        assert sentence == recorded, f"{OPTION} changes {FILE.name}"


@contextmanager
def refused(
    *facts: object, error: type[Exception] = UserError, varies: str = ""
) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """``pytest.raises(error)``, and :func:`check_sentence` of what the error says."""
    __tracebackhide__ = True
    with pytest.raises(error) as caught:
        yield caught
    said = getattr(caught.value, "message", caught.value)  # gradio's errors have one
    check_sentence(str(said), *facts, varies=varies)


def pytest_addoption(parser):
    parser.addoption(OPTION, action="store_true", help=f"write what the tests are told to {FILE}")


@pytest.hookimpl(tryfirst=True)  # before tests are left out for their marks
def pytest_collection_modifyitems(config, items):
    collected = defaultdict(set)
    for item in items:
        file, _, name = item.location  # the node's id holds its group as well
        collected[file].add(name)
    if any("::" in argument for argument in config.args):  # of some files not all tests
        collected.clear()
    config.stash[GONE] = [
        (file, name)
        for file, sentences in KNOWN.items()
        for name in sentences
        if not (config.rootpath / file).exists()
        or (file in collected and re.sub(r" #\d+$", "", name) not in collected[file])
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    global running
    file, _, name = item.location
    folders = rf"{re.escape(str(item.config._tmp_path_factory.getbasetemp()))}/[\w-]+\d(?!\w)"
    if "tmp_path" in item.funcargs:  # alone where a sentence does not say in which folder it is
        folders += rf"|(?<!\w){re.escape(item.funcargs['tmp_path'].name)}(?!\w)"
    running = this = Running(file, name, folders, item.config.getoption(OPTION))
    result = yield
    if this.is_recorded:
        item.user_properties.append(("told", (file, name, this.said, item.config.stash[GONE])))
    elif this.next_name in KNOWN.get(file, {}):
        pytest.fail(f"Not told any more: {KNOWN[file][this.next_name]!r} ({OPTION} changes {FILE.name})")
    return result


def pytest_runtest_logreport(report):  # with xdist, in the process that will write the file, too
    for what, told in report.user_properties if report.when == "call" else ():
        if what == "told":
            file, name, said, gone = told
            old = [(file, other) for other in KNOWN.get(file, {}) if re.sub(r" #\d+$", "", other) == name]
            for file_, other in [*old, *gone]:
                KNOWN.get(file_, {}).pop(other, None)
            KNOWN.setdefault(file, {}).update(said)


def pytest_sessionfinish(session):
    if session.config.getoption(OPTION) and not hasattr(session.config, "workerinput"):
        kept = {file: sentences for file, sentences in KNOWN.items() if sentences}
        FILE.write_text(json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
