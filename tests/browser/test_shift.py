"""The Shift tab, as a visitor uses it."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_classify import choose


@pytest.fixture
def shift(open_tab) -> Page:
    page = open_tab("Shift")
    expect(page.locator("#shift-view .finding")).to_contain_text("Shifted 3 px right: still tiger cat")
    return page


def test_both_pictures_predictions_and_maps_are_shown(shift):
    expect(shift.locator("#shift-view figure img")).to_have_count(2)
    expect(shift.locator("#shift-view .bars")).to_have_count(2)
    expect(shift.locator("#shift-maps figure img")).to_have_count(3)
    expect(shift.locator("#shift-maps .scale")).to_have_count(1)
    expect(shift.locator("#shift-maps .finding")).to_contain_text("relative error")


def test_the_slider_moves_the_picture_when_it_is_released(shift):
    slider = shift.locator("#shift-dy input[type=range]")
    slider.focus()
    slider.press("ArrowRight")
    expect(shift.locator("#shift-view .finding")).to_contain_text("Shifted 3 px right and 1 px down")


def test_buttons_move_by_one_pixel(shift):
    shift.locator("#nudge-left").click()
    expect(shift.locator("#shift-view .finding")).to_contain_text("Shifted 2 px right")
    shift.locator("#nudge-up").click()
    expect(shift.locator("#shift-view .finding")).to_contain_text("Shifted 2 px right and 1 px up")
    shift.locator("#nudge-zero").click()
    expect(shift.locator("#shift-view .finding")).to_contain_text("Not shifted")


def test_arrow_keys_move_the_focused_view(shift):
    shift.locator("#shift-view [role=group]").focus()
    for key, text in (("ArrowRight", "4 px right"), ("ArrowDown", "4 px right and 1 px down"), ("ArrowLeft", "3 px")):
        shift.keyboard.press(key)
        expect(shift.locator("#shift-view .finding")).to_contain_text(f"Shifted {text}")


def test_boundary_and_layer_can_be_chosen(shift):
    choose(shift, "shift-boundary", "Wrap around")
    expect(shift.locator("#shift-view .note")).to_contain_text("comes back on the other")
    choose(shift, "shift-layer", "blocks.0 ")
    expect(shift.locator("#shift-maps .finding")).to_contain_text("Layer blocks.0")


def test_an_example_runs_on_the_first_click(shift):
    shift.get_by_role("button", name="As far right as it goes").click()
    expect(shift.locator("#shift-view .finding")).to_contain_text("Shifted 56 px right")
    choose(shift, "model", "fashion_cnn")
    expect(shift.locator("#shift-view .finding")).to_contain_text("Shifted 7 px right")
    shift.get_by_role("button", name="1 px down").click()
    expect(shift.locator("#shift-view .finding")).to_contain_text("Shifted 1 px down")
    shift.get_by_role("button", name="As far right as it goes").click()
    expect(shift.locator("#shift-view .finding")).to_contain_text("Shifted 7 px right")


def test_the_chart_has_every_layer(shift):
    shift.get_by_text("Error at every layer").click()
    expect(shift.locator("#shift-layers .js-plotly-plot .scatterlayer .point").first).to_be_visible()


def test_a_shift_without_surroundings_says_how_far_it_can_go(shift):
    choose(shift, "shift-boundary", "Real surroundings")
    slider = shift.locator("#shift-dy input[type=number]")
    slider.fill("40")
    slider.press("Enter")
    expect(shift.get_by_test_id("toast-body").first).to_contain_text("dy from -16 to 16")


def test_another_model_brings_its_own_limits(shift):
    choose(shift, "model", "fashion_cnn")
    expect(shift.locator("#shift-dx input[type=range]")).to_have_attribute("max", "7")
    expect(shift.locator("#shift-maps .finding")).to_contain_text("features.")
