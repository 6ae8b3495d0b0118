"""Everybody can use the page: by eye in the light and in the dark, by ear, by keyboard, on a phone."""

import shutil
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from lab.evaluation.config import EvaluationConfig
from lab.evaluation.run import evaluate_as_run
from lab.session import Lab
from models.data.samples import get_sample
from tests.browser.conftest import SCREEN, TIMEOUT_MS
from tests.browser.test_shift import open_drawer
from tests.browser.test_train import finish_run
from tests.server import Server

PHONE = {"width": 390, "height": 844}
LINK = "model=fashion_cnn&sample=ankle_boot"
OF_GRADIO = {("nested-interactive", "Add files")}
"""Rule and element: the button that adds files to a list holds the field for them, which gradio lets be focused."""
STILL = "* { animation: none !important; transition: none !important; }"
WITHOUT_RING = """() => {
    const focused = document.activeElement, look = getComputedStyle(focused);
    const isSeen = focused === document.body || look.outlineStyle === "solid" && look.outlineWidth === "2px";
    return isSeen ? [] : [focused.outerHTML];
}"""
ALSO = ("heading-order", "landmark-unique", "empty-table-header")
"""Of what axe-core finds moderate or minor."""
CHARTS = {
    "#shift-layers": "relative error against layer, from input to output; from",
    "#map-plot": "fashion_cnn: probability in 15 rows and 15 columns, lowest",
    "#meter-plot": "1 cell (in phase): from",
}
DRAWERS = {"features": "#shift-layers .infolayer", "map": "#map-csv", "meter": "#meter-csv", "check": "#check-json"}


@pytest.fixture(scope="module")
def runs(server: Server) -> Iterator[None]:
    """Something finished to look at in Evaluate and Train."""
    finish_run(server, "small", epochs=2)
    config = EvaluationConfig(models=("run/small",), data="shapes", limit=20, device="cpu", checks=False)
    lab = Lab(device="cpu", runs_root=server.runs_root, data_root=server.runs_root.parent / "data")
    evaluate_as_run(lab, config, server.runs_root / "measured")
    yield
    for name in ("small", "measured"):
        shutil.rmtree(server.runs_root / name)


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Opens the page in a browser with its own settings."""
    contexts = []

    def open_with(query: str = LINK, **settings) -> Page:
        contexts.append(browser.new_context(reduced_motion="reduce", **settings))
        contexts[-1].set_default_timeout(TIMEOUT_MS)
        page = contexts[-1].new_page()
        page.goto(f"{server.url}/?{query}")
        page.add_style_tag(content=STILL)
        return page

    yield open_with
    for context in contexts:
        context.close()


def find_faults(page: Page) -> list[str]:
    """What axe-core finds serious or critical in what is on the screen, and headings and regions out of order."""
    faults = []
    page.add_style_tag(content=STILL)  # colours on their way from one to the other have no contrast
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("dark => document.body.classList.contains('dark') === dark", arg=scheme == "dark")
        faults += [
            f"{scheme}, {fault['id']}: {node['html']} {node['failureSummary']}"
            for fault in Axe().run(page).response["violations"]
            if fault["impact"] in ("serious", "critical") or fault["id"] in ALSO
            for node in fault["nodes"]
            if not any(fault["id"] == rule and name in node["html"] for rule, name in OF_GRADIO)
        ]
    return faults


def read_words(page: Page, chart: str) -> str | None:
    """What a chart is called for those who do not see it."""
    drawing = page.locator(f"{chart} .main-svg[role=img]")
    expect(drawing).to_have_count(1)
    return drawing.get_attribute("aria-label")


def open_tab(page: Page, name: str, shown: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()
    expect(page.locator(shown).first).to_be_visible()


def classify_files(page: Page) -> None:
    page.get_by_text("Many pictures at once").click()
    files = [("boot.png", get_sample("ankle_boot").path.read_bytes()), ("broken.png", b"nothing")]
    chosen = [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files]
    page.locator("#batch-files input[type=file]").set_input_files(chosen)
    expect(page.locator("#batch-files")).to_contain_text("broken")
    page.locator("#batch-run").click()
    expect(page.locator("#batch-csv")).to_be_visible()


def open_drawers(page: Page) -> None:
    for name, shown in DRAWERS.items():
        open_drawer(page, name)
        if name != "features":
            page.locator(f"#{name}-start").click()
        expect(page.locator(shown).first).to_be_visible()


@pytest.mark.parametrize("screen", [SCREEN, PHONE], ids=["desk", "phone"])
def test_nothing_serious_is_found_in_any_tab(open_page, runs, screen):
    page = open_page(viewport=screen, has_touch=screen is PHONE)
    expect(page.locator("#classify-result .finding")).to_be_visible()
    faults = {}
    classify_files(page)
    faults["classify"] = find_faults(page)
    open_tab(page, "Shift", "#shift-stage .legend li")
    open_drawers(page)
    faults["shift"] = find_faults(page)
    for chart, words in CHARTS.items():
        assert words in read_words(page, chart)
    open_tab(page, "Explain", "#explain-view .finding")
    faults["explain"] = find_faults(page)
    open_tab(page, "Evaluate", "#eval-distance .infolayer")
    faults["evaluate"] = find_faults(page)
    open_tab(page, "Train", "#train-loss svg")
    page.locator("#train-new").click()
    expect(page.locator("#train-start")).to_be_visible()
    faults["train"] = find_faults(page)
    page.locator("#train-results").get_by_label("Mistakes", exact=True).check()
    expect(page.locator("#errors-confusion .infolayer").first).to_be_visible()
    expect(page.locator("#errors-gallery [aria-label*=loss]").first).to_be_visible()
    faults["mistakes"] = find_faults(page)
    assert not any(faults.values()), "\n".join(f"{tab}: {fault}" for tab in faults for fault in faults[tab])
    if screen is PHONE:  # plotly's buttons would cover the charts
        expect(page.locator("#errors-confusion .modebar")).to_have_css("display", "none")


def test_the_keyboard_skips_to_the_result_and_is_always_seen(open_page):
    page = open_page(viewport=SCREEN)
    expect(page.locator("#classify-result .finding")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    expect(page.locator("#skip")).to_be_in_viewport()
    assert page.evaluate("document.elementFromPoint(40, 25).id") == "skip"  # and nothing lies on it
    unseen = []
    for _ in range(len(page.locator("#samples button").all()) + 20):
        page.keyboard.press("Tab")
        unseen += page.evaluate(WITHOUT_RING)
    assert unseen == []
    page.locator("#skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#classify-result .finding")).to_be_focused()


def test_on_a_phone_a_picture_is_chosen_behind_a_button_that_says_so(open_page):
    page = open_page(viewport=PHONE, has_touch=True)
    finding = page.locator("#classify-result .finding")
    expect(finding).to_be_visible()
    expect(page.locator("#samples")).not_to_be_in_viewport()
    page.get_by_role("button", name="Picture and model…").tap()
    page.locator("#samples [data-name=dress]").tap()
    expect(finding).to_contain_text("dress")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a picture…").tap()
    expect(page.locator("#image img")).to_be_visible()  # the old one stays until there is another
    chooser.value.set_files(get_sample("sandal").path)
    expect(finding).to_contain_text("sandal")
    page.locator("#workbench .toggle-button").tap()
    expect(page.locator("#samples")).not_to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
