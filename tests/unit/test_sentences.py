"""The record of what users are told."""

import pytest

from tests import sentences
from tests.sentences import GONE, Running, check_sentence


def test_no_sentence_is_left_of_a_test_that_is_gone(request):
    """As far as this run has collected the files of the tests."""
    assert not request.config.stash[GONE] or request.config.getoption(sentences.OPTION)


def test_a_sentence_is_compared_with_the_next_one_on_record(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sentences, "KNOWN", {"file": {"name": "TMP/a has 3 of ... parts.", "name #2": "No."}})
        patch.setattr(sentences, "running", Running("file", "name", "/tmp/x0", False))
        for _ in range(2):  # as in a loop
            check_sentence("/tmp/x0/a has 3 of 12.5 parts.", "/tmp/x0", 3, varies=r"\d+\.\d+")
        with pytest.raises(AssertionError):
            check_sentence("No.", "N")
        check_sentence("No.", "No")
        for sentence in ("No", "TMP/a has 3 of ... parts."):
            with pytest.raises(AssertionError):
                check_sentence(sentence)
