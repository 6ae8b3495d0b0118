"""The receptive field of a unit, moved by hand over the picture."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from analysis.network.receptive_field import find_window
from lab.learning.receptive_field import list_map_layers, measure_field
from lab.session import Lab

LAYER = "features.1.conv"


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    return Lab(device="cpu", runs_root=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def bench(visit) -> Page:
    query = f"tab=learn&bench=receptive_field&model=fashion_cnn&sample=bag&seen_by={LAYER}&unit=3,4"
    page = visit(query)
    expect(page.locator(".field-panels svg")).to_have_count(2)
    return page


def read_frame(page: Page) -> tuple[float, ...]:
    frame = page.locator(".field-panels figure").first.locator(".window").last
    return tuple(float(frame.get_attribute(name) or "nan") for name in ("y", "x", "height", "width"))


def test_the_frame_follows_at_once_and_the_rest_is_measured_once(bench, lab):
    layer = next(each for each in list_map_layers(lab, "fashion_cnn") if each.name == LAYER)
    requests = []

    def note(request) -> None:
        if request.method == "POST" and '"value":"Learn"' not in (request.post_data or ""):  # gradio's, of the tab
            requests.append(request.url)

    bench.on("request", note)

    def check(row: int, column: int) -> None:
        window = find_window(layer, (row, column))
        side = layer.receptive_field
        assert read_frame(bench) == (window.top, window.left, side, side)

    def measure(row: int, column: int) -> str:
        field = measure_field(lab, lab.open_image("bag"), "fashion_cnn", LAYER, (row, column))
        return f"{field.effective:.3g} a side"

    said = bench.locator("#bench-receptive_field .finding")
    check(3, 4)
    expect(said).to_contain_text(measure(3, 4))
    bench.locator(".field-panels svg").first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        bench.keyboard.press(key)
    check(4, 6)
    expect(said).to_contain_text(f"row 4, column 6 of {LAYER} can see {layer.receptive_field} pixels a side")
    expect(said).to_contain_text(measure(4, 6))
    assert len(requests) == 1 and bench.evaluate("document.activeElement.matches('.field-panels svg')")
    bench.locator("#field-cover").click()
    expect(bench.locator(".field-panels")).to_contain_text("It misses when covered")
    problems = Axe().run(bench, context="#learn-receptive_field").response["violations"]
    assert not [(each["id"], [node["target"] for node in each["nodes"]]) for each in problems]
