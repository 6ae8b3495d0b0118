"""The menu of the header: a view for a projector, a tour, a fresh start."""

from playwright.sync_api import Page, expect

from tests.browser.test_classify import choose

STEPS = ("classify", "classify", "shift", "explain", "train")
"""The tab that each step of the tour is about."""


def pick(page: Page, name: str) -> None:
    page.locator("#menu summary").click()
    page.locator(f"#menu [data-do={name}]").click()


def test_the_tour_goes_through_the_tabs_by_keyboard_and_can_be_left(first_page):
    pick(first_page, "tour")
    for step, tab in enumerate(STEPS):
        expect(first_page.locator(f"#tab-{tab}-button")).to_have_attribute("aria-selected", "true")
        expect(first_page.locator("#tour .count")).to_have_text(f"{step + 1} of {len(STEPS)}")
        expect(first_page.locator(".toured")).to_have_count(1)
        expect(first_page.locator("#tour [data-go='1']")).to_be_focused()
        first_page.keyboard.press("Enter")
    expect(first_page.locator("#tour")).to_have_count(0)
    pick(first_page, "tour")
    first_page.keyboard.press("Escape")
    expect(first_page.locator("#tour")).to_have_count(0)
    expect(first_page.locator("#menu summary")).to_be_focused()


def test_presenting_leaves_the_stage_alone_and_in_view(visit):
    page = visit("tab=shift")
    page.set_viewport_size({"width": 1280, "height": 720})
    expect(page.locator("#shift-stage .caption")).to_contain_text("shift consistency")
    pick(page, "present")
    for hidden in ("#workbench", "#shift-dx", "#shift-map", "#copy-link"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#shift-stage .finding")).to_have_css("font-size", "25.6px")
    box = page.locator("#shift-stage .bars").bounding_box()
    assert box["y"] + box["height"] <= 720
    page.keyboard.press("Escape")
    expect(page.locator("#workbench")).to_be_visible()


def test_resetting_opens_the_page_as_it_was_at_first(visit):
    page = visit("sample=coffee")
    expect(page.locator("#classify-result .finding")).to_contain_text("espresso")
    choose(page, "model", "fashion_cnn")
    expect(page.locator("#classify-result .finding")).to_contain_text("fashion_cnn")
    pick(page, "reset")
    expect(page.locator("#classify-result .finding")).to_contain_text("efficientnet_lite0 sees: tiger cat")
