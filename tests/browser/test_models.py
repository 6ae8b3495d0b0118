"""The list of models, and what happens before one is downloaded."""

import torch
from playwright.sync_api import Page, expect
from torchvision.models import get_model

from tests.browser.test_classify import choose
from tests.browser.test_requests import counted

RESULT = "#classify-result .finding"
WEIGHTS = {"squeezenet1_0": "squeezenet1_0-b66bff10.pth", "mnasnet0_5": "mnasnet0.5_top1_67.823-3ffadce67e.pth"}


def list_options(page: Page) -> list[str]:
    return page.get_by_role("option").all_inner_texts()


def install(server, name: str) -> None:
    """Puts random weights where a download would have put the published ones."""
    folder = server.log.parent / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(get_model(name, weights=None).state_dict(), folder / WEIGHTS[name])


def test_typing_filters_the_list_which_opens_downwards_and_says_what_fits(first_page):
    field = first_page.locator("#model input")
    field.click()
    assert "efficientnet_lite0 · 75.1 % · here" in list_options(first_page)[0]
    box, options = field.bounding_box(), first_page.locator("#model [role=listbox]").bounding_box()
    assert options["y"] >= box["y"]
    first_page.keyboard.type("resnet18")
    expect(first_page.get_by_role("option")).to_have_count(1)
    assert "resnet18 · 69.8 % · 45 MB" in list_options(first_page)[0]
    chosen = "resnet50 · 80.9 % · 98 MB"
    first_page.keyboard.press("Escape")
    choose(first_page, "model", "resnet50 ·")
    expect(first_page.locator("#model-card")).to_contain_text("98 MB")
    field.click()
    expect(first_page.get_by_role("option", name=chosen)).to_be_in_viewport(ratio=1)  # where it is in the long list
    expect(field).to_have_attribute("title", chosen)
    first_page.keyboard.press("Escape")
    choose(first_page, "model", "efficientnet_lite0")
    first_page.locator("#compare input").click()
    assert not any("efficientnet_lite0" in label for label in list_options(first_page))


def test_a_model_is_downloaded_only_when_that_is_agreed_to(first_page, server):
    with counted(first_page) as calls:
        choose(first_page, "model", "squeezenet1_0")
        expect(first_page.locator("#classify-result")).to_contain_text("squeezenet1_0 is not on this computer yet")
    assert len(calls) <= 2
    expect(first_page.locator("#model-card")).to_contain_text("squeezenet1_0 (5 MB)")
    expect(first_page.get_by_test_id("toast-body")).to_have_count(0)
    for tab, place in (("Shift", "#shift-stage .finding"), ("Explain", "#explain-view .empty")):
        first_page.get_by_role("tab", name=tab, exact=True).click()
        expect(first_page.locator(place)).to_contain_text("5 MB have to be downloaded first")
    expect(first_page.get_by_test_id("toast-body")).to_have_count(0)
    install(server, "squeezenet1_0")
    with counted(first_page) as calls:
        first_page.get_by_role("button", name="Download 5 MB").click()
        expect(first_page.locator("#explain-view .finding")).to_contain_text("Grad-CAM for")
    assert len(calls) == 1
    expect(first_page.locator("#model-card [data-download]")).to_have_count(0)
    first_page.locator("#model input").click()
    assert "squeezenet1_0 · 58.1 % · here" in " ".join(list_options(first_page))
    first_page.keyboard.press("Escape")
    first_page.get_by_role("tab", name="Shift", exact=True).click()
    expect(first_page.locator("#shift-stage .caption")).to_contain_text("consistency")


def test_a_link_to_a_model_that_is_not_here_asks_too_and_so_does_a_comparison(visit, server):
    page = visit("model=mnasnet0_5&sample=coffee")
    expect(page.locator("#classify-result .empty")).to_contain_text("mnasnet0_5 is not on this computer yet")
    expect(page.locator("#model-card")).to_contain_text("mnasnet0_5 (9 MB)")
    page.get_by_role("tab", name="Evaluate", exact=True).click()
    expect(page.locator("#eval-estimate")).to_contain_text("9 MB have to be downloaded first")
    expect(page.locator("#eval-start")).to_be_disabled()
    visit("sample=coffee&compare=mnasnet0_5,efficientnet_lite0")
    expect(page.locator(RESULT)).to_contain_text("espresso")
    expect(page.locator("#classify-result .note").last).to_contain_text("mnasnet0_5 waits for its download")
    expect(page.locator("#classify-result .card")).to_have_count(1)
    install(server, "mnasnet0_5")
    page.get_by_role("button", name="Download 9 MB").click()
    expect(page.locator("#classify-result .card")).to_have_count(2)
