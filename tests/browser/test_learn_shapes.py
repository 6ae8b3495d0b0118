"""Learn: the benches of shapes and of losses, as a student uses them; their arithmetic is that of Python."""

import re

import pytest
import torch
from playwright.sync_api import Page, expect

from analysis.convolution.presets import PRESETS
from analysis.convolution.quiz import KINDS, ask
from analysis.convolution.stack import measure_stack, read_layers
from analysis.losses.classification import measure_loss
from analysis.losses.dropout import thin
from analysis.losses.normalisation import NORMALISATIONS, find_sets, go_back, normalise
from analysis.losses.penalties import trace_path
from tests.browser.test_accessibility import PHONE, find_faults

OTHERS = [
    (
        (3, 65, 48),
        "conv(8,3,2,1,dilation=2,bias=0) groupnorm(4) silu residual(conv(12,5,2,2) norm) gap linear(5)",
    ),
    (
        (4, 20, 20),
        "conv(6,3,groups=2) avgpool(3,2,1) residual(pool(3,1,1)) dropout(30) flatten linear(9,bias=0) tanh",
    ),
]
STILL = "* { animation: none !important; transition: none !important; }"
LIST_ROWS = """cases => cases.map(([shape, text]) => {
    const bench = document.querySelector("#bench-shapes");
    const type = (field, value) => { field.value = value; field.dispatchEvent(new Event("input", {bubbles: true})); };
    bench.querySelectorAll(".input input").forEach((field, i) => type(field, shape[i]));
    type(bench.querySelector("textarea"), text);
    return [...bench.querySelectorAll(".rows tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent));
})"""
VALUES = "bench => [...document.querySelectorAll(`#bench-${bench} tbody tr`)].map((row) => "
VALUES += "[...row.querySelectorAll('data')].map((cell) => Number(cell.value)))"


def numbers(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"\d+", text.replace(",", ""))]


def read_values(page: Page, part: str) -> list[list[float]]:
    """The numbers in the body of a part's table."""
    expect(page.locator(f"#bench-{part} tbody tr").first).to_be_visible()
    return page.evaluate(VALUES, part)


def open_bench(visit, name: str, part: str = "scores") -> Page:
    page = visit(f"tab=learn&bench={name}&part={part}")
    expect(page.locator(f"#bench-{part if name == 'losses' else name} .finding")).not_to_be_empty()
    return page


def test_a_link_brings_back_a_stack_and_follows_it(visit):
    page = visit("tab=learn&bench=shapes&stack=1,28,28+conv(4,3)+relu")
    finding = page.locator("#bench-shapes .finding")
    expect(finding).to_contain_text("1 × 28 × 28 becomes 4 × 26 × 26: 40 parameters")
    page.locator("#bench-shapes textarea").fill("conv(4,3) relu pool(2)")
    page.wait_for_url("**stack=1%2C28%2C28+conv%284%2C3%29+relu+pool*")
    page.locator("#bench-shapes .presets").select_option("vgg_a")
    page.wait_for_url("**stack=vgg_a*")
    page.reload()
    expect(page.locator("#bench-shapes .presets")).to_have_value("vgg_a")
    page = visit("tab=learn&bench=shapes&stack=1,28,28+conv(4,99)")
    expect(page.locator("#layers-problem")).to_contain_text("99")


def test_the_numbers_of_stacks_are_those_of_python(visit):
    page = open_bench(visit, "shapes")
    asked = [ask(seed, kind) for kind in KINDS for seed in range(12)]
    cases = [*OTHERS, *((p.shape, p.text) for p in PRESETS.values()), *((q.shape, q.layers) for q in asked)]
    for (shape, text), found in zip(cases, page.evaluate(LIST_ROWS, cases), strict=True):
        rows = measure_stack(read_layers(text), shape)
        assert len(rows) == len(found)
        for row, (_, size, parameters, macs, previous, seen) in zip(rows, found, strict=True):
            assert (*numbers(size), *numbers(parameters), *numbers(macs)) == (*row.shape, row.parameters, row.macs)
            assert numbers(previous)[0] == row.receptive_field_previous
            assert max(numbers(seen)) == row.receptive_field_input


def test_layers_are_chosen_changed_moved_and_trained(visit):
    page = open_bench(visit, "shapes")
    bench, finding = page.locator("#bench-shapes"), page.locator("#bench-shapes .finding")
    expect(finding).to_contain_text("61,706 parameters")
    assert bench.locator(".rows").bounding_box()["y"] < 600
    bench.locator(".rows button").first.click()
    bench.locator(".editor").get_by_label("filters").fill("8")
    expect(bench.locator("textarea")).to_have_value(re.compile(r"conv\(8,5\)"))
    page.keyboard.press("Tab")
    bench.locator(".rows button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Delete")  # the tanh behind it
    expect(bench.locator("textarea")).to_have_value(re.compile(r"^conv\(8,5\) avgpool\(2\)"))
    page.keyboard.press("Alt+ArrowUp")
    expect(bench.locator("textarea")).to_have_value(re.compile(r"^avgpool\(2\) conv\(8,5\)"))
    bench.get_by_role("button", name="gap", exact=True).click()
    expect(bench.get_by_role("alert")).to_contain_text("needs a map")
    expect(bench.locator(".train")).to_be_disabled()
    bench.locator("textarea").fill("conv(4,3) relu gap linear(10)")
    bench.locator(".train").click()
    expect(page.locator("#stack-layers textarea")).to_have_value("conv(4,3) relu gap linear(10)")
    expect(page.locator("#network-summary .finding")).to_contain_text("90 parameters")


def test_a_quiz_is_answered_by_keyboard(visit):
    page = open_bench(visit, "shapes")
    page.locator("[data-mode=quiz]").press("Enter")
    verdict = page.locator("#bench-shapes .verdict")
    for answer, said in (("28x28x6", "Right: 28 × 28 × 6. 1 of 1"), ("32", "No, it is 32 × 32 × 10. 1 of 2")):
        page.keyboard.type(answer)
        page.keyboard.press("Enter")
        expect(verdict).to_contain_text(said)
        page.keyboard.press("Enter")
        expect(verdict).to_be_empty()
    page.keyboard.type("760")
    page.keyboard.press("Enter")
    expect(verdict).to_contain_text("10 * (5*5*3 + 1) = 760")


def test_the_numbers_of_losses_are_those_of_python(visit):
    page = open_bench(visit, "losses")
    scores = torch.tensor([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]], dtype=torch.float64)
    soft, svm = (measure_loss(kind, scores, torch.arange(3)) for kind in ("softmax", "svm"))
    for i, hinge in enumerate((2.9, 0, 12.9)):
        page.locator("#bench-scores .presets button").nth(i).click()
        rows, losses = read_values(page, "scores"), page.locator("#bench-scores tfoot data")
        parts = scores[i], scores[i].exp(), soft.probabilities[i], soft.gradient[i], svm.gradient[i]
        for row, values in zip(rows, torch.stack(parts, 1).tolist(), strict=True):
            assert [*row[:4], row[-1]] == pytest.approx(values, abs=1e-5)
        found = [float(losses.nth(k).get_attribute("value")) for k in range(2)]
        assert found == pytest.approx([float(soft.losses[i]), hinge], abs=1e-5)
    page.locator("#bench-scores .presets button").first.click()
    text = page.locator("#bench-scores table").inner_text()
    assert all(number in text for number in ("24.5", "164.0", "0.18", "0.13", "0.87", "0.00"))
    page.get_by_label("KL divergence", exact=True).check()
    page.get_by_role("button", name="A teacher’s answer").click()
    kl = measure_loss("kl", torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[0.6, 0.3, 0.1]]))
    rows = torch.tensor(read_values(page, "divergence"))
    torch.testing.assert_close(rows[:, 5], kl.gradient[0].float())
    assert float(rows[:, 3].sum()) == pytest.approx(float(kl.losses[0]), abs=1e-6)
    page.get_by_label("L1 and L2", exact=True).check()
    at = (torch.tensor([3.0, 1.0]), torch.ones(2), torch.tensor([1.2]))
    rows = torch.tensor(read_values(page, "penalties"))
    for column, kind in ((2, "l1"), (3, "l2")):
        torch.testing.assert_close(rows[:, column], trace_path(kind, *at)[0])


def test_normalisation_and_dropout_are_those_of_python(visit):
    page = open_bench(visit, "losses", "batch_norm")
    x = torch.tensor([[1, 50, 0.2], [2, 60, 0.1], [3, 40, 0.4], [6, 90, 0.1]], dtype=torch.float64)
    steps, back = normalise("batch", x), go_back("batch", x, torch.eye(4, 3, dtype=torch.float64))
    rows = torch.tensor(read_values(page, "batch_norm"), dtype=torch.float64)
    torch.testing.assert_close(
        rows, torch.cat([steps.normalised, steps.scaled, back.inputs], 1), atol=1e-9, rtol=1e-6
    )
    page.get_by_role("button", name="Ask autograd").click()
    expect(page.locator("#bench-batch_norm .said")).to_contain_text(re.compile(r"same 18 gradients.*(e−1\d| 0)\."))
    page.get_by_label("Which cells", exact=True).check()
    expect(page.locator("#bench-norm_cells tbody tr")).to_have_count(len(NORMALISATIONS))
    for kind in NORMALISATIONS:
        sets = find_sets(kind, (3, 4, 3, 3), 2)
        cells = page.locator(f"#bench-norm_cells tr[data-name={kind}] td").all_inner_texts()
        assert cells[1:3] == [str(sets.unique().numel()), str(int(sets.flatten().bincount()[0]))]
        expect(page.locator(f"[data-kind={kind}] .in")).to_have_count(int((sets[:, :, 0, 0] == 0).sum()))
    page.get_by_label("Dropout", exact=True).check()
    weights = torch.tensor([[1.0, -2.0, 0.8, 0.6], [0.0] * 4])
    nets = thin(torch.tensor([1.5, 0.5, 2.0, 1.0]), weights, 0.5)
    rows = torch.tensor(read_values(page, "dropout"))
    of_nets = [nets.mean_probabilities[0], nets.geometric_mean[0], nets.scaled_probabilities[0]]
    torch.testing.assert_close(rows[:, 1], torch.stack(of_nets))
    page.get_by_role("button", name="Draw 100").click()
    expect(page.locator("#bench-dropout .finding")).to_contain_text("the 100 drawn so far")


def test_a_batch_comes_out_of_a_layer_of_the_model(visit):
    page = visit("tab=learn&bench=losses&part=batch_norm&model=fashion_cnn&sample=sneaker")
    page.get_by_role("button", name="Take one from a layer of the model").click()
    expect(page.locator("#bench-batch_norm .said")).to_contain_text("fashion_cnn, layer features.0.conv")
    expect(page.locator("#bench-batch_norm tbody tr")).to_have_count(6)
    page.locator("#bench-batch_norm .layers select").select_option("features.2.relu")
    expect(page.locator("#bench-batch_norm .said")).to_contain_text("layer features.2.relu")


def test_nothing_serious_is_found_on_a_phone(visit, page):
    page.set_viewport_size(PHONE)
    open_bench(visit, "shapes").add_style_tag(content=STILL)
    faults = find_faults(page)
    open_bench(visit, "losses").add_style_tag(content=STILL)
    page.get_by_label("Batch norm", exact=True).check()
    faults += find_faults(page)
    for part in page.locator("#learn-part input").all():
        part.check()
        expect(page.locator(f"#bench-{part.get_attribute('value')} .finding")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert not faults, "\n".join(faults)
