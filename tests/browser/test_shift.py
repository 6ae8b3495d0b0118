"""The Shift tab, as a visitor uses it."""

import re

import pytest
from playwright.sync_api import Page, expect

from models.data.samples import list_samples
from tests.browser.test_classify import choose

FINDING = "#shift-view .finding"
STARTS = {
    "All shifts": ("#map-start", "#map-plot .nsewdrag"),
    "Layers": ("#meter-start", "#meter-plot .scatterlayer"),
    "Self-check": ("#check-start", "#check-result .finding"),
}
"""Part of the tab -> what starts it, and what appears then."""


def open_small(visit, sample: str = "sneaker") -> Page:
    """Opens the Shift tab with the small network and a sample."""
    page = visit(f"tab=shift&model=fashion_cnn&sample={sample}")
    expect(page.locator(FINDING)).to_contain_text(sample)
    expect(page.locator("#shift-maps .finding")).to_contain_text("relative error")
    return page


def choose_sample(page: Page, name: str) -> None:
    """Clicks a sample of the sidebar."""
    page.locator("#samples button").nth(list(list_samples()).index(name)).click()


@pytest.fixture
def shift(first_page: Page) -> Page:
    first_page.get_by_role("tab", name="Shift", exact=True).click()
    expect(first_page.locator(FINDING)).to_contain_text("Shifted 3 px right: still tiger cat")
    return first_page


def test_both_pictures_predictions_maps_and_a_chart_of_every_layer_are_shown(shift):
    expect(shift.locator("#shift-view figure img")).to_have_count(2)
    expect(shift.locator("#shift-view .bars")).to_have_count(2)
    expect(shift.locator("#shift-maps figure img")).to_have_count(3)
    expect(shift.locator("#shift-maps .scale")).to_have_count(1)
    expect(shift.locator("#shift-maps .finding")).to_contain_text("relative error")
    shift.get_by_text("Error at every layer").click()
    expect(shift.locator("#shift-layers .js-plotly-plot .scatterlayer .point").first).to_be_visible()


def test_slider_buttons_and_arrow_keys_move_the_picture(shift):
    slider = shift.locator("#shift-dy input[type=range]")
    slider.focus()
    slider.press("ArrowRight")  # the slider is released
    expect(shift.locator(FINDING)).to_contain_text("Shifted 3 px right and 1 px down")
    shift.locator("#nudge-left").click()
    expect(shift.locator(FINDING)).to_contain_text("Shifted 2 px right and 1 px down")
    shift.locator("#nudge-up").click()
    expect(shift.locator(FINDING)).to_contain_text("Shifted 2 px right:")
    shift.locator("#nudge-zero").click()
    expect(shift.locator(FINDING)).to_contain_text("Not shifted")
    shift.locator("#shift-view [role=group]").focus()
    for key, text in (
        ("ArrowRight", "1 px right"),
        ("ArrowDown", "1 px right and 1 px down"),
        ("ArrowLeft", "1 px "),
    ):
        shift.keyboard.press(key)
        expect(shift.locator(FINDING)).to_contain_text(f"Shifted {text}")


def test_boundary_and_layer_can_be_chosen_and_a_boundary_says_how_far_it_can_go(shift):
    choose(shift, "shift-boundary", "Wrap around")
    expect(shift.locator("#shift-view .note")).to_contain_text("comes back on the other")
    choose(shift, "shift-layer", "blocks.0 ")
    expect(shift.locator("#shift-maps .finding")).to_contain_text("Layer blocks.0")
    choose(shift, "shift-boundary", "Real surroundings")
    slider = shift.locator("#shift-dy input[type=number]")
    slider.fill("40")
    slider.press("Enter")
    expect(shift.get_by_test_id("toast-body").first).to_contain_text("dy from -16 to 16")


def test_an_example_runs_on_the_first_click_within_the_limits_of_the_model(shift):
    shift.get_by_role("button", name="As far right as it goes").click()
    expect(shift.locator(FINDING)).to_contain_text("Shifted 56 px right")
    choose(shift, "model", "fashion_cnn")
    expect(shift.locator(FINDING)).to_contain_text("Shifted 7 px right")
    expect(shift.locator("#shift-dx input[type=range]")).to_have_attribute("max", "7")
    expect(shift.locator("#shift-maps .finding")).to_contain_text("features.")
    shift.get_by_role("button", name="1 px down").click()
    expect(shift.locator(FINDING)).to_contain_text("Shifted 1 px down")
    shift.get_by_role("button", name="As far right as it goes").click()
    expect(shift.locator(FINDING)).to_contain_text("Shifted 7 px right")


@pytest.fixture
def small(visit) -> Page:
    return open_small(visit)


def test_the_ends_of_the_sliders_follow_a_link(visit):
    page = visit("tab=shift&model=fashion_cnn")
    for slider in ("#shift-dx", "#shift-dy"):
        expect(page.locator(f"{slider} input[type=range]")).to_have_attribute("max", "7")
    expect(page.locator(FINDING)).to_contain_text("Shifted 3 px right")
    expect(page.get_by_test_id("toast-body")).to_have_count(0)


def test_a_step_of_a_quarter_moves_the_picture_by_a_quarter(small):
    expect(small.locator(FINDING)).to_contain_text("Shifted 3 px right")
    shifted = small.locator("#shift-view figure img").nth(1)
    before = shifted.get_attribute("src")
    choose(small, "shift-step", "1/4 px")
    expect(small.locator("#shift-dx input[type=range]")).to_have_attribute("step", "0.25")
    small.locator("#nudge-right").click()
    expect(small.locator(FINDING)).to_contain_text("Shifted 3.25 px right")
    assert shifted.get_attribute("src") != before
    slider = small.locator("#shift-dy input[type=range]")
    slider.focus()
    slider.press("ArrowLeft")
    expect(small.locator(FINDING)).to_contain_text("Shifted 3.25 px right and 0.25 px up")
    small.locator("#shift-view [role=group]").focus()
    small.keyboard.press("ArrowLeft")
    expect(small.locator(FINDING)).to_contain_text("Shifted 3 px right and 0.25 px up")


def test_the_margin_says_how_close_a_change_is_and_the_circular_twin_is_called_another_network(small):
    expect(small.locator(FINDING)).to_have_text(re.compile(r"margin \+[\d.]+ → [+-][\d.]+\.$"))
    expect(small.locator("#shift-view .note")).not_to_contain_text("twin")
    choose(small, "shift-padding", "Circular twin")
    expect(small.locator("#shift-view .note")).to_contain_text(
        re.compile(r"another network: without a shift it says [\w/ -]+, [\d.]+ %")
    )


def test_a_link_restores_the_circular_twin(visit):
    page = visit("tab=shift&model=fashion_cnn&dx=4&boundary=circular&padding=circular")
    expect(page.locator("#shift-view .note")).to_contain_text("circular twin")
    # The total stride is 4 and nothing has a border: the logits stay, and so does the margin.
    expect(page.locator(FINDING)).to_have_text(re.compile(r"margin ([+-][\d.e-]+) → \1\.$"))
    page.locator("#copy-link").click()
    expect(page).to_have_url(re.compile("dx=4.*padding=circular"))


def test_on_a_phone_no_part_is_wider_than_the_screen(page, visit):
    page.set_viewport_size({"width": 390, "height": 844})
    visit("tab=shift&model=fashion_cnn")
    expect(page.locator("#shift-maps .finding")).to_contain_text("relative error")
    for part, (button, result) in STARTS.items():
        page.get_by_role("tab", name=part, exact=True).click()
        page.locator(button).click()
        expect(page.locator(result)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
