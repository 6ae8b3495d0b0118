"""The Learn tab, as a student uses it; what the browser computes is what the analysis computes."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from playwright.sync_api import Page, Request, expect

from analysis.convolution.associativity import compare_orders
from analysis.convolution.convolve import Convolution, convolve, look_at
from analysis.convolution.kernels import KERNELS
from analysis.convolution.pooling import POOLINGS, pool_shifted, pool_sum
from lab.learning.kernels import list_kernels, read_kernel
from lab.session import Lab
from models.data.samples import get_sample
from tests.browser.test_accessibility import find_faults
from tests.device import DEVICE

PLANES = torch.from_numpy(np.random.default_rng(3).integers(-9, 10, (2, 7, 6))).double()
CASES = [
    {"stride": 2, "padding": 1},
    {"stride": 2, "padding": 3, "padding_mode": "reflect", "dilation": 2},
    {"padding": 2, "padding_mode": "circular", "flip": True},
    {"padding": 4, "padding_mode": "replicate", "stride": 3},
    {"groups": 2, "filters": 4, "bias": 3},
    {"groups": 2, "stride": 2, "padding": 1, "dilation": 2, "transposed": True},
]
"""Settings of the bench, of which the second filter is looked at."""
USUAL = {"stride": 1, "padding": 0, "padding_mode": "zeros", "dilation": 1, "groups": 1, "transposed": False}
USUAL |= {"flip": False, "filters": 2, "bias": 0}


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    return Lab(DEVICE, tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("data"))


def open_bench(visit, name: str):
    page = visit(f"tab=learn&bench={name}&model=fashion_cnn&sample=chelsea")
    bench = page.locator(f"#bench-{name}")
    expect(bench.locator(".finding")).not_to_be_empty()
    return bench


def read_table(bench, caption: str) -> torch.Tensor:
    """The numbers of a table, by the beginning of its caption."""
    rows = bench.locator("table", has=bench.page.locator("caption", has_text=caption)).first.locator("tr").all()
    cells = [[float(text.replace("−", "-")) for text in row.locator("td").all_inner_texts()] for row in rows]
    return torch.tensor(cells, dtype=torch.float64)


def list_posts(page: Page) -> list[dict]:
    """The events that the page asks about from now on, but that the tab was opened, which gradio may say late."""
    asked: list[dict] = []

    def note(request: Request) -> None:
        event = json.loads(request.post_data or "{}").get("event_data") or {}
        if request.method == "POST" and event.get("value") != "Learn":
            asked.append(event)

    page.on("request", note)
    return asked


def choose(bench, settings: dict) -> None:
    for name, value in settings.items():
        control = bench.locator(f"[name={ {'padding_mode': 'mode'}.get(name, name) }]")
        if name == "transposed":
            control.set_checked(value)
        elif name in ("flip", "padding_mode"):
            control.select_option("yes" if value is True else value or "")
        else:
            control.fill(str(value))


def test_steps_a_click_and_the_arrow_keys_say_how_each_number_came_about(visit):
    bench = open_bench(visit, "convolution")
    finding, canvas = bench.locator(".finding"), bench.locator("canvas.output")
    asked = list_posts(bench.page)
    bench.get_by_role("button", name="Edge, 6 x 6").click()
    expect(finding).to_contain_text("Row 1, column 2 of 4 x 4: 9 products add up to 30.")
    assert read_table(bench, "Products").tolist() == [[10, 0, 0]] * 3
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.9, "y": box["height"] * 0.6})  # column 4, row 3
    expect(finding).to_contain_text("Row 3, column 4 of 4 x 4: 9 products add up to 0.")
    canvas.press("ArrowLeft")
    expect(finding).to_contain_text("Row 3, column 3 of 4 x 4: 9 products add up to 30.")
    bench.get_by_role("button", name="Stride, 7 x 7").click()
    expect(finding).to_contain_text("add up to 15.")
    bench.get_by_role("button", name="Step").last.click()
    expect(finding).to_contain_text("Row 1, column 2 of 3 x 3: 9 products add up to 17.")
    expect(bench.locator("pre")).to_have_text("nn.Conv2d(1, 1, kernel_size=3, stride=2)")
    bench.get_by_role("button", name="Play").click()
    expect(finding).to_contain_text("Row 1, column 3")
    bench.get_by_role("button", name="Pause").click()
    bench.locator("[data-cell='0']").fill("5")  # of the kernel
    expect(finding).to_contain_text("add up to 18.")  # 15 + 3 * 1
    bench.get_by_role("button", name="10, padded").click()
    expect(bench.locator(".formula")).to_contain_text("10*(5*5*3 + 1) = 760 parameters")
    expect(bench.locator(".formula")).to_contain_text("32 x 32 x 10")
    assert asked == []


def test_it_computes_what_the_analysis_computes(visit):
    bench = open_bench(visit, "convolution")
    bench.locator("[name=source]").select_option("grid")
    bench.locator(".typed summary").click()
    text = "\n\n".join("\n".join(" ".join(f"{value:.0f}" for value in row) for row in plane) for plane in PLANES)
    bench.locator("[name=numbers]").fill(text)
    names = [name for name, kernel in KERNELS.items() if kernel.rule == "sum"]
    first = names.index("vertical_edges")
    for case in CASES:
        settings = USUAL | case
        choose(bench, USUAL | {"filters": settings["filters"]})
        bench.locator(".output-planes button").nth(1).click()
        choose(bench, case)
        number = settings.pop("filters")
        bias = torch.tensor([0.0, settings.pop("bias")] + [0.0] * (number - 2))
        filters = [KERNELS[names[(first + f) % len(names)]].weights for f in range(number)]
        kernel = torch.stack(
            [each.expand(2 // settings["groups"], 3, 3) for each in filters]
        )  # (F, C / groups, 3, 3)
        if settings["transposed"]:  # of one channel in each group, so both orders of its axes are the same
            assert kernel.shape == (2, 1, 3, 3)
        expected = convolve(Convolution(kernel, bias=bias, **settings), PLANES)
        found = read_table(bench, "Output, filter 2")
        torch.testing.assert_close(found, expected.output[1], rtol=1e-6, atol=1e-6)
        expect(bench.locator(".formula")).to_contain_text(expected.slides[0].formula)
        expect(bench.locator("pre")).to_have_text(expected.code)
        if not settings["transposed"]:
            cell = look_at(Convolution(kernel, bias=bias, **settings), PLANES, (0, 0), 1)
            assert float(bench.locator(".sum strong").inner_text().replace("−", "-")) == pytest.approx(
                cell.value, rel=1e-5
            )
            unseen = int(expected.unseen.sum())
            expect(bench.locator(".finding")).to_contain_text(
                f"{unseen} of 42 input cells" if unseen else "add up to"
            )


def test_only_true_convolution_is_associative(visit):
    bench = open_bench(visit, "convolution")
    bench.get_by_role("button", name="Stride, 7 x 7").click()
    bench.locator(".both summary").click()
    expect(bench.locator(".both p")).to_have_text("They differ in 9 of 9 cells, by up to 4.")
    grid = torch.tensor([[(column - row) % 4 for column in range(1, 8)] for row in range(7)])
    kernel = torch.tensor([[2.0, 0, 1], [0, 1, 2], [1, 0, 2]])
    found = compare_orders(grid, kernel, KERNELS["vertical_edges"].weights, flip=False)
    rows = bench.locator(".both table tr")
    expect(rows).to_have_text([f"Cross-correlation{found.difference:g}", "Convolution0: the same"])


def test_a_signal_a_stack_and_a_median(visit):
    bench = open_bench(visit, "convolution")
    bench.locator(".typed summary").click()
    bench.locator("[name=source]").select_option("signal")
    signal = read_table(bench, "Input")
    for name, edges in ((None, [1.0, 0, -1]), ("vertical_edges", [3.0, 0, -3])):  # the sum over the kernel's rows
        if name:
            bench.locator("[name=kernel]").select_option(name)
        expected = convolve(Convolution(torch.tensor([[edges]])), signal).output
        assert read_table(bench, "Output").tolist() == expected.tolist()
    bench.locator("[name=source]").select_option("stack")
    expect(bench.locator(".finding")).to_contain_text("of 3 x 4 x 6: 27 products")
    kernel = torch.zeros(1, 1, 3, 3, 3)
    kernel[0, 0, 0, 1, 1], kernel[0, 0, 2, 1, 1] = -1, 1
    stack = torch.zeros(1, 5, 6, 8)
    for at in range(5):
        stack[0, at, 2:4, at + 1 : at + 3] = 10
    assert read_table(bench, "Output").tolist() == convolve(Convolution(kernel), stack).output[0, 0].tolist()
    bench.locator("[name=source]").select_option("grid")
    bench.locator("[name=kernel]").select_option("median")
    grid = read_table(bench, "Input")
    median = Convolution(torch.ones(1, 1, 3, 3), rule="median")
    assert read_table(bench, "Output").tolist() == convolve(median, grid).output.tolist()


def test_a_kernel_comes_out_of_a_layer_with_one_request(visit, lab):
    bench = open_bench(visit, "convolution")
    asked = list_posts(bench.page)
    bench.locator("[name=kernel]").select_option("layer")
    layers = list_kernels(lab, "fashion_cnn")
    expect(bench.locator("[name=layer] option")).to_have_count(len(layers))
    assert len(asked) == 1
    bench.locator("[name=layer]").select_option(layers[1].name)
    bench.locator("[name=taken]").fill("2")
    bench.locator("[name=slice]").fill("1")
    bench.locator("[name=slice]").blur()
    expect(bench.locator(".about-layer")).to_contain_text("Channel 1 of")
    kernel = read_kernel(lab, "fashion_cnn", layers[1].name, 2, 1)
    expect(bench.locator("[data-cell='0']")).to_have_value(f"{kernel[0, 0]:.3g}")
    shown = [float(cell.input_value()) for cell in bench.locator(".kernel [data-cell]").all()]
    torch.testing.assert_close(torch.tensor(shown), kernel.flatten(), rtol=6e-3, atol=1e-6)


def test_what_cannot_be_is_refused_with_the_numbers(visit):
    bench = open_bench(visit, "convolution")
    bench.get_by_role("button", name="Edge, 6 x 6").click()
    refusal = bench.locator(".refusal")
    for settings, text in (
        ({"length": 9}, "A kernel of 9 x 9 does not fit into 6 x 6; use a smaller one, or a padding of 2 at least."),
        ({"length": 3, "groups": 2}, "1 input channels cannot be shared out evenly among 2 groups."),
        ({"groups": 1, "padding_mode": "reflect", "padding": 6}, "6 cells can be padded by 5 at most, not by 6"),
    ):
        choose(bench, settings)
        expect(refusal).to_contain_text(text)
    choose(bench, {"padding": 1})
    expect(refusal).to_be_hidden()


def test_the_brush_paints_and_a_link_brings_back_what_is_set(visit):
    page = visit("tab=learn&bench=convolution&model=fashion_cnn&conv=example:edge,padding:1,mode:reflect,at:0.0.2")
    bench = page.locator("#bench-convolution")
    expect(bench.locator(".finding")).to_contain_text("Row 1, column 3 of 6 x 6: 9 products add up to 30.")
    choose(bench, {"padding": 0, "stride": 3})
    page.wait_for_url("**conv=example%3Aedge%2Cstride%3A3%2Cmode%3Areflect*")
    bench.locator("[name=brush]").fill("7")
    canvas = bench.locator("canvas.input")
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.95, "y": box["height"] * 0.05})  # the last cell of the first row
    expect(bench.locator(".finding")).to_contain_text("Row 1, column 2 of 2 x 2: 9 products add up to −7.")
    page = visit("tab=learn&bench=pooling&model=fashion_cnn&pool=kind:l2,window:3,stride:1,source:grid")
    finding = page.locator("#bench-pooling .finding")
    expect(finding).to_contain_text("L2 pooling: 1 px are 1 whole cell of the map, which moves along")
    expect(page.locator("#bench-pooling pre")).to_have_text("nn.LPPool2d(2, 3, stride=1)")


def test_pooling_says_what_a_pixel_changes_and_what_is_linear(visit):
    bench = open_bench(visit, "pooling")
    asked = list_posts(bench.page)
    with Image.open(get_sample("chelsea").path) as image:
        grey = ImageOps.fit(image.convert("RGB"), (32, 32), Image.Resampling.BOX).convert("L")
    values = torch.from_numpy(np.asarray(grey, dtype=np.float64))[None]  # (1, 32, 32)
    for stride in (2, 3):
        bench.locator("[name=stride]").fill(str(stride))
        numbers = re.findall(r"\d+", bench.locator(".cell-sum").inner_text())
        row_at, column_at = int(numbers[0]) - 1, int(numbers[1]) - 1
        for name, way in POOLINGS.items():
            row = bench.locator(f".ways tr[data-name={name}]")
            shifted = pool_shifted(name, values, 2, stride)
            found = float(row.locator("[data-change]").get_attribute("data-change"))
            assert found == pytest.approx(shifted.change, rel=1e-9)
            sums = pool_sum(name, values, values.flip(-1), 2, stride)
            texts = [float(text) for text in row.locator("td").all_inner_texts()[3:5]]
            assert texts == pytest.approx(
                [float(each[0, row_at, column_at]) for each in (sums.pooled_sum, sums.sum_of_pooled)], rel=1e-3
            )
            assert row.locator("td").last.inner_text().startswith("yes" if way.is_linear else "no")
    bench.locator("[data-kind=blur]").click()
    expect(bench.locator(".finding")).to_contain_text("BlurPool: 1 px to the right changes")
    bench.locator("[name=stride]").fill("2")
    bench.locator("[name=dx]").fill("2")
    expect(bench.locator(".finding")).to_contain_text("moves along exactly")
    assert asked == []


def test_nothing_serious_is_found_in_either_bench(visit):
    for name in ("convolution", "pooling"):
        bench = open_bench(visit, name)
        bench.page.add_style_tag(content="* { animation: none !important; transition: none !important; }")
        assert find_faults(bench.page) == []
        bench.page.set_viewport_size({"width": 390, "height": 844})
        assert bench.page.evaluate("document.documentElement.scrollWidth") <= 390
