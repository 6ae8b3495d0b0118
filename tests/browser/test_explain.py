"""The Explain tab, as a visitor uses it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, expect

from analysis.attribution.methods import METHODS
from analysis.figures.overlay import render_overlay
from models.data.images import open_image
from models.data.samples import get_sample
from models.registry import Registry
from tests.browser.test_classify import choose

FINDING = "#explain-view .finding"
SET = """(field, value) => { field.value = value; field.dispatchEvent(new Event("input", {bubbles: true})); }"""
READ_CANVAS = """() => {
    const drawn = document.querySelector("#explain-view canvas"), small = new OffscreenCanvas(224, 224);
    const ink = small.getContext("2d");
    ink.imageSmoothingEnabled = false;
    ink.drawImage(drawn, 0, 0, 224, 224);
    return [...ink.getImageData(0, 0, 224, 224).data].filter((_, i) => i % 4 < 3);
}"""


@pytest.fixture
def explain(visit, page) -> Page:
    """The tab at rest: gradio also says that it was opened, which is answered with nothing."""
    with page.expect_request(lambda request: '"value":"Explain"' in (request.post_data or "")):
        visit("tab=explain")
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


def press(page: Page, method: str, button: str) -> None:
    """A button of the list of methods, whose group may be closed."""
    row = page.locator(f"#explain-methods [data-name={method}]")
    row.evaluate("(row) => { row.parentElement.open = true; }")
    row.locator(f".{button}").click()


def show_alone(page: Page, method: str) -> None:
    press(page, method, "only")


def show_as_well(page: Page, method: str) -> None:
    press(page, method, "more")


def set_look(page: Page, name: str, value: str) -> None:
    """How maps are drawn."""
    field = page.locator(f"#explain-looks [name={name}]")
    field.evaluate(SET, value)


def list_chosen(page: Page) -> list[str]:
    """The methods that stand out."""
    rows = page.locator("#explain-methods [data-name]:has([aria-pressed=true])")
    return rows.evaluate_all("(rows) => rows.map((row) => row.dataset.name)")


def list_maps(page: Page) -> list[str]:
    """What the maps of the grid are called."""
    return page.locator("#explain-view .map figcaption").evaluate_all(
        "(captions) => captions.map((caption) => caption.textContent.split('.')[0])"
    )


def test_every_method_runs_on_one_click_and_one_request(explain):
    choose(explain, "model", "fashion_cnn")
    expect(explain.locator(FINDING)).not_to_contain_text("tiger cat")
    for name, method in METHODS.items():
        if name == "attention_rollout":
            expect(explain.locator(f"#explain-methods [data-name={name}] .only")).to_be_disabled()
            continue
        with count_requests(explain) as asked:
            show_alone(explain, name)
            expect(explain.locator(FINDING)).to_contain_text(f"{method.title} for")
        assert list_chosen(explain) == [name]
        assert len(asked) == 1
        expect(explain.locator("#explain-view figure canvas")).to_have_count(2)


def test_opening_the_tab_is_one_request_and_its_finding_is_in_view(page, visit):
    page.set_viewport_size({"width": 1280, "height": 720})
    visit()
    expect(page.locator("#classify-result .finding")).to_contain_text("tiger cat")
    with count_requests(page) as asked:
        page.get_by_role("tab", name="Explain", exact=True).click()
        expect(page.locator(FINDING)).to_contain_text("Grad-CAM for tiger cat")
    assert len(asked) == 1
    for part in (FINDING, "#explain-view figure >> nth=0", "#explain-looks"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 720, part


def test_methods_classes_and_models_make_a_grid_that_is_in_view_and_can_be_taken_apart(page, visit):
    """Two classes by three methods, then a map less, then another model; one request each."""
    page.set_viewport_size({"width": 1280, "height": 720})
    maps = page.locator("#explain-view .map")
    with page.expect_request(lambda request: '"value":"Explain"' in (request.post_data or "")):
        visit("tab=explain&method=grad_cam,saliency&class=auto,second")
        expect(maps).to_have_count(4)
    with count_requests(page) as asked:
        show_as_well(page, "input_x_gradient")
        expect(maps).to_have_count(6)
    assert len(asked) == 1
    assert list_chosen(page) == ["saliency", "input_x_gradient", "grad_cam"]
    for i in range(6):
        box = maps.nth(i).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 720, i
    rows = {round(maps.nth(i).bounding_box()["y"]) for i in range(6)}
    assert len(rows) == 2
    assert list_maps(page)[:2] == ["Grad-CAM: tiger cat, 39 %, predicted", "Grad-CAM: Egyptian cat, 36 %"]
    expect(page).to_have_url(re.compile("method=grad_cam,saliency,input_x_gradient&class=auto,second"))
    with count_requests(page) as asked:
        maps.nth(1).locator(".remove").click()
        expect(maps).to_have_count(5)
    assert len(asked) == 1
    with count_requests(page) as asked:
        page.get_by_text("Show the map taken away").click()
        expect(maps).to_have_count(6)
    assert len(asked) == 1
    choose(page, "compare", "fashion_cnn")
    page.keyboard.press("Escape")
    expect(maps).to_have_count(12)
    expect(page.locator(FINDING)).to_have_text("12 maps: 3 methods, 2 classes, 2 models.")
    page.set_viewport_size({"width": 390, "height": 844})
    places = maps.evaluate_all("(maps) => maps.map((map) => Math.round(map.getBoundingClientRect().x))")
    assert len(set(places)) == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_another_class_can_be_explained_and_evidence_that_is_not_there_gives_a_message(explain):
    set_look(explain, "sign", "negative")
    expect(explain.locator(FINDING)).to_contain_text("No pixel speaks against this class")
    expect(explain.locator(FINDING)).to_have_class(re.compile(r"\bbad\b"))
    set_look(explain, "sign", "positive")
    with count_requests(explain) as asked:
        choose(explain, "explain-target", "Egyptian cat")
        expect(explain.locator(FINDING)).to_contain_text("2 maps: 1 method, 2 classes")
    assert len(asked) == 1
    with count_requests(explain) as asked:
        explain.locator("#explain-target .token-remove").first.click()
        expect(explain.locator(FINDING)).to_contain_text("Grad-CAM for Egyptian cat (36 %, not the predicted class)")
    assert len(asked) == 1


def test_what_the_browser_draws_is_what_python_draws(explain):
    """But for the line, and for a step of the numbers that are sent."""
    show_alone(explain, "saliency")
    expect(explain.locator(FINDING)).to_contain_text("Saliency")
    with explain.expect_download() as raw:
        explain.locator("#explain-npy").click()
    values = torch.from_numpy(np.load(raw.value.path(), allow_pickle=False))
    spec = Registry("runs").get("efficientnet_lite0")
    pixels = spec.preprocessing.to_pixels(open_image(get_sample("chelsea").path))
    set_look(explain, "share", "0")
    with count_requests(explain) as asked:
        for sign, colormap, opacity in (
            ("positive", "inferno", 0.5),
            ("absolute", "cividis", 1),
            ("signed", "bone", 0.25),
        ):
            for name, value in {"sign": sign, "colors": colormap, "opacity": str(opacity)}.items():
                set_look(explain, name, value)
            expected = render_overlay(pixels, values, opacity=opacity, colormap=colormap, sign=sign, contour_share=0)
            drawn = explain.evaluate(READ_CANVAS)
            assert np.abs(np.reshape(drawn, expected.shape) - expected.astype(int)).max() <= 4, sign
    assert asked == []
    expect(explain).to_have_url(re.compile("show=signed"))


def test_the_number_at_a_place_is_read_in_all_maps_and_by_keyboard(explain):
    show_as_well(explain, "input_x_gradient")
    maps = explain.locator("#explain-view .map .enlarge")
    expect(maps).to_have_count(2)
    with count_requests(explain) as asked:
        maps.nth(0).hover()
        for i in range(2):
            expect(maps.nth(i).locator(".value")).to_have_text(re.compile(r"^[+−\d.e]+ \(−?\d+ %\)$"))
        before = maps.nth(0).locator(".value").inner_text()
        maps.nth(0).press("ArrowLeft")
        expect(maps.nth(0).locator(".value")).not_to_have_text(before)
    assert asked == []


def test_the_maps_are_saved_with_their_captions_and_as_numbers(explain):
    show_alone(explain, "saliency")
    expect(explain.locator(FINDING)).to_contain_text("Saliency")
    with explain.expect_download() as raw:
        explain.locator("#explain-npy").click()
    assert raw.value.suggested_filename == "chelsea-efficientnet_lite0-saliency.npy"
    values = np.load(raw.value.path(), allow_pickle=False)
    assert values.shape == (3, 224, 224)
    assert values.min() < 0 < values.max()
    with count_requests(explain) as asked, explain.expect_download() as picture:
        explain.get_by_text("Save as a picture").click()
    assert asked == [] and picture.value.suggested_filename == "chelsea-efficientnet_lite0-saliency.png"
    width, height = Image.open(picture.value.path()).size
    assert width == 448 + 2 * 16 and height > width  # the caption is below
    with count_requests(explain) as asked, explain.expect_download() as vector:
        explain.get_by_text("Save as SVG").click()
    assert asked == [] and vector.value.suggested_filename == "chelsea-efficientnet_lite0-saliency.svg"
    assert "Saliency (plain gradient) for tiger cat" in " ".join(
        ElementTree.parse(vector.value.path()).getroot().itertext()
    )
    with explain.expect_download() as regions:
        explain.locator("#explain-csv").click()
    head, first, *_ = regions.value.path().read_text("utf-8-sig").splitlines()
    assert head.startswith("method,class,model,region,") and first.startswith(
        "saliency,tiger cat,efficientnet_lite0,1,"
    )
    show_as_well(explain, "grad_cam")
    expect(explain.locator("#explain-view .map")).to_have_count(2)
    with explain.expect_download() as raw:
        explain.locator("#explain-npy").click()
    assert raw.value.suggested_filename == "chelsea-efficientnet_lite0-saliency+grad_cam.npz"
    both = np.load(raw.value.path(), allow_pickle=False)
    assert np.array_equal(both["saliency-282-efficientnet_lite0"], values) and len(both.files) == 2


def test_methods_are_set_and_classes_compared_with_one_request_each(explain):
    settings = explain.locator("#explain-settings")
    choose(explain, "model", "fashion_cnn")
    show_alone(explain, "occlusion")
    expect(explain.locator(FINDING)).to_contain_text("Occlusion for")
    packed = explain.locator("#explain-view .packed")
    for part, value in (("The window", "12"), ("The stride", "3")):
        before = packed.get_attribute("data-packed")
        with count_requests(explain) as asked:
            settings.get_by_label(part).fill(value)
            settings.get_by_label(part).press("Tab")
            expect(packed).not_to_have_attribute("data-packed", before)
        assert len(asked) == 1
    expect(explain.locator("#explain-view .map figcaption")).to_have_attribute("data-said", re.compile("window 12"))
    expect(explain).to_have_url(re.compile("settings=occlusion.window%3A12,occlusion.stride%3A3"))
    with count_requests(explain) as asked:
        settings.get_by_label("Compared with").select_option("black")
        expect(explain.locator("#explain-view .map figcaption")).to_have_attribute("data-said", re.compile("black"))
    assert len(asked) == 1
    with count_requests(explain) as asked:
        choose(explain, "explain-versus", "Second guess")
        expect(explain.locator(FINDING)).to_contain_text("rather than")
    assert len(asked) == 1
    show_alone(explain, "grad_cam")
    expect(settings.get_by_label("The window")).to_have_count(0)
    expect(settings.get_by_label("Layer")).to_be_visible()


def test_a_map_is_enlarged_without_the_server(explain):
    show_as_well(explain, "saliency")
    small = explain.locator("#explain-view .map .enlarge").nth(1)
    with count_requests(explain) as asked:
        small.click()
        large = explain.locator("#explain-view dialog")
        expect(large.locator("p")).to_contain_text("Saliency (plain gradient): tiger cat, 39 %, predicted")
        assert large.locator("canvas").bounding_box()["width"] > 1.4 * small.bounding_box()["width"]
        explain.keyboard.press("Escape")
        expect(large).to_be_hidden()
    assert asked == []


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
    show_alone(explain, "occlusion")
    expect(explain.locator("#progress")).to_contain_text("Occlusion")
    choose(explain, "model", "fashion_cnn")
    expect(explain.locator(FINDING)).to_contain_text(" for ")
    expect(explain.locator(FINDING)).not_to_contain_text("tiger cat")
    show_alone(explain, "saliency")
    expect(explain.locator(FINDING)).to_contain_text("Saliency")
    expect(explain.locator("#progress")).not_to_contain_text("Occlusion")
    assert list_chosen(explain) == ["saliency"]


def test_a_long_method_can_be_cancelled_and_what_stands_out_is_what_is_shown(explain):
    show_alone(explain, "occlusion")
    expect(explain.locator("#progress")).to_contain_text("Occlusion")
    expect(explain.locator("#cancel")).to_have_attribute("title", "Cancel: Occlusion")
    explain.locator("#cancel").click()
    expect(explain.locator("#progress")).not_to_contain_text("Occlusion")
    expect(explain.locator("#cancel")).not_to_have_attribute("title", "Cancel: Occlusion")
    expect(explain.locator(FINDING)).to_contain_text("Grad-CAM for tiger cat")
    expect(explain.locator("#explain-methods [data-name=occlusion] .only")).to_have_attribute("aria-pressed", "false")
    assert list_chosen(explain) == ["grad_cam"]
    show_alone(explain, "saliency")
    expect(explain.locator(FINDING)).to_contain_text("Saliency")
    assert list_chosen(explain) == ["saliency"]


def test_what_is_done_stays_when_the_rest_is_cancelled_and_can_be_computed_later(explain):
    show_as_well(explain, "occlusion")
    expect(explain.locator("#progress")).to_contain_text("Occlusion")
    explain.locator("#cancel").click()
    expect(explain.locator("#explain-view .map")).to_have_count(2)
    expect(explain.locator("#explain-view .map .enlarge")).to_have_count(1)
    assert list_chosen(explain) == ["occlusion", "grad_cam"]
    explain.get_by_text("Compute it").click()
    expect(explain.locator("#explain-view .map .enlarge")).to_have_count(2, timeout=120_000)


def test_another_sign_asks_nothing_and_stays_with_the_next_map(explain):
    with count_requests(explain) as asked:
        set_look(explain, "sign", "signed")
        expect(explain.locator("#explain-view .bar.diverging")).to_be_visible()
        show_alone(explain, "saliency")  # were there another request, it would come before this one
        expect(explain.locator(FINDING)).to_contain_text("Saliency")
    assert len(asked) == 1
    expect(explain.locator("#explain-view .bar.diverging")).to_be_visible()


def test_a_tile_leads_to_its_channel_whose_number_and_data_can_be_changed(page, visit):
    visit("tab=explain")
    expect(page.locator(FINDING)).to_contain_text("Grad-CAM for tiger cat")
    choose(page, "model", "fashion_cnn")
    open_drawer(page, "Feature maps of a layer")
    tile = page.locator("#features-view .tiles button").nth(1)
    number = tile.inner_text()
    tile.click()
    page.locator("#features-view dialog").get_by_text("What does it look for?").click()
    finding, patches = page.locator("#channel-view .finding"), page.locator("#channel-patches figure")
    expect(finding).to_contain_text(f"channel {number}: set to zero")
    expect(patches).to_have_count(9)
    expect(page.locator("#channel-number input")).to_have_value(number)
    other = str((int(number) + 1) % 8)
    with count_requests(page) as asked:
        page.locator("#channel-number input").fill(other)
        expect(finding).to_contain_text(f"channel {other}: set to zero")
    assert len(asked) == 1
    with count_requests(page) as asked:
        choose(page, "channel-data", "Digits, 8 x 8 grey, enlarged to 32 x 32")
        expect(page.locator("#channel-patches")).to_contain_text("out of 270")
    assert len(asked) == 1
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
