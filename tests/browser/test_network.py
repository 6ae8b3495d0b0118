"""A layer is chosen in the picture of a network: by pointer, by keyboard, in the list, on a narrow screen."""

from collections.abc import Iterator

import gradio as gr
import pytest
import torch
from playwright.sync_api import Page, expect
from torch import nn
from torchvision import models as zoo

from analysis.network.layers import list_layers
from ui.page import launch_options
from ui.visitors import Visitors
from ui.widgets.network import build_network_picture

HOSTILE = """<b>${alert(1)}{{x}}"'"""
_CONTRASTS = """() => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const measure = (node) => {
        canvas.fillStyle = getComputedStyle(node).fill;
        canvas.fillRect(0, 0, 1, 1);
        const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((level) => level / 255);
        const [r, g, b] = parts.map((level) => level <= 0.04045 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    return [...document.querySelectorAll("[data-layer]")].map((node) => {
        const pair = [node.querySelector("rect"), node.querySelector("text")].map(measure);
        return Math.max(...pair) / Math.min(...pair);
    });
}"""
_OVERLAPS = """() => [...document.querySelectorAll(".network svg")].flatMap((svg) => {
    const nodes = [...svg.querySelectorAll("[data-layer] rect, .size text")];
    const seen = nodes.map((node) => node.getBoundingClientRect()).filter((each) => each.width);
    return seen.flatMap((a, i) => seen.slice(i + 1).filter((b) => a.left < b.right - 1 && b.left < a.right - 1
        && a.top < b.bottom - 1 && b.top < a.bottom - 1));
}).length"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a page with the picture of a ResNet alone."""
    network = zoo.resnet18(weights=None, num_classes=4)
    network.fc.add_module(HOSTILE, nn.Identity())
    network.fc.forward = lambda x: getattr(network.fc, HOSTILE)(nn.Linear.forward(network.fc, x))
    layers = list_layers(network.eval(), torch.zeros(1, 3, 64, 64))
    with gr.Blocks() as blocks:
        picture, heard = build_network_picture(), gr.Textbox(label="Heard", elem_id="heard")
        picture.on_choice(fn=lambda layer: f"chosen {layer}", inputs=picture.layer, outputs=heard)
        blocks.load(lambda: picture.show(layers, "layer2.0", (3, 64, 64)), None, [picture.drawing, picture.layer])
    options = launch_options(Visitors(b"")) | {"app_kwargs": None}
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **options)
    yield url
    blocks.close()


@pytest.fixture
def drawing(page: Page, address: str) -> Page:
    page.goto(address)
    expect(page.locator(".strip:visible")).to_have_count(3)
    return page


def see_chosen(page: Page, layer: str) -> None:
    expect(page.locator("#heard textarea")).to_have_value(f"chosen {layer}")
    expect(page.locator("g[aria-selected=true]")).to_have_attribute("data-layer", layer)
    expect(page.locator("#network-layer input")).to_have_value(layer)


def test_a_click_chooses_a_layer_and_opens_its_inside(drawing):
    expect(drawing.locator("g[aria-selected=true]")).to_have_attribute("data-layer", "layer2.0")
    drawing.locator('[data-layer="layer3"]').click()
    see_chosen(drawing, "layer3")
    expect(drawing.locator(".strip:visible")).to_have_count(2)
    drawing.locator('[data-layer="layer1"]').hover()
    expect(drawing.locator(".said")).to_contain_text("Each cell sees 43 × 43 px, one cell per 4 px")
    drawing.get_by_role("button", name="Close").click()
    expect(drawing.locator(".strip:visible")).to_have_count(1)
    drawing.locator('[data-layer="fc"]').click(force=True)
    expect(drawing.locator(".said")).to_contain_text("no feature map")
    see_chosen(drawing, "layer3")
    assert drawing.evaluate("document.querySelectorAll('.network b').length") == 0
    assert drawing.locator("[data-layer]").last.get_attribute("data-layer") == f"fc.{HOSTILE}"


def test_the_arrow_keys_go_along_and_inside(drawing):
    drawing.locator('[data-layer="layer1"]').focus()
    drawing.keyboard.press("ArrowRight")
    drawing.keyboard.press("ArrowDown")
    drawing.keyboard.press("ArrowRight")
    drawing.keyboard.press("Enter")
    see_chosen(drawing, "layer2.1")
    drawing.keyboard.press("ArrowDown")
    drawing.keyboard.press("End")
    drawing.keyboard.press(" ")
    see_chosen(drawing, "layer2.1.relu#2")
    drawing.keyboard.press("ArrowUp")
    expect(drawing.locator('[data-layer="layer2.1"]')).to_be_focused()
    drawing.keyboard.press("Home")
    expect(drawing.locator('[data-layer="layer2.0"]')).to_be_focused()


def test_the_list_marks_its_choice_in_the_drawing(drawing):
    drawing.locator("#network-layer input").fill("layer4.1.conv2")
    drawing.keyboard.press("Enter")
    see_chosen(drawing, "layer4.1.conv2")
    expect(drawing.locator(".strip:visible").last).to_have_attribute("data-inside", "layer4.1")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_legible_on_every_page(drawing, address, theme, width):
    drawing.set_viewport_size({"width": width, "height": 800})
    drawing.goto(f"{address}?__theme={theme}")
    expect(drawing.locator(".strip:visible")).to_have_count(3)
    expect(drawing.locator("svg.turned:visible")).to_have_count(3 if width < 560 else 0)
    assert min(drawing.evaluate(_CONTRASTS)) >= 4.5
    assert drawing.evaluate(_OVERLAPS) == 0
    assert drawing.evaluate("document.documentElement.scrollWidth") == width
