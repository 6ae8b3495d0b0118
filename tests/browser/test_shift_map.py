"""The map of all shifts, as a visitor uses it."""

import csv
import json
import re
from collections import Counter

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_classify import choose
from tests.browser.test_shift import FINDING, choose_sample, open_drawer, open_small

RESULT = "#map-finding .finding"
REACH = 7
"""The largest shift of a map that the small network has room for."""


@pytest.fixture
def shifts(visit) -> Page:
    page = open_small(visit, "shirt")
    open_drawer(page, "map")
    return page


def start_map(page: Page) -> None:
    page.locator("#map-start").click()
    expect(page.locator(RESULT)).to_contain_text("shift consistency")
    expect(page.locator("#map-csv")).to_be_visible()


def expect_whole_chart(page: Page) -> None:
    """Waits for the last chart of a map coloured by probability: in those before it few cells differ."""
    expect_in_chart(page, "new Set(chart.data[0].z.flat()).size > 0.7 * chart.data[0].z.length ** 2")


def set_reach(page: Page, pixels: int) -> None:
    """How far the maps of the drawer reach."""
    number = page.locator("#map-reach input[type=number]")
    number.fill(str(pixels))
    number.press("Enter")
    expect(number).to_have_value(str(pixels))


def expect_in_chart(page: Page, expression: str) -> None:
    """Waits until something is true of the chart, which gradio replaces whenever it changes."""
    find = "const chart = document.querySelector('#map-plot .js-plotly-plot')"
    page.wait_for_function(f"() => {{ {find}; return chart && {expression}; }}")


def expect_marked(page: Page, dx: int, dy: int) -> None:
    expect_in_chart(page, f"chart.data.some(t => t.name === 'shown' && t.x[0] === {dx} && t.y[0] === {dy})")


def click_cell(page: Page, dx: int, dy: int) -> None:
    place = f"c => [c._fullLayout.xaxis.d2p({dx}), c._fullLayout.yaxis.d2p({dy})]"
    x, y = page.locator("#map-plot .js-plotly-plot").evaluate(place)
    page.locator("#map-plot .nsewdrag").first.click(position={"x": x, "y": y})


def download(page: Page, button: str):
    with page.expect_download() as file:
        page.locator(button).click()
    return file.value.path()


def read_consistency(page: Page) -> Locator:
    return page.locator("#map-finding tbody td").nth(3)


def test_a_map_has_a_cell_for_every_shift_and_colours_for_classes_and_margins(shifts):
    start_map(shifts)
    expect(shifts.locator(RESULT)).to_contain_text(f"Up to {REACH} px in every direction, fashion_cnn keeps")
    expect(shifts.locator("#map-plot .heatmaplayer image")).to_have_count(1)
    expect_in_chart(shifts, "chart.data[0].z.length === 15 && chart.data[0].z.every(row => row.length === 15)")
    for title, axis in (("Predicted class", "class"), ("Margin", "margin"), ("Probability", "probability")):
        choose(shifts, "map-color", title)
        expect_in_chart(shifts, f"chart.layout.coloraxis.colorbar.title.text === '{axis}'")


def test_clicks_and_arrow_keys_on_the_chart_move_the_shift(shifts):
    start_map(shifts)
    expect_whole_chart(shifts)
    for key, text, place in (("ArrowRight", "4 px right:", (4, 0)), ("ArrowUp", "4 px right and 1 px up", (4, -1))):
        shifts.locator("#map-plot .js-plotly-plot[role=group]").focus()
        shifts.keyboard.press(key)
        expect(shifts.locator(FINDING)).to_contain_text(f"Shifted {text}")
        expect_marked(shifts, *place)
    click_cell(shifts, -3, 2)
    expect(shifts.locator(FINDING)).to_contain_text("Shifted 3 px left and 2 px down")
    expect_marked(shifts, -3, 2)
    shifts.wait_for_timeout(400)  # plotly takes two clicks within 300 ms for a double one
    click_cell(shifts, 7, -7)
    expect(shifts.locator(FINDING)).to_contain_text("Shifted 7 px right and 7 px up")


def test_a_map_of_something_else_does_not_stay(shifts):
    empty = shifts.locator("#map-finding .empty")
    for change in (
        lambda: choose(shifts, "shift-boundary", "Wrap around"),
        lambda: choose_sample(shifts, "dress"),
        lambda: choose(shifts, "model", "efficientnet_lite0"),
    ):
        start_map(shifts)
        change()
        expect(empty).to_contain_text("Press a button")
        expect(shifts.locator("#map-plot")).to_be_hidden()
        expect(shifts.locator("#map-csv")).to_be_hidden()


def test_models_are_mapped_side_by_side(shifts):
    set_reach(shifts, 1)
    choose(shifts, "compare", "efficientnet_lite0")
    shifts.keyboard.press("Escape")
    start_map(shifts)
    rows = shifts.locator("#map-finding tr:has(td)")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("fashion_cnn")
    expect(rows.nth(1)).to_contain_text("efficientnet_lite0")
    expect(shifts.locator("#map-plot .heatmaplayer image")).to_have_count(2)
    lines = download(shifts, "#map-csv").read_text(encoding="utf-8-sig").splitlines()
    assert Counter(line.partition(",")[0] for line in lines[1:]) == {"fashion_cnn": 9, "efficientnet_lite0": 9}


def test_the_files_say_what_the_table_says_but_not_of_a_fast_preview(shifts):
    start_map(shifts)
    with download(shifts, "#map-csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["dx"], row["dy"]) for row in rows}) == len(rows) == (2 * REACH + 1) ** 2
    counts = Counter(row["class"] for row in rows).values()
    consistency = sum(n * (n - 1) for n in counts) / (len(rows) * (len(rows) - 1))
    assert consistency < 1, "a map without a flip would not tell right numbers from wrong ones"
    (document,) = json.loads(download(shifts, "#map-json").read_text())
    assert document["consistency"] == pytest.approx(consistency)
    assert (document["model"], document["boundary"], document["twin"]) == ("fashion_cnn", "zero", False)
    expect(read_consistency(shifts)).to_have_text(f"{100 * consistency:.1f} %")
    picture = Image.open(download(shifts, "#map-png"))
    assert picture.format == "PNG"
    assert min(picture.size) > 300
    assert len(picture.convert("RGB").getcolors(1 << 24)) > 20
    shifts.locator("#map-fast input").check()
    shifts.locator("#map-start").click()
    expect(shifts.locator("#map-finding .note")).to_contain_text("Fast preview in bfloat16: not for reporting.")
    expect(shifts.locator(RESULT)).to_contain_text("shift consistency")
    for button in ("#map-png", "#map-csv", "#map-json"):
        expect(shifts.locator(button)).to_be_hidden()


def test_all_circular_shifts_at_once_agree_with_one_at_a_time(shifts):
    shifts.locator("#map-all").click()
    expect(shifts.locator("#map-finding .note")).to_contain_text("Circular twins")
    expect(shifts.locator("#map-finding tr:has(td) td").nth(4)).to_have_text(re.compile(r"^[\d.]+\s%$"))
    (at_once,) = json.loads(download(shifts, "#map-json").read_text())
    choose(shifts, "shift-boundary", "Wrap around")
    choose(shifts, "shift-padding", "Circular twin")
    expect(shifts.locator("#map-finding .empty")).to_be_visible()
    start_map(shifts)
    (one_by_one,) = json.loads(download(shifts, "#map-json").read_text())
    assert at_once["twin"] and one_by_one["twin"]
    for row, expected in zip(at_once["margin"], one_by_one["margin"], strict=True):
        assert row == pytest.approx(expected, abs=1e-3)


def test_a_long_map_grows_and_can_be_cancelled(visit):
    page = visit("tab=shift&dx=3&dy=0")
    expect(page.locator(FINDING)).to_contain_text("Shifted 3 px right: still tiger cat")
    open_drawer(page, "map")
    set_reach(page, 32)
    page.locator("#map-start").click()
    expect(page.locator(RESULT)).to_contain_text("of 4225 shifts so far")
    expect(page.locator("#map-plot .heatmaplayer image")).to_have_count(1)
    page.locator("#cancel").click()
    expect(page.get_by_test_id("toast-body").first).to_contain_text("Cancelled")
    set_reach(page, 1)
    start_map(page)
    expect(page.locator(RESULT)).to_contain_text("Up to 1 px in every direction, efficientnet_lite0 keeps")
