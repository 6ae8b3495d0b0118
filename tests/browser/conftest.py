"""Browser tests share one server and one Chromium; each test has a page of its own."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import ARGUMENTS, MISSING, find_chromium
from tests.server import Server, run_server

TIMEOUT_MS = 15_000


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    path = find_chromium()
    if path is None:
        pytest.skip(MISSING)
    expect.set_options(timeout=TIMEOUT_MS)
    return {**browser_type_launch_args, "executable_path": path, "args": ARGUMENTS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    return {**browser_context_args, "viewport": {"width": 1400, "height": 1000}}


@pytest.fixture(scope="session")
def server(tmp_path_factory, browser_type_launch_args) -> Server:
    with run_server(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def lab_page(page: Page, server: Server) -> Page:
    """The page as a visitor first sees it; fails the test if a script on it fails."""
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(server.url)
    expect(page.locator("#classify-result .finding")).to_contain_text("tiger cat")
    yield page
    assert not failures


@pytest.fixture
def open_tab(lab_page: Page):
    """Opens a tab of ``lab_page`` by its title."""

    def open_named(title: str) -> Page:
        lab_page.get_by_role("tab", name=title, exact=True).click()
        return lab_page

    return open_named
