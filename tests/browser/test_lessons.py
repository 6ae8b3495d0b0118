"""A lesson, from its link to its end."""

from playwright.sync_api import expect

from tests.browser.test_accessibility import find_faults


def test_a_lesson_is_followed_from_its_link_to_its_end_at_both_widths(visit, page):
    visit("lesson=what-a-convolution-does&step=7&tab=learn&bench=shapes")
    strip = page.locator(".lesson")
    expect(strip.locator(".place")).to_have_text("Step 7 of 8")
    expect(page.locator("#learn-shapes .finding").first).to_be_visible()
    strip.locator(".number").fill("5")
    strip.locator(".number").press("Enter")
    expect(strip.locator(".said")).to_contain_text("7")
    expect(strip.locator(".said")).to_have_attribute("data-right", "false")
    expect(strip.locator(".send")).to_be_disabled()  # an answer counts once
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert find_faults(page) == []
    strip.get_by_role("button", name="Next").click()
    expect(strip.locator(".place")).to_have_text("Step 8 of 8")
    strip.get_by_text("Mostly the middle").click()
    strip.locator(".send").click()
    expect(strip.locator(".said")).to_have_attribute("data-right", "true")
    page.reload()
    expect(strip.locator(".said")).to_have_attribute("data-right", "true")
    strip.get_by_role("button", name="End of the lesson").click()
    expect(strip).to_be_hidden()
