"""Features made by hand and the scanned sound, as a student uses them."""

import re

import pytest
from playwright.sync_api import expect
from scipy.io import wavfile

from analysis.sound.spectrogram import HOP, RATE
from lab.learning.sound import find_detector, scan_word
from tests.browser.test_accessibility import find_faults


def test_the_word_is_moved_without_a_request_and_found_by_the_scan_alone(visit, page):
    visit("tab=learn&bench=sound")
    finding = page.locator("#learn-sound .finding")
    expect(finding).to_contain_text("finds the word")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    where = page.locator("#sound-begins").inner_text()
    page.get_by_label("Move the word").press("ArrowRight")
    expect(page.locator("#sound-begins")).not_to_have_text(where)
    moved = page.locator("#sound-begins").inner_text()
    said, found = (float(number) for number in re.findall(r"at (\d\.\d\d) s", finding.inner_text())[::2])
    assert said == pytest.approx(float(moved.split()[0])) and abs(found - said) <= 0.05
    assert asked == []
    assert find_faults(page) == []


def test_a_recording_of_ones_own_is_searched_and_a_file_that_is_none_is_a_sentence(visit, page, tmp_path):
    scan, place = scan_word(find_detector(0)[0], "word", 5), 70
    recording = scan.background.copy()
    recording[place * HOP :][: len(scan.word)] += scan.word
    wavfile.write(tmp_path / "mine.wav", RATE, (recording * 32767).astype("<i2"))
    (tmp_path / "broken.wav").write_bytes(b"RIFF and nothing more")
    visit("tab=learn&bench=sound")
    page.get_by_role("button", name="A recording of your own").click()
    chosen = page.locator("#sound-own input[type=file]")
    chosen.set_input_files(tmp_path / "broken.wav")
    expect(page.get_by_test_id("toast-body")).to_contain_text("broken.wav is no WAV file")
    page.locator("#sound-own").get_by_label("Clear").click()
    chosen.set_input_files(tmp_path / "mine.wav")
    finding = page.locator("#learn-sound .finding")
    expect(finding).to_contain_text("mine.wav")
    expect(finding).to_contain_text("finds the word at 1.4")


def test_the_features_of_the_picture_and_what_a_comparison_takes(visit, page):
    visit("tab=learn&bench=before_cnns")
    bench = page.locator("#learn-before_cnns")
    expect(bench.locator(".finding").first).to_contain_text("HOG")
    expect(bench.locator(".feature-look img")).to_have_count(5)
    expect(bench.locator("#features-estimate")).to_contain_text("11 rows")
    assert find_faults(page) == []
