"""Features made by hand and the scanned sound, as a student uses them."""

import re

import pytest
from playwright.sync_api import expect

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


def test_the_features_of_the_picture_and_what_a_comparison_takes(visit, page):
    visit("tab=learn&bench=before_cnns")
    bench = page.locator("#learn-before_cnns")
    expect(bench.locator(".finding").first).to_contain_text("HOG")
    expect(bench.locator(".feature-look img")).to_have_count(5)
    expect(bench.locator("#features-estimate")).to_contain_text("7 ways", ignore_case=True)
    assert find_faults(page) == []
