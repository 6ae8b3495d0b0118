"""The Shift tab, as a visitor uses it."""

import re

import pytest
from playwright.sync_api import Page, expect

from lab.session import Lab
from models.data.samples import get_sample, list_samples
from tests.browser.test_classify import choose
from tests.device import DEVICE

FINDING = "#shift-stage .finding"
CAPTION = "#shift-stage .caption"
FLIP = "#shift-stage [data-flip]"
DRAWERS = {
    "map": ("#map-start", "#map-plot .nsewdrag"),
    "meter": ("#meter-start", "#meter-plot .scatterlayer"),
    "check": ("#check-start", "#check-result .finding"),
}
"""Drawer of the tab -> what starts it, and what appears then."""
SOME_FRAMES = "async () => { for (let i = 0; i < 5; i += 1) await new Promise(requestAnimationFrame); }"


def open_small(visit, sample: str = "sneaker", rest: str = "dx=3&dy=0") -> Page:
    """Opens the Shift tab with the small network and a sample."""
    page = visit(f"tab=shift&model=fashion_cnn&sample={sample}&{rest}")
    expect(page.locator(FINDING)).to_contain_text(sample)
    expect(page.locator(CAPTION)).to_contain_text("shift consistency")
    return page


def open_drawer(page: Page, name: str) -> None:
    """Opens a drawer below the stage, and waits until gradio has given its controls the values they begin with."""
    page.locator(f"#shift-{name} > button, #shift-{name} .label-wrap").first.click()
    expect(page.locator(DRAWERS.get(name, ["#shift-network-layer"])[0])).to_be_visible()
    page.evaluate(SOME_FRAMES)


def choose_sample(page: Page, name: str) -> None:
    """Clicks a sample of the sidebar."""
    page.locator(f"#samples [data-name={name}]").click()


def drag(page: Page, dx: int, dy: int, side: int) -> None:
    """Drags the picture by so many of its pixels."""
    box = page.locator("#shift-stage .moved").bounding_box()
    scale = box["width"] / side
    start = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + dx * scale, start[1] + dy * scale, steps=4)
    page.mouse.up()


@pytest.fixture
def small(visit) -> Page:
    return open_small(visit)


def test_it_opens_where_the_class_changes(visit):
    page = visit("tab=shift")
    expect(page.locator(FINDING)).to_contain_text("tiger cat")
    expect(page.locator(FLIP)).to_be_disabled()  # a nearer change may be found as the map grows
    expect(page.locator(CAPTION)).to_contain_text("efficientnet_lite0 keeps tiger cat at")
    expect(page.locator(FINDING)).to_contain_text("tiger cat (39 % →")
    expect(page.locator(FINDING)).to_contain_text("becomes Egyptian cat")
    expect(page.locator("#shift-stage .bars li")).to_have_count(5)
    bottom = page.locator("#shift-stage .map-pair").bounding_box()
    assert bottom["y"] + bottom["height"] < 720
    page.locator(FLIP).click()
    expect(page.locator("#said")).to_contain_text("already")  # it is there, and says so


def test_the_same_sample_again_does_not_end_the_map_that_grows(visit):
    page = visit("tab=shift")
    expect(page.locator(FINDING)).to_contain_text("tiger cat")
    choose_sample(page, "chelsea")
    expect(page.locator(CAPTION)).to_contain_text("shift consistency")


def test_ten_cells_by_drag_say_what_the_command_line_says(small, tmp_path):
    """The picture is dragged over the map, which came once: no request, and the same digits."""
    lab = Lab(DEVICE, tmp_path, tmp_path)
    image = lab.open_image(str(get_sample("sneaker").path))
    asked = []
    small.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    at = [3, 0]
    for step in ((-2, 1), (-3, 2), (4, -5), (1, 1), (2, 2), (-1, 3), (-6, 0), (0, -4), (5, 1), (3, -1)):
        drag(small, *step, side=28)
        at = [place + part for place, part in zip(at, step, strict=True)]
        small.wait_for_function(f"document.querySelector('[data-at]').dataset.at === '{at[0]},{at[1]}'")
        result = lab.shift(image, "fashion_cnn", *at)
        rows = small.locator("#shift-stage .bars li")
        expect(rows.first.locator(".name")).to_have_text(result.after[0].category)
        shown = [text.rstrip(" %").lstrip("<") for text in rows.locator(".value").all_inner_texts()]
        for text, prediction in zip(shown, result.after, strict=True):
            assert float(text) == pytest.approx(100 * prediction.probability, abs=0.5 if float(text) >= 10 else 0.05)
        margin = re.search(r"→ ([+-][\d.]+)\.", small.locator(FINDING).inner_text().rpartition("margin")[2])
        assert float(margin[1]) == pytest.approx(result.margin_after, rel=0.06, abs=0.005)
        assert ("becomes" in small.locator(FINDING).inner_text()) == (not result.same_top1)
    assert asked == []


def test_sliders_arrow_keys_and_the_map_move_the_picture_without_a_request(small):
    asked = []
    small.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    slider = small.locator("#shift-dy input[type=range]")
    slider.focus()
    slider.press("ArrowRight")
    expect(small.locator(FINDING)).to_contain_text("Shifted 3 px right and 1 px down")
    small.locator("#shift-stage .moved").focus()
    for key, text in (
        ("ArrowLeft", "2 px right and 1 px down"),
        ("ArrowUp", "2 px right:"),
        ("Home", "Not shifted"),
        ("ArrowDown", "1 px down"),
    ):
        small.keyboard.press(key)
        expect(small.locator(FINDING)).to_contain_text(text)
    expect(small.locator("#shift-dy input[type=number]")).to_have_value("1")
    box = small.locator("#shift-stage .shades").bounding_box()
    small.mouse.click(box["x"] + 1, box["y"] + 1)
    expect(small.locator(FINDING)).to_contain_text("Shifted 7 px left and 7 px up")
    expect(small).to_have_url(re.compile("dx=-7&dy=-7"))
    assert asked == []


def test_beyond_the_map_and_between_pixels_the_server_answers(visit):
    page = open_small(visit, rest="dx=2&dy=0")
    reach = page.locator("#shift-reach input[type=number]")
    reach.fill("2")
    reach.press("Enter")
    expect(page.locator(CAPTION)).to_contain_text("Up to 2 px")
    drag(page, 3, 1, side=28)
    expect(page.locator(FINDING)).to_have_text(re.compile("Shifted 5 px right and 1 px down: .*sneaker"))
    expect(page.locator("#shift-stage .outside")).to_contain_text("reaches 2 px each way: set “Map reaches” to 5")
    expect(page.locator("#shift-stage [role=status]")).to_contain_text("beyond the map")
    choose(page, "shift-step", "1/4 px")
    expect(page.locator("#shift-dx input[type=range]")).to_have_attribute("step", "0.25")
    page.locator("#shift-stage .moved").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(FINDING)).to_have_text(re.compile("Shifted 5.25 px right and 1 px down: .*sneaker"))


def test_boundary_layer_and_example_can_be_chosen(visit):
    page = visit("tab=shift&dx=3&dy=0")
    expect(page.locator(FINDING)).to_contain_text("Shifted 3 px right: still tiger cat")
    choose(page, "shift-boundary", "Wrap around")
    expect(page.locator("#shift-stage .rules")).to_contain_text("comes back on the other")
    open_drawer(page, "features")
    expect(page.locator("#shift-maps figure img")).to_have_count(3)
    choose(page, "shift-network-layer", "blocks.0 ")
    expect(page.locator("#shift-maps .finding")).to_contain_text("Layer blocks.0")
    expect(page.locator("#shift-layers .js-plotly-plot .scatterlayer .point").first).to_be_visible()
    page.get_by_role("button", name="As far right as it goes").click()
    expect(page.locator(FINDING)).to_contain_text("Shifted 56 px right")
    choose(page, "model", "fashion_cnn")
    expect(page.locator(FINDING)).to_contain_text("Shifted 7 px right")
    for slider in ("dx", "reach"):
        expect(page.locator(f"#shift-{slider} input[type=range]")).to_have_attribute("max", "7")
    expect(page.locator(CAPTION)).to_contain_text("Up to 7 px each way (no further")
    expect(page.locator("#shift-maps .finding")).to_contain_text("features.")


def test_a_picture_says_how_far_its_real_surroundings_go(visit):
    page = visit("tab=shift&dx=0&dy=40&boundary=crop")
    expect(page.locator("#shift-stage .rules")).to_contain_text("dy from -16 to 16")
    expect(page.locator(FINDING)).to_contain_text("Shifted 16 px down")
    expect(page.locator("#shift-dy input[type=number]")).to_have_value("16")
    page = visit("tab=shift&sample=motorcycle&dx=70&dy=0&boundary=crop")  # further than what is invented would reach
    expect(page.locator(FINDING)).to_contain_text("Shifted 70 px right: ")
    _, high = re.search(r"dx can go from (-\d+) to (\d+)", page.locator("#shift-stage .rules").inner_text()).groups()
    expect(page.locator("#shift-dx input[type=range]")).to_have_attribute("max", high)
    page.locator("#shift-stage .moved").press("ArrowRight")
    expect(page.locator(FINDING)).to_have_text(re.compile(r"Shifted 71 px right: .*%"))


def test_the_circular_twin_is_called_another_network_and_a_link_restores_it(visit):
    page = open_small(visit, rest="dx=4&dy=0&boundary=circular&padding=circular")
    expect(page.locator("#shift-stage .rules")).to_contain_text("another network")
    # The total stride is 4 and nothing has a border: the logits stay, and so does the margin.
    expect(page.locator(FINDING)).to_have_text(re.compile(r"margin ([+-][\d.e-]+) → \1\.$"))
    expect(page).to_have_url(re.compile("dx=4.*padding=circular"))
    choose(page, "shift-padding", "As trained")
    expect(page.locator("#shift-stage .rules")).not_to_contain_text("another network")


def test_the_map_can_be_copied_with_its_caption(small, browser):
    with small.expect_download() as file:  # headless Chromium has no clipboard for pictures without being asked
        small.evaluate("() => { navigator.clipboard.write = () => Promise.reject(); }")
        small.locator("[data-copy]").click()
    assert file.value.suggested_filename == "shift-map-fashion_cnn.png"


def test_on_a_phone_no_part_is_wider_than_the_screen_and_the_picture_is_whole(page, visit):
    page.set_viewport_size({"width": 390, "height": 844})
    open_small(visit)
    sides = page.locator("#shift-stage canvas").evaluate_all("all => all.map(each => [each.width, each.height])")
    assert len(sides) == 3 and all(width == height for width, height in sides)
    for drawer, (button, result) in DRAWERS.items():
        open_drawer(page, drawer)
        page.locator(button).click()
        expect(page.locator(result)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_every_sample_has_a_name(small):
    names = small.locator("#samples button img").evaluate_all("all => all.map(image => image.alt)")
    assert names == [sample.title for sample in list_samples().values()]
