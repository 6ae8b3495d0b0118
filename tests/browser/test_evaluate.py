"""The Evaluate tab: work over data sets in processes of their own, which pages come and go around."""

import csv
import json

import pytest
from playwright.sync_api import Page, expect

from models.runs.run import read_run
from tests.browser.test_classify import choose
from tests.browser.test_shift_map import download

LONG_MS = 120_000
PARTS = {"Data set": "#eval-start", "Repair": "#repair-start", "Experiments": "#experiment-traces"}


@pytest.fixture
def evaluate(visit) -> Page:
    page = visit("tab=evaluate&model=fashion_cnn")
    expect(page.locator("#eval-start")).to_be_visible()
    return page


def set_number(page: Page, label: str, value: int) -> None:
    number = page.get_by_label(label, exact=True)
    number.fill(str(value))
    number.press("Enter")


def run_name(page: Page, kind: str) -> str:
    """The name of the run that was just started."""
    expect(page.locator(f"#{kind}-run input")).not_to_have_value("")
    return page.locator(f"#{kind}-run input").input_value()


def test_an_evaluation_ends_in_a_table_charts_and_files(evaluate):
    set_number(evaluate, "Pictures", 60)
    evaluate.locator("#eval-start").click()
    expect(evaluate.locator("#evaluation-status")).to_contain_text(": finished", timeout=LONG_MS)
    finding = evaluate.locator("#eval-finding .finding")
    expect(finding).to_contain_text("fashion_cnn on 60 pictures of fashion_mnist: accuracy")
    for kind in ("distance", "phase"):
        expect(evaluate.locator(f"#eval-{kind} .scatterlayer .trace")).to_have_count(1)
    with download(evaluate, "#eval-csv").open(newline="", encoding="utf-8-sig") as file:
        values = {row["statistic"]: float(row["value"]) for row in csv.DictReader(file) if row["value"]}
    document = json.loads(download(evaluate, "#eval-json").read_text())
    statistics = document["models"][0]["statistics"]
    assert document["models"][0]["num_images"] == 60
    for name in ("accuracy", "consistency"):
        assert values[name] == pytest.approx(statistics[name]["value"])
        expect(finding).to_contain_text(f"{100 * values[name]:.1f} %")
    assert values["accuracy"] > 0.6


def test_an_evaluation_survives_a_reload_and_goes_on_after_a_stop(evaluate, server):
    set_number(evaluate, "Pictures", 10_000)
    evaluate.locator("#eval-start").click()
    status = evaluate.locator("#evaluation-status")
    expect(status).to_contain_text("running", timeout=LONG_MS)
    name = run_name(evaluate, "evaluation")
    evaluate.reload()
    expect(status).to_contain_text(f"{name}: running", timeout=LONG_MS)
    evaluate.locator("#evaluation-stop").click()
    expect(status).to_contain_text(f"{name}: stopped", timeout=LONG_MS)
    evaluate.locator("#evaluation-resume").click()
    expect(status).to_contain_text(f"{name}: running", timeout=LONG_MS)
    evaluate.locator("#evaluation-stop").click()
    expect(status).to_contain_text(f"{name}: stopped", timeout=LONG_MS)
    assert read_run(server.runs_root, name).state == "stopped"


def test_without_own_pictures_the_page_says_what_to_do(evaluate):
    choose(evaluate, "eval-data", "Own pictures")
    expect(evaluate.locator("#eval-folder")).to_be_visible()
    evaluate.locator("#eval-start").click()
    expect(evaluate.get_by_test_id("toast-body").first).to_contain_text(
        "Upload a zip with one folder of pictures per class, or choose a folder."
    )


def test_cures_are_offered_when_the_tab_is_opened(evaluate):
    evaluate.get_by_role("tab", name="Repair", exact=True).click()
    expect(evaluate.locator("#repair-arms label").first).to_be_visible()


def test_a_repair_bench_makes_a_model_of_every_arm(evaluate, visit):
    page = evaluate
    page.get_by_role("tab", name="Repair", exact=True).click()
    arms = page.locator("#repair-arms label")
    expect(arms.first).to_be_visible()
    set_number(page, "Training steps each", 5)
    set_number(page, "Test pictures", 50)
    for _ in range(10):  # the offer may still be renewed, with what was chosen when that was asked for
        for number, label in enumerate(arms.all()):
            label.locator("input").set_checked(number < 2)
        page.wait_for_timeout(500)
        if page.locator("#repair-arms input:checked").count() == 2:
            break
    page.locator("#repair-start").click()
    expect(page.locator("#repair-status")).to_contain_text(": finished", timeout=LONG_MS)
    expect(page.locator("#repair-finding .finding")).to_contain_text("Most consistent:")
    expect(page.locator("#repair-plot .scatterlayer .trace").first).to_be_visible()
    document = json.loads(download(page, "#repair-json").read_text())
    models = [f"run/{arm['run']}" for arm in document["arms"]]
    assert len(models) == 2
    expect(page.locator("#repair-finding tbody tr td:last-child")).to_have_text(models)
    visit()
    expect(page.locator("#classify-result .finding")).to_contain_text("tiger cat")
    for model in models:
        choose(page, "model", model)
        expect(page.locator("#model input")).to_have_value(model)


def test_traces_of_the_picture_are_drawn_on_one_click(evaluate):
    evaluate.get_by_role("tab", name="Experiments", exact=True).click()
    evaluate.locator("#experiment-traces").click()
    expect(evaluate.locator("#experiment-status")).to_contain_text(": finished", timeout=LONG_MS)
    expect(evaluate.locator("#experiment-plot .scatterlayer .trace").first).to_be_visible()
    document = json.loads(download(evaluate, "#experiment-json").read_text())
    assert len(document["rows"]) == 1


def test_on_a_phone_no_part_is_wider_than_the_screen(page, visit):
    page.set_viewport_size({"width": 390, "height": 844})
    visit("tab=evaluate&model=fashion_cnn")
    for part, start in PARTS.items():
        page.get_by_role("tab", name=part, exact=True).click()
        expect(page.locator(start)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        boxes = "[...document.querySelectorAll('.block:has(> .checkbox-container)')]"
        cut_off = page.evaluate(f"{boxes}.filter((box) => box.scrollWidth > box.clientWidth).length")
        assert cut_off == 0
