"""Browser tests share one server and one Chromium, those of a module also a page."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect

from tests.browser.chromium import ARGUMENTS, MISSING, find_chromium
from tests.server import Server, run_server

TIMEOUT_MS = 30_000
SCREEN = {"width": 1400, "height": 1000}


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    path = find_chromium()
    if path is None:
        pytest.skip(MISSING)
    expect.set_options(timeout=TIMEOUT_MS)
    return {**browser_type_launch_args, "executable_path": path, "args": ARGUMENTS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    return {**browser_context_args, "viewport": SCREEN}


@pytest.fixture(scope="session")
def server(tmp_path_factory, browser_type_launch_args) -> Server:
    with run_server(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def page(browser: Browser, browser_context_args) -> Iterator[Page]:
    """One for all tests of a module: gradio's scripts are loaded and compiled once."""
    context = browser.new_context(**browser_context_args)
    context.set_default_timeout(TIMEOUT_MS)
    yield context.new_page()
    context.close()


@pytest.fixture(autouse=True)
def whole_scripts(page: Page) -> Iterator[None]:
    """Fails the test if a script on the page fails, or the page wants something that its policy forbids."""
    failures: list[str] = []

    def note(error: Error) -> None:
        failures.append(str(error))

    def read(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            failures.append(message.text)

    page.on("pageerror", note)
    page.on("console", read)
    yield
    page.remove_listener("pageerror", note)
    page.remove_listener("console", read)
    assert not failures


def forget_picture(page: Page) -> None:
    """A picture of a visitor's own outlives a reload; the next test begins without."""
    if page.url.startswith("http"):
        page.evaluate("sessionStorage.clear()")


@pytest.fixture
def visit(page: Page, server: Server) -> Iterator[Callable[..., Page]]:
    """Opens the page anew, as a link with this query does; it is left blank, so that nothing of it is used again."""

    def open_link(query: str = "") -> Page:
        forget_picture(page)
        page.goto(f"{server.url}/?{query}")
        return page

    yield open_link
    page.set_viewport_size(SCREEN)
    page.goto("about:blank")


@pytest.fixture
def first_page(visit) -> Page:
    """The page as a visitor first sees it."""
    page = visit()
    expect(page.locator("#classify-result .finding")).to_contain_text("tiger cat")
    return page


@pytest.fixture
def used_page(page: Page, server: Server) -> Page:
    """The same as an earlier test with it has left it: for those that change nothing but the picture."""
    if page.url != f"{server.url}/":
        forget_picture(page)
        page.goto(server.url)
        expect(page.locator("#classify-result .finding")).to_contain_text("tiger cat")
    page.evaluate("document.querySelectorAll('[data-testid=toast-close]').forEach((button) => button.click())")
    return page


@pytest.fixture
def open_train(visit) -> Callable[[], Page]:
    """Opens the Train tab; it shows the newest run, and the settings where there is none yet."""

    def open_tab() -> Page:
        page = visit("tab=train")
        page.wait_for_url("**/*model=*")  # the address follows when everything is there
        expect(page.locator("#train-status :is(.finding, .empty)").first).to_be_visible()
        return page

    return open_tab
