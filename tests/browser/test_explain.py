"""The Explain tab, as a visitor uses it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from analysis.attribution.methods import METHODS
from tests.browser.test_classify import choose

FINDING = "#explain-view .finding"


@pytest.fixture
def explain(visit) -> Page:
    page = visit("tab=explain")
    expect(page.locator(FINDING)).to_contain_text("Grad-CAM for tiger cat")
    return page


@contextmanager
def count_requests(page: Page) -> Iterator[list[str]]:
    """What is asked of the server meanwhile."""
    asked: list[str] = []

    def note(request) -> None:
        if request.method == "POST":
            asked.append(request.url)

    page.on("request", note)
    yield asked
    page.remove_listener("request", note)


def open_drawer(page: Page, title: str) -> None:
    page.get_by_role("button", name=title).click()


def test_every_method_runs_on_one_click_and_one_request(explain):
    choose(explain, "model", "fashion_cnn")
    expect(explain.locator(FINDING)).not_to_contain_text("tiger cat")
    for name, method in METHODS.items():
        with count_requests(explain) as asked:
            explain.locator(f"#method-{name}").click()
            expect(explain.locator(FINDING)).to_contain_text(f"{method.title} for")
            expect(explain.locator(".methods .primary")).to_have_attribute("id", f"method-{name}")
        assert len(asked) == 1
        expect(explain.locator("#explain-view figure img")).to_have_count(3)


def test_opening_the_tab_is_one_request_and_its_finding_is_in_view(page, visit):
    page.set_viewport_size({"width": 1280, "height": 720})
    visit()
    expect(page.locator("#classify-result .finding")).to_contain_text("tiger cat")
    with count_requests(page) as asked:
        page.get_by_role("tab", name="Explain", exact=True).click()
        expect(page.locator(FINDING)).to_contain_text("Grad-CAM for tiger cat")
    assert len(asked) == 1
    for part in (FINDING, "#explain-view figure >> nth=0", "#explain-colors"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 720, part


def test_another_class_can_be_explained_and_evidence_that_is_not_there_gives_a_message(explain):
    choose(explain, "explain-sign", "Against the class")
    expect(explain.locator(FINDING)).to_contain_text("No pixel speaks against this class")
    choose(explain, "explain-sign", "For the class")
    choose(explain, "explain-target", "Egyptian cat")
    expect(explain.locator(FINDING)).to_contain_text("Grad-CAM for Egyptian cat (36 %, not the predicted class)")


def test_overlay_and_signed_map_can_be_downloaded(explain):
    explain.locator("#method-saliency").click()
    expect(explain.locator(FINDING)).to_contain_text("Saliency")
    with explain.expect_download() as picture:
        explain.locator("#explain-png").click()
    assert Image.open(picture.value.path()).size == (448, 448)
    with explain.expect_download() as raw:
        explain.locator("#explain-npy").click()
    values = np.load(raw.value.path(), allow_pickle=False)
    assert values.shape == (3, 224, 224)
    assert values.min() < 0 < values.max()


def test_feature_maps_and_first_filters_are_shown_and_follow_the_model(explain):
    open_drawer(explain, "Filters of the first layer")
    expect(explain.locator("#filters-view .tiles button")).to_have_count(32)
    open_drawer(explain, "Feature maps of a layer")
    expect(explain.locator("#features-view .tiles button")).to_have_count(48)
    expect(explain.locator("#features-view .finding")).to_contain_text("672 x 14 x 14")
    choose(explain, "model", "fashion_cnn")
    expect(explain.locator("#features-view .finding")).to_contain_text("x 14 x 14")
    expect(explain.locator("#features-view .finding")).not_to_contain_text("672")


def test_a_layer_is_chosen_in_the_network_with_one_request_and_pages_end(explain):
    open_drawer(explain, "Feature maps of a layer")
    finding, page_number = explain.locator("#features-view .finding"), explain.locator("#features-page input")
    expect(finding).to_contain_text("672 x 14 x 14. Channels 1 to 48 by strength")
    page_number.fill("99")
    expect(finding).to_contain_text("Channels 625 to 672")
    expect(page_number).to_have_value("14")
    with count_requests(explain) as asked:
        explain.locator('#features [data-layer="conv_stem"]').click()
        expect(finding).to_contain_text("conv_stem: 32 x 112 x 112. Channels 1 to 32")
    assert len(asked) == 1
    expect(explain.locator("#features-layer input")).to_have_value("conv_stem")
    expect(page_number).to_have_count(0)


def test_a_tile_is_enlarged_and_closed_without_the_server(explain):
    open_drawer(explain, "Feature maps of a layer")
    tile = explain.locator("#features-view .tiles button").nth(2)
    number = tile.inner_text()
    with count_requests(explain) as asked:
        tile.click()
        large = explain.locator("#features-view dialog")
        expect(large.locator("p")).to_have_text(f"Channel {number}")
        assert large.locator("img").bounding_box()["width"] > 4 * tile.bounding_box()["width"]
        explain.keyboard.press("Escape")
        expect(large).to_be_hidden()
        open_drawer(explain, "Feature maps of a layer")
        expect(tile).to_be_hidden()
    assert asked == []


def test_a_late_result_of_the_old_model_does_not_replace_the_new_one(explain):
    explain.locator("#method-occlusion").click()
    expect(explain.locator("#progress")).to_contain_text("Occlusion")
    choose(explain, "model", "fashion_cnn")
    expect(explain.locator(FINDING)).to_contain_text(" for ")
    expect(explain.locator(FINDING)).not_to_contain_text("tiger cat")
    explain.locator("#method-saliency").click()
    expect(explain.locator(FINDING)).to_contain_text("Saliency")
    expect(explain.locator("#progress")).not_to_contain_text("Occlusion")
    expect(explain.locator(".methods .primary")).to_have_attribute("id", "method-saliency")


def test_a_long_method_can_be_cancelled_and_what_stands_out_is_what_is_shown(explain):
    explain.locator("#method-occlusion").click()
    expect(explain.locator("#progress")).to_contain_text("Occlusion")
    explain.locator("#cancel").click()
    expect(explain.get_by_test_id("toast-body").first).to_contain_text("Cancelled")
    expect(explain.locator(FINDING)).to_contain_text("Grad-CAM for tiger cat")
    expect(explain.locator(".methods .primary")).to_have_attribute("id", "method-grad_cam")
    explain.locator("#method-saliency").click()
    expect(explain.locator(FINDING)).to_contain_text("Saliency")
    expect(explain.locator(".methods .primary")).to_have_attribute("id", "method-saliency")


def test_a_choice_in_a_list_is_one_request(explain):
    with count_requests(explain) as asked:
        explain.locator("#explain-sign input").click()
        explain.get_by_role("option", name="Both signs").click()
        expect(explain.locator("#explain-view .bar.diverging")).to_be_visible()
        explain.locator("#method-saliency").click()  # were there another request, it would come before this one
        expect(explain.locator(FINDING)).to_contain_text("Saliency")
    assert len(asked) == 2
