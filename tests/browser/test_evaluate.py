"""The Evaluate tab: work over data sets in processes of their own, which pages come and go around."""

import csv
import json
import re

import pytest
from playwright.sync_api import Page, expect

from models.runs.run import read_run
from tests.browser.test_classify import choose, wait_for_silence
from tests.browser.test_explain import count_requests
from tests.browser.test_shift_map import download

LONG_MS = 120_000
PARTS = {
    "How often is it right?": "#eval-start",
    "Can it be cured?": "#repair-start",
    "What did papers find?": "#experiment-traces",
}


@pytest.fixture
def evaluate(visit) -> Page:
    page = visit("tab=evaluate&model=fashion_cnn")
    expect(page.locator("#eval-start")).to_be_enabled()
    return page


def ask(page: Page, question: str) -> None:
    """Chooses a card; its part, and no other, is on the screen."""
    page.locator("#evaluate-question label", has_text=question).click()
    for part, start in PARTS.items():
        expect(page.locator(start)).to_be_visible(visible=part == question)


def stop_job(page: Page, kind: str) -> None:
    """Stops a job of one's own, by way of the list of jobs."""
    page.locator(f"#{kind}-status").get_by_role("button", name="Stop…").click()
    page.locator("#job-list .actions button:focus").press("Enter")
    page.keyboard.press("Escape")


def agree(page: Page, kind: str, name: str, run: str) -> None:
    """Presses a button that asks first, and says yes."""
    page.locator(f"#{kind}-{name}").click()
    question = page.locator(f"#{kind}-{name}-question dialog")
    expect(question.locator("p")).to_contain_text(run)
    question.locator("[value=yes]").click()


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
    stop_job(evaluate, "evaluation")
    expect(status).to_contain_text(f"{name}: stopped", timeout=LONG_MS)
    evaluate.locator("#evaluation-resume").click()
    expect(status).to_contain_text(f"{name}: running", timeout=LONG_MS)
    stop_job(evaluate, "evaluation")
    expect(status).to_contain_text(f"{name}: stopped", timeout=LONG_MS)
    assert read_run(server.runs_root, name).state == "stopped"
    expect(evaluate.locator("#jobs .chip")).to_have_text("No jobs")
    with count_requests(evaluate) as asked:  # who does not agree loses nothing
        evaluate.locator("#evaluation-delete").click()
        evaluate.locator("#evaluation-delete-question dialog").get_by_role("button", name="Cancel").click()
        expect(evaluate.locator("#evaluation-delete-question dialog")).to_be_hidden()
    assert asked == [] and read_run(server.runs_root, name).state == "stopped"
    agree(evaluate, "evaluation", "delete", name)
    expect(evaluate.locator("#evaluation-run input")).not_to_have_value(name)
    assert not (server.runs_root / name).exists()


def test_without_own_pictures_the_page_says_what_to_do(evaluate):
    choose(evaluate, "eval-data", "Own pictures")
    expect(evaluate.locator("#eval-folder")).to_be_visible()
    expect(evaluate.locator("#eval-estimate")).to_contain_text(
        "Upload a zip with one folder of pictures per class, or choose a folder."
    )
    expect(evaluate.locator("#eval-start")).to_be_disabled()


def test_the_tab_and_each_question_cost_one_request_and_nothing_asks_by_itself(page, visit):
    visit("model=fashion_cnn")
    expect(page.locator("#classify-result .finding")).to_be_visible()
    with count_requests(page) as asked:
        page.get_by_role("tab", name="Evaluate", exact=True).click()
        expect(page.locator("#eval-start")).to_be_enabled()
    assert len(asked) == 1
    with count_requests(page) as asked:
        ask(page, "Can it be cured?")
        expect(page.locator("#repair-estimate")).to_contain_text("training steps each")
    assert len(asked) == 1
    assert "question=cure" in page.url
    wait_for_silence(page)


def test_beside_the_start_stands_how_long_it_takes_here(evaluate):
    said = evaluate.locator("#eval-estimate")
    expect(said).to_contain_text("1,000 pictures, 11 views of each.")
    set_number(evaluate, "Pictures", 60)
    expect(said).to_contain_text("60 pictures")
    choose(evaluate, "eval-data", "CIFAR-10")
    expect(said).to_contain_text("fashion_cnn has none of the 10 classes of CIFAR-10")
    expect(said).to_contain_text("What fits it: Fashion-MNIST")
    expect(evaluate.locator("#eval-start")).to_be_disabled()
    choose(evaluate, "eval-data", "Its own: Fashion-MNIST")
    expect(evaluate.locator("#eval-start")).to_be_enabled()


def test_a_model_whose_pictures_are_not_here_gives_way_to_one_that_knows_its_own(page, visit):
    visit("tab=evaluate")
    expect(page.locator("#eval-start")).to_be_disabled()
    choose(page, "eval-data", "Fashion-MNIST")
    expect(page.locator("#eval-estimate")).to_contain_text("Or choose fashion_cnn in the sidebar")
    page.locator("#evaluate-knowing").click()
    expect(page.locator("#eval-start")).to_be_enabled()
    expect(page.locator("#model input")).to_have_value(re.compile("^fashion_cnn "))
    expect(page.locator("#model-card")).to_contain_text("Fashion-MNIST")
    expect(page.locator("#evaluate-knowing")).to_be_hidden()
    expect(page).to_have_url(re.compile("model=fashion_cnn"))


def test_without_a_cure_the_bench_says_why_it_cannot_start(evaluate):
    ask(evaluate, "Can it be cured?")
    expect(evaluate.locator("#repair-start")).to_be_enabled()
    for label in evaluate.locator("#repair-arms label").all():
        label.locator("input").uncheck()
    expect(evaluate.locator("#repair-estimate")).to_contain_text("Choose at least one cure")
    expect(evaluate.locator("#repair-start")).to_be_disabled()
    evaluate.locator("#repair-arms input").first.check()
    expect(evaluate.locator("#repair-start")).to_be_enabled()


def test_a_repair_bench_makes_a_model_of_every_arm(evaluate, visit):
    page = evaluate
    ask(page, "Can it be cured?")
    expect(page.locator("#repair-start")).to_be_enabled()
    page.get_by_role("button", name="Data, test, seed").click()
    set_number(page, "Training steps each", 5)
    set_number(page, "Test pictures", 50)
    for number, label in enumerate(page.locator("#repair-arms label").all()):
        label.locator("input").set_checked(number < 2)
    expect(page.locator("#repair-estimate")).to_contain_text("2 networks, 5 training steps each")
    page.locator("#repair-start").click()
    expect(page.locator("#repair-status")).to_contain_text(": finished", timeout=LONG_MS)
    expect(page.locator("#repair-finding .finding")).to_contain_text("Most consistent:")
    expect(page.locator("#repair-finding .finding")).to_contain_text("accuracy")
    expect(page.locator("#repair-plot .scatterlayer .trace").first).to_be_visible()
    document = json.loads(download(page, "#repair-json").read_text())
    models = [f"run/{arm['run']}" for arm in document["arms"]]
    assert len(models) == 2
    expect(page.locator("#repair-finding tbody tr td:last-child")).to_have_text(models)
    visit()
    expect(page.locator("#classify-result .finding")).to_contain_text("tiger cat")
    for model in models:
        choose(page, "model", model)
        expect(page.locator("#model input")).to_have_value(re.compile(f"^{model} .*part of a comparison$"))


def test_traces_of_the_picture_are_drawn_on_one_click(evaluate):
    ask(evaluate, "What did papers find?")
    evaluate.locator("#experiment-traces").click()
    expect(evaluate.locator("#experiment-status")).to_contain_text(": finished", timeout=LONG_MS)
    expect(evaluate.locator("#experiment-plot .scatterlayer .trace").first).to_be_visible()
    document = json.loads(download(evaluate, "#experiment-json").read_text())
    assert len(document["rows"]) == 1


def test_on_a_phone_no_part_is_wider_than_the_screen(page, visit):
    page.set_viewport_size({"width": 390, "height": 844})
    visit("tab=evaluate&model=fashion_cnn")
    for part in PARTS:
        ask(page, part)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        boxes = "[...document.querySelectorAll('.block:has(> .checkbox-container)')]"
        cut_off = page.evaluate(f"{boxes}.filter((box) => box.scrollWidth > box.clientWidth).length")
        assert cut_off == 0


def test_a_link_opens_it_for_a_model_whose_data_is_not_here(visit, page):
    """What gradio itself asks while the page is made still has the values of before."""
    visit("tab=explain")
    expect(page.locator("#explain-view .finding")).to_be_visible()  # from here on the browser is fast
    with page.expect_request(lambda request: '"value":"Evaluate"' in (request.post_data or "")):
        visit("tab=evaluate")
    expect(page.locator("#eval-data input")).to_have_value("Own pictures")
    expect(page.locator("#eval-estimate")).to_contain_text("folder")
    expect(page.get_by_test_id("toast-body")).to_have_count(0)
