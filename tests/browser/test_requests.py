"""What the page asks of the server: what is on the screen, once; and nothing while nobody does anything."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from PIL import Image
from playwright.sync_api import Page, Request, expect

from tests.browser.test_classify import choose, png
from tests.browser.test_shift import CAPTION, FINDING

IDLE_MS = 10_000
REST_MS = 800
"""After an action: what it set off would have been asked by then."""
RESULT = "#classify-result .finding"


@contextmanager
def counted(*pages: Page) -> Iterator[list[str]]:
    """The POST calls that pages make meanwhile."""
    calls: list[str] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            body = request.post_data if "upload" not in request.url else None
            calls.append(f"{request.url.partition('?')[0]} {json.loads(body or '{}').get('fn_index', '')}")

    for page in pages:
        page.on("request", note)
    yield calls
    pages[0].wait_for_timeout(REST_MS)
    for page in pages:
        page.remove_listener("request", note)


@pytest.fixture
def opened(visit) -> Callable[[str, str], Page]:
    """Opens a link, and waits until the page has come to rest."""

    def open_link(query: str, ready: str) -> Page:
        page = visit(query)
        expect(page.locator(ready).first).to_be_visible()
        page.wait_for_timeout(REST_MS)
        return page

    return open_link


def test_opening_asks_for_the_tab_that_is_opened(visit):
    page = visit("about")
    with counted(page) as calls:
        page.reload()
        expect(page.locator(RESULT)).to_be_visible()
    assert len(calls) <= 2  # gradio selects the first tab, which is answered with nothing


def test_a_tab_that_is_opened_before_the_page_is_ready_is_the_one_that_is_shown(visit):
    page = visit()
    page.locator("#tab-shift-button").click()
    expect(page.locator(FINDING)).to_contain_text("tiger cat")
    page.locator("#samples [data-name=coffee]").click()
    expect(page.locator(FINDING)).to_contain_text("espresso")
    expect(page).to_have_url(re.compile("tab=shift&sample=coffee"))


def test_a_sample_takes_one_call_and_a_model_and_a_file_two_at_most(opened):
    page = opened("model=fashion_cnn&sample=dress", RESULT)
    with counted(page) as calls:
        page.locator("#samples [data-name=sneaker]").click()
        expect(page.locator(RESULT)).to_contain_text("sneaker")
        expect(page.locator("#image img")).to_have_attribute("src", re.compile("sneaker"))
    assert len(calls) == 1
    with counted(page) as calls:
        choose(page, "model", "efficientnet_lite0")
        expect(page.locator(RESULT)).to_contain_text("efficientnet_lite0 sees")
    assert len(calls) <= 2
    page.locator("#image").get_by_label("Remove Image").click()
    expect(page.locator("#classify-result .empty")).to_be_visible()
    with counted(page) as calls:
        file = {"name": "a.png", "mimeType": "image/png", "buffer": png(Image.linear_gradient("L"))}
        page.locator("#image input[type=file]").set_input_files(file)
        expect(page.locator(RESULT)).to_be_visible()
    assert len(calls) <= 2


def test_nothing_is_asked_while_nobody_does_anything_and_once_about_a_file_that_is_dropped(opened, browser):
    asked = opened("model=fashion_cnn", RESULT)
    # Each in a browser of its own: one keeps six connections with a server, and every page holds one of them.
    idle = {tab: browser.new_page() for tab in ("classify", "shift", "explain", "evaluate", "train")}
    for tab, page in idle.items():
        page.goto(f"{asked.url.partition('?')[0]}?tab={tab}&model=fashion_cnn&sample=dress")
        expect(page.locator(f"#tab-{tab}-button[aria-selected=true]")).to_be_visible()
        page.wait_for_timeout(2 * REST_MS)
    with counted(*idle.values()) as others, counted(asked) as calls:
        drop(asked, png(Image.radial_gradient("L")))
        asked.wait_for_timeout(IDLE_MS)
    for page in idle.values():
        page.context.close()
    assert others == []
    assert 1 <= len(calls) <= 2
    assert "sample=" not in asked.url


def drop(page: Page, data: bytes) -> None:
    """Drops a file on the picture."""
    transfer = page.evaluate_handle(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "own.png", {type: "image/png"}));
            return transfer;
        }""",
        list(data),
    )
    page.dispatch_event("#image .image-frame img", "drop", {"dataTransfer": transfer})


@pytest.mark.parametrize("tab", ["Shift", "Explain"])
def test_opening_a_tab_takes_one_call_and_a_second_time_nothing_is_computed(opened, tab):
    page = opened("model=fashion_cnn&sample=dress", RESULT)
    shown, found = {"Shift": (CAPTION, "consistency"), "Explain": ("#explain-view .finding", "dress")}[tab]
    with counted(page) as calls:
        page.get_by_role("tab", name=tab, exact=True).click()
        expect(page.locator(shown)).to_contain_text(found)
    assert len(calls) <= {"Shift": 2, "Explain": 1}[tab]  # the map of Shift never delays the first answer
    with counted(page) as calls:
        page.get_by_role("tab", name="Classify", exact=True).click()
        page.get_by_role("tab", name=tab, exact=True).click()
        expect(page.locator(shown)).to_be_visible()
    assert len(calls) == 2


def test_inside_the_map_nothing_is_asked_and_a_rule_is_measured_once(opened):
    page = opened("tab=shift&model=fashion_cnn&sample=dress&dx=1&dy=0", CAPTION)
    expect(page.locator(CAPTION)).to_contain_text("consistency")
    with counted(page) as calls:
        page.locator("#samples [data-name=bag]").click()
        expect(page.locator(FINDING)).to_contain_text("bag")
        expect(page.locator("#image img")).to_have_attribute("src", re.compile("bag"))
    assert len(calls) == 2  # picture and tab, and the map
    page.locator("#shift-stage .moved").focus()
    with counted(page) as calls:
        for key in ("ArrowRight", "ArrowDown", "Home"):
            page.keyboard.press(key)
        expect(page.locator(FINDING)).to_contain_text("Not shifted")
    assert calls == []
    with counted(page) as calls:
        choose(page, "shift-boundary", "Mirror")
        expect(page.locator("#shift-stage .rules")).to_contain_text("mirror")
    assert len(calls) <= 2  # the picture, and its map
