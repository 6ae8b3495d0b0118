"""The layer meter and the self-check of the Shift tab, as a visitor uses them."""

import csv
import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_classify import choose
from tests.browser.test_shift import choose_sample, open_drawer, open_small
from tests.browser.test_shift_map import download


@pytest.fixture
def small(visit) -> Page:
    return open_small(visit)


def measure(page: Page) -> None:
    page.locator("#meter-start").click()
    expect(page.locator("#meter-finding .finding")).to_contain_text("the error at the last one")


def test_every_layer_has_a_row_and_a_point(small):
    open_drawer(small, "meter")
    measure(small)
    expect(small.locator("#shift-meter .label-wrap").first).to_contain_text("equivariance")
    expect(small.locator("#meter-plot .scatterlayer .trace")).to_have_count(3)
    expect(small.locator("#meter-plot .xaxislayer-below .xtick, #meter-plot .xaxislayer-above .xtick")).to_have_text(
        ["1", "2", "4"]
    )
    document = json.loads(download(small, "#meter-json").read_text())
    names = [layer["name"] for layer in document["layers"]]
    assert "features.0.conv" in names
    assert (document["model"], document["dx"], document["dy"]) == ("fashion_cnn", 3, 0)
    shown = small.locator("#meter-table tbody tr td:first-child")
    expect(shown).to_have_text(names)
    with download(small, "#meter-csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == names
    own = {layer["name"]: layer for layer in document["own"]}
    assert [float(row["own_error"]) for row in rows] == pytest.approx([own[name]["error"] for name in names])
    worst = max(own.values(), key=lambda layer: layer["error"] if layer["stride"] > 1 else layer["in_phase"])
    expect(small.locator("#meter-finding .finding")).to_contain_text(
        f"Shifted 3 px right: {worst['name']} brings in the most error of its own, {worst['error']:.2g} when"
    )
    errors = [layer["error"] for layer in document["layers"]]
    assert [float(row["error"]) for row in rows] == pytest.approx(errors)


def test_a_reading_of_another_shift_or_model_does_not_stay(small):
    open_drawer(small, "meter")
    for change in (
        lambda: choose(small, "shift-padding", "Circular twin"),
        lambda: choose_sample(small, "dress"),
    ):
        measure(small)
        change()
        expect(small.locator("#meter-finding .empty")).to_contain_text("Press the button")
        expect(small.locator("#meter-table tbody tr")).to_have_count(0)
        expect(small.locator("#meter-csv")).to_be_hidden()
    measure(small)
    expect(small.locator("#meter-finding .stale")).to_have_count(0)
    small.locator("[data-step='0,1']").click()
    expect(small.locator("#meter-finding .stale")).to_be_visible()  # the picture moves without a request
    small.locator("#shift-stage .moved").press("Home")
    for axis in ("dx", "dy"):
        expect(small.locator(f"#shift-{axis} input[type=number]")).to_have_value("0")
    small.locator("#meter-start").click()
    expect(small.locator("#meter-finding .empty")).to_contain_text("Nothing has moved")
    expect(small.locator("#meter-finding .stale")).to_have_count(0)
    expect(small.locator("#meter-table tbody tr")).to_have_count(0)
    small.locator("[data-step='0,1']").click()
    expect(small.locator("#meter-finding .stale .empty")).to_be_visible()


def test_the_self_check_passes_and_can_be_downloaded(small):
    open_drawer(small, "check")
    small.locator("#check-start").click()
    finding = small.locator("#check-result .finding")
    expect(finding).to_have_text(re.compile(r"fashion_cnn: (\d+) of \1 checks passed\."))
    results = json.loads(download(small, "#check-json").read_text())
    assert len(results) >= 20
    assert {result["passed"] for result in results} <= {True, None}
    expect(finding).to_contain_text(f"{sum(result['passed'] is True for result in results)} of")
    measured = [result for result in results if result["passed"]]
    expect(small.locator("#check-result tbody tr")).to_have_count(len(measured))
    table = small.locator("#check-result .scrolled")
    assert table.evaluate("table => table.scrollHeight <= table.clientHeight")  # all are in sight
    expect(small.locator("#check-result details li")).to_have_count(len(results) - len(measured))
    choose_sample(small, "dress")
    expect(small.locator("#check-result .empty")).to_contain_text("Press the button")
