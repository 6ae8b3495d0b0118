"""Check the lecture: predict, check, read the verdict; what needs training leads to Train, filled in."""

from playwright.sync_api import expect

from lab.learning.claims import CLAIMS, check_claim
from lab.session import Lab
from tests.browser.test_accessibility import find_faults
from tests.device import DEVICE


def open_claim(visit, name: str):
    """The bench with a claim that no other test has opened: what was checked stays in the browser's tab."""
    page = visit(f"tab=learn&bench=claims&claim={name}&model=fashion_cnn")
    bench = page.locator("#bench-claims")
    expect(bench.locator("#claim-title")).to_have_text(CLAIMS[name].title)
    return bench


def test_a_claim_is_predicted_checked_and_judged(visit, page, tmp_path):
    bench = open_claim(visit, "ten_filters")
    run, finding = bench.get_by_role("button", name="Check it", exact=True), bench.locator(".finding")
    expect(run).to_be_disabled()
    expect(bench.locator("blockquote")).to_have_text(CLAIMS["ten_filters"].says)
    expect(bench.locator(".result")).to_be_hidden()
    bench.get_by_label("It does not hold").check()
    run.click()
    expect(finding).to_have_text("Holds.")
    expect(bench.locator(".said")).to_have_text("You expected that it does not hold: not so.")
    cells = bench.locator("tbody tr").last.locator("td")
    assert cells.all_inner_texts()[1:] == ["760", "760", "yes"]
    expect(bench.locator(".control")).to_contain_text("it does not hold")
    assert find_faults(page) == []
    box = bench.locator(".result").bounding_box()
    assert box["y"] + box["height"] < page.viewport_size["height"]
    bench.get_by_role("button", name="Next claim").click()
    page.wait_for_url("**claim=vertical_edge**")
    bench.get_by_role("button", name="Back", exact=True).click()
    expect(finding).to_have_text("Holds.")
    expect(bench.get_by_label("It holds")).to_have_count(0)  # it is not asked twice
    expect(bench.locator(".score")).to_contain_text(
        "1 of 65 checked; 0 of 1 predictions right".replace("65", str(len(CLAIMS)))
    )
    expected = check_claim(Lab(DEVICE, tmp_path, tmp_path), "ten_filters").to_json()
    assert [fact["found"] for fact in expected["facts"]] == bench.locator("tbody td:nth-child(3)").all_inner_texts()


def test_a_number_is_predicted_and_a_claim_may_not_hold(visit, page):
    bench = open_claim(visit, "gap_outputs")
    bench.get_by_label("how many times fewer").fill("48,7")
    expect(bench.get_by_role("button", name="Check it", exact=True)).to_be_enabled()
    bench.get_by_label("how many times fewer").fill("49")
    bench.get_by_role("button", name="Check it", exact=True).click()
    expect(bench.locator(".said")).to_have_text("You expected 49 times; it is 49 times: right.")
    bench.locator("select").select_option("convolution")
    bench.locator(".list button", has_text="Hand-made kernels").click()
    bench.get_by_role("button", name="Without a prediction").click()
    expect(bench.locator(".finding")).to_have_text("Does not hold.")
    expect(bench.locator(".said")).to_be_empty()


def test_what_needs_training_says_so_and_leads_to_train_filled_in(visit, page):
    bench = open_claim(visit, "blurpool")
    bench.get_by_role("button", name="Without a prediction").click()
    expect(bench.locator(".finding")).to_have_text("Cannot be told here.")
    bench.get_by_role("link", name="Train the networks").click()
    expect(page.locator("#arms-preset input")).to_have_value("Blur before downsampling")
    expect(page.locator("#arms-note")).to_contain_text("BlurPool")
    expect(page.locator("#arms-start")).to_be_enabled()


def test_a_card_fits_a_phone(visit, page):
    page.set_viewport_size({"width": 390, "height": 844})
    bench = open_claim(visit, "svm")
    bench.get_by_role("button", name="Without a prediction").click()
    expect(bench.locator(".finding")).to_have_text("Holds.")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
