"""Owner and visitors, each in a browser of their own: what is shown, and what is not there."""

import json
import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from lab.jobs import JobManager
from models.access import LACKS
from models.training.config import TrainingConfig
from models.training.run import train
from tests.app.test_visitors import ask
from tests.browser.conftest import TIMEOUT_MS
from tests.browser.test_classify import choose, upload
from tests.browser.test_jobs import CHIP
from tests.browser.test_train import SMALL, start_training
from tests.server import ROOT, Server, run_server

OF_TRAINING = ("#train-new", "#train-change")


@pytest.fixture(scope="module")
def school(tmp_path_factory, browser_type_launch_args) -> Iterator[Server]:
    """A server with a run of the owner's, whose visitors may train."""
    folder = tmp_path_factory.mktemp("school")
    train(TrainingConfig.from_dict(SMALL | {"epochs": 1}), folder / "runs/teachers")
    with run_server(folder, "--visitors", "train") as running:
        yield running
        for run in (manager := JobManager(running.runs_root)).list():
            manager.kill(run.name)


@pytest.fixture
def enter(school, browser: Browser, browser_context_args) -> Iterator[Callable[..., Page]]:
    """Opens the Train tab in a new browser, by an address if one is given."""
    contexts = []

    def open_browser(address: str = "") -> Page:
        contexts.append(browser.new_context(**browser_context_args))
        contexts[-1].set_default_timeout(TIMEOUT_MS)
        page = contexts[-1].new_page()
        page.goto(f"{address or school.url + '/?'}&tab=train")
        page.wait_for_url("**/*model=*")
        return page

    yield open_browser
    for context in contexts:
        context.close()


def test_what_somebody_trains_and_what_the_owner_shows(school, enter):
    owner, ada, bob = enter(school.owners_address), enter(), enter()
    assert "owner=" not in owner.url
    expect(owner.get_by_text("Owner", exact=True)).to_be_visible()
    expect(ada.get_by_text("Visitor", exact=True)).to_be_visible()
    run = "#train-run input"
    expect(owner.locator(run)).to_have_value("teachers")
    expect(ada.locator(run)).to_have_value("")

    choose(ada, "train-dataset", "Drawn shapes")
    start_training(ada, 500)
    expect(ada.locator(CHIP)).to_have_text("1 running", timeout=60_000)
    name = ada.locator(run).input_value()
    bob.reload()
    expect(bob.locator(CHIP)).to_have_text("1 running")
    bob.locator(CHIP).click()
    expect(bob.locator("#job-list .open")).to_contain_text("Somebody else’s job")
    expect(bob.locator("#job-list li button:enabled")).to_have_count(0)
    assert name not in bob.content()
    bob.keyboard.press("Escape")

    shown = owner.get_by_label("Show to visitors")
    expect(shown).not_to_be_checked()
    shown.check()
    expect(owner.get_by_text("Visitors see this run now")).to_be_visible()
    expect(shown).to_be_checked()
    bob.reload()
    expect(bob.locator(run)).to_have_value("teachers")
    bob.locator("#train-results label").filter(has_text="Runs").click()
    expect(bob.locator("#runs-heading")).to_contain_text("teachers")
    expect(bob.locator("#runs-delete")).to_be_hidden()
    expect(bob.locator("#runs-capsule")).to_be_disabled()
    bob.locator("#train-use").click()
    expect(bob.get_by_text("All tabs now use run/teachers.")).to_be_visible()
    expect(bob.get_by_label("Show to visitors")).to_be_hidden()

    owner.reload()
    owner.locator(CHIP).click()
    owner.locator(f"#job-list [data-name='{name}']").get_by_role("button", name=f"Stop: {name}").click()
    owner.locator("#job-list .question .yes").click()
    for page in (owner, ada):
        expect(page.locator(CHIP)).to_have_text("No jobs", timeout=60_000)


ROLES = {
    "look": ({*OF_TRAINING, "#train-published", "#upload"}, {"train", "try"}),
    "try": ({*OF_TRAINING, "#train-published"}, {"train"}),
    "train": ({"#train-published"}, set()),
    "owner": (set(), set()),
}
"""Role -> what of the Train tab and the sidebar is not there, and which sentences are there instead."""


def test_what_a_role_lacks_is_not_there_and_a_sentence_says_so(enter):
    page = enter()
    expect(page.get_by_text("Visitor", exact=True)).to_be_visible()
    for role, (hidden, said) in ROLES.items():
        page.evaluate("(role) => { document.body.dataset.role = role; }", role)
        for part in {*OF_TRAINING, "#upload", "#train-published"}:
            expect(page.locator(part)).to_be_visible(visible=part not in hidden)
        for lack in ("try", "train"):
            expect(page.locator(f".block.lacks-{lack}").first).to_be_visible(visible=lack in said)


NEEDS = {
    "classify_batch": "try",
    "keep": "try",
    "add_label": "train",
    "open_capsule": "train",
    "resume": "train",
    "publish": "owner",
}
"""Handlers of the page -> who may call them."""


@pytest.mark.parametrize("role", ["look", "try"])
def test_a_server_shows_a_role_what_it_may_do_and_refuses_the_rest_by_hand_too(
    role, tmp_path, browser: Browser, browser_context_args
):
    may_try = role == "try"
    with (
        run_server(tmp_path, "--visitors", role) as running,
        browser.new_context(**browser_context_args) as own,
    ):
        page = own.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(f"{running.url}/?model=fashion_cnn&sample=bag")
        expect(page.get_by_text("Visitor", exact=True)).to_be_visible()
        expect(page.locator("#upload")).to_be_visible(visible=may_try)
        expect(page.locator(".block.lacks-try").first).to_be_visible(visible=not may_try)
        expect(page.locator("#classify-result")).to_contain_text("bag")
        if may_try:
            upload(page, "own.png", (ROOT / "assets/garments/7-sneaker.png").read_bytes())
            expect(page.locator("#classify-result")).to_contain_text("sneaker")
        page.get_by_role("tab", name="Train").click()
        expect(page.locator(".block.lacks-train").first).to_be_visible()
        for part in OF_TRAINING:
            expect(page.locator(part)).to_be_hidden()
        page.get_by_role("tab", name="Learn").click()
        expect(page.locator("#lessons-list .finding")).to_be_visible()
        for part in ("#lessons-csv", "#lessons-delete"):
            expect(page.locator(part)).to_be_hidden()
        cookies = {cookie["name"]: cookie["value"] for cookie in own.cookies()}
        with httpx.Client(base_url=running.url, cookies=cookies, timeout=60) as hand:
            files = {"files": ("cat.png", b"a cat")}
            assert hand.post("/gradio_api/upload", files=files).status_code == (200 if may_try else 403)
            asked = set()
            for listener in hand.get("/config").json()["dependencies"]:
                name = re.sub(r"_\d+$", "", str(listener["api_name"]))
                if NEEDS.get(name, role) == role or (may_try and NEEDS[name] == "try"):
                    continue
                said = ask(hand, listener["id"], [None] * len(listener["inputs"]), name)
                assert LACKS[NEEDS[name]] in json.loads(said.split("data: ")[-1])["output"]["error"]
                asked.add(name)
            assert asked == {name for name, needed in NEEDS.items() if not (may_try and needed == "try")}
