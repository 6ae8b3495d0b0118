"""The list of jobs in the header: any browser sees what runs, and whose it is."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.jobs import JobManager
from models.training.config import TrainingConfig
from tests.browser.conftest import TIMEOUT_MS
from tests.browser.test_classify import choose
from tests.browser.test_requests import IDLE_MS, REST_MS, counted
from tests.browser.test_train import SMALL, start_training
from tests.server import Server

CHIP = "#jobs .chip"
PHONE = {"width": 390, "height": 844}
ROW = "#job-list [data-name='{}']"
TOLD = """() => {
    window.told = [];
    document.hasFocus = () => false;
    window.Notification = class { constructor(title, {body}) { window.told.push(body); } };
    window.Notification.permission = "granted";
}"""


@pytest.fixture
def other(browser: Browser, browser_context_args) -> Iterator[Page]:
    """A page in another browser."""
    context = browser.new_context(**browser_context_args)
    context.set_default_timeout(TIMEOUT_MS)
    yield context.new_page()
    context.close()


@pytest.fixture
def jobs(server: Server) -> Iterator[JobManager]:
    """Nothing that a test has started goes on after it."""
    manager = JobManager(server.runs_root)
    yield manager
    for run in manager.list():
        manager.kill(run.name)


@pytest.fixture
def running(jobs: JobManager) -> str:
    """A training that the command line has started, and that goes on until it is ended."""
    return jobs.start(TrainingConfig.from_dict(SMALL | {"epochs": 1000}))


def test_a_training_is_seen_from_another_browser_and_stopped_there_after_a_question(open_train, other, server, jobs):
    page = open_train()
    page.evaluate(TOLD)
    if not page.locator("#train-start").is_visible():
        page.locator("#train-new").click()
    choose(page, "train-dataset", "Drawn shapes")
    start_training(page, 100)
    expect(page.locator(CHIP)).to_have_text("1 running", timeout=60_000)
    name = page.locator("#train-run input").input_value()
    assert jobs.read(name).owner
    other.goto(f"{server.url}/?model=fashion_cnn&sample=dress")
    expect(other.locator(CHIP)).to_have_text("1 running")
    other.locator(CHIP).click()
    row = other.locator(ROW.format(name))
    expect(row.locator(".open")).to_contain_text("Training: Drawn shapes, Small CNN, 100 epochs")
    expect(row.locator(".about")).to_contain_text("another browser’s: running")
    expect(row.locator(".about")).to_contain_text("left", timeout=60_000)
    row.get_by_role("button", name=f"Stop: {name}").click()
    expect(row.locator(".question")).to_contain_text("started in another browser")
    expect(row.get_by_role("button", name="Leave it")).to_be_focused()
    other.keyboard.press("Enter")
    expect(row.locator(".question")).to_have_count(0)
    assert jobs.read(name).state == "running"
    row.locator(".open").click()
    expect(other.locator("#train-status")).to_contain_text(f"{name}: running")
    expect(other.locator("#job-list")).to_be_hidden()
    other.locator(CHIP).click()
    row.get_by_role("button", name=f"Stop: {name}").click()
    row.locator(".question .yes").click()
    for each in (other, page):
        expect(each.locator(CHIP)).to_have_text("No jobs")
    assert jobs.read(name).state == "stopped"
    expect(page).to_have_title("(done) ConvScope")  # who started it is told, and nobody else
    expect(other).to_have_title("ConvScope")
    assert page.evaluate("window.told") == []  # nobody has allowed that
    other.get_by_role("tab", name="Classify", exact=True).click()
    expect(other.locator("#classify-result")).to_be_visible()
    other.locator(CHIP).click()
    with counted(other) as calls:
        row.locator(".open").click()
        expect(other.locator("#train-status")).to_contain_text(f"{name}: stopped")
    assert len([call for call in calls if "component_server" not in call]) == 1  # the list's own news are no event
    page.evaluate("document.hasFocus = () => true; window.dispatchEvent(new Event('focus'))")
    expect(page).to_have_title("ConvScope")


def test_what_runs_asks_little_and_what_has_ended_asks_nothing(visit, running, jobs):
    page = visit("model=fashion_cnn&sample=dress")
    expect(page.locator(CHIP)).to_have_text("1 running")
    page.wait_for_timeout(REST_MS)
    with counted(page) as calls:
        page.wait_for_timeout(IDLE_MS // 2)
    assert 1 <= len(calls) <= 3
    jobs.stop(running)
    expect(page.locator(CHIP)).to_have_text("No jobs")
    with counted(page) as calls:
        page.wait_for_timeout(IDLE_MS // 3)
    assert calls == []


def test_a_page_that_was_open_learns_of_it_with_its_next_action(visit, request):
    page = visit("model=fashion_cnn&sample=dress")
    expect(page.locator("#classify-result .finding")).to_be_visible()
    expect(page.locator(CHIP)).to_have_text("No jobs")
    name = request.getfixturevalue("running")
    page.locator("#samples [data-name=sneaker]").click()
    expect(page.locator(CHIP)).to_have_text("1 running")
    page.locator(CHIP).click()
    expect(page.locator(ROW.format(name)).locator(".about")).to_contain_text("the command line’s")


def test_the_list_works_by_keyboard_and_fits_a_phone_whose_header_it_does_not_raise(page, visit, running, jobs):
    for _ in range(2):
        jobs.start(TrainingConfig.from_dict(SMALL))
    page.set_viewport_size(PHONE)
    visit("model=fashion_cnn&sample=dress")
    expect(page.locator(CHIP)).to_have_text("1 running, 2 waiting")
    assert page.locator("#header").bounding_box()["height"] < 110  # it was 118, without the list
    page.locator(CHIP).focus()
    page.keyboard.press("Enter")
    row = page.locator(ROW.format(running))
    expect(row).to_be_visible()
    box = page.locator("#job-list").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
    page.keyboard.press("Tab")
    expect(row.locator(".open")).to_be_focused()
    page.keyboard.press("Tab")
    expect(row.locator(".actions button")).to_be_focused()
    for _ in range(2):  # news of the line take the focus from nobody
        page.wait_for_event("requestfinished", lambda request: request.method == "POST")
    expect(row.locator(".actions button")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#job-list")).to_be_hidden()
    expect(page.locator(CHIP)).to_be_focused()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
