"""Quotas, asked of a real server by hand."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from gradio.route_utils import API_PREFIX

from models.access import Viewer
from tests.server import Server, run_server
from ui.visitors import BROWSER, WHOSE, Visitors, read_key

REQUESTS, PAGES, JOIN = 30, 2, f"{API_PREFIX}/queue/join"
UPLOADS = f"{API_PREFIX}/upload_progress?upload_id=x"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("quotas")
    options = (f"requests={REQUESTS}", "upload_mb=0.2", "computing=1", "files_mb=1")
    quotas = [part for option in options for part in ("--quota", option)]
    with run_server(folder, "--visitors", "train", *quotas, CONVSCOPE_QUOTAS=f"pages={PAGES} upload_mb=9") as running:
        yield running


@pytest.fixture(scope="module")
def visit(server):
    """Somebody's browser."""
    visitors = Visitors(read_key(server.runs_root), "train")

    def open_browser(name: str = "", role: str = "train") -> httpx.Client:
        who = Viewer(name, role)
        mine = {visitors.cookies[BROWSER]: visitors.seal(BROWSER, name)} if name else {}
        if who.is_owner:
            mine[visitors.cookies[WHOSE]] = visitors.seal(WHOSE, name)
        return httpx.Client(base_url=server.url, cookies=mine, timeout=60)

    return open_browser


def test_an_upload_may_have_so_much_whatever_it_says_of_itself(server, visit):
    ada, owner = visit("ada"), visit("owner", "owner")
    (kept,) = ada.post(f"{API_PREFIX}/upload", files={"files": ("a.png", bytes(200_000))}).json()
    before = {path for path in (server.runs_root.parent / "uploads").rglob("*") if path.is_file()}
    body, kind = httpx.Request("POST", "http://a", files={"files": ("b.png", bytes(400_000))}), "Content-Type"
    for content in (body.read(), (body.content[start : start + 9999] for start in range(0, 410_000, 9999))):
        refused = ada.post(f"{API_PREFIX}/upload", content=content, headers={kind: body.headers[kind]})
        assert refused.status_code == 400 and "0.2 MB at once" in refused.text
    assert {path for path in (server.runs_root.parent / "uploads").rglob("*") if path.is_file()} == before and kept
    assert owner.post(f"{API_PREFIX}/upload", files={"files": ("b.png", bytes(400_000))}).status_code == 200


def test_uploads_of_a_minute_have_so_much_and_each_file_counts(visit):
    for name, files in (("hal", [bytes(190_000)]), ("ivy", [bytes([number]) for number in range(3)])):
        browser, codes = visit(name), []
        while 429 not in codes:
            sent = [("files", (f"{len(codes)}.bin", bytes([len(codes)]) + data)) for data in files]
            codes.append(browser.post(f"{API_PREFIX}/upload", files=sent).status_code)
        assert codes[:6] == [200] * 6 and len(codes) < 9, name
        assert "1 MB of files a minute" in browser.post(JOIN, json={}).text
    assert visit("joe").post(JOIN, json={}).status_code != 429


def test_a_browser_has_so_many_pages_open_and_another_once_one_is_closed(visit):
    bob, cy = visit("bob"), visit("cy")

    def open_page(stack: ExitStack, browser: httpx.Client, name: str) -> int:
        return stack.enter_context(browser.stream("GET", f"{API_PREFIX}/heartbeat/{name}")).status_code

    with ExitStack() as others:
        with ExitStack() as one:
            assert (open_page(one, bob, "b1"), open_page(others, bob, "b2"), open_page(others, cy, "c1")) == (
                200,
            ) * 3
            for _ in range(2):
                assert open_page(others, bob, "b3") == 429
            event = {"fn_index": 0, "data": [], "session_hash": "b3"}
            assert f"{PAGES} pages" in bob.post(JOIN, json=event).text
            assert bob.post(JOIN, json=event | {"session_hash": "b2"}).status_code != 429
        deadline = time.monotonic() + 20
        while open_page(others, bob, "b3") == 429:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_browser_and_whoever_has_no_cookie_are_answered_so_often_a_minute(visit):
    eve, nobody, owner = visit("eve"), visit(), visit("owner", "owner")

    def use_up(ask: Callable[[], httpx.Response]) -> tuple[int, httpx.Response]:
        for count in range(2 * REQUESTS):
            if (answer := ask()).status_code == 429:
                return count, answer
        raise AssertionError("never refused")

    for browser in (eve, nobody):
        begun = time.monotonic()
        count, refused = use_up(lambda browser=browser: browser.post(JOIN, json={}))
        most = REQUESTS * (1 + (time.monotonic() - begun) / 60)
        least = REQUESTS if browser is eve else 1  # nobody has also asked whether the server is there
        assert least <= count <= most and f"{REQUESTS} requests a minute" in refused.json()["detail"]
    assert use_up(lambda: visit().get("/config"))[0] < 5  # one more name for the same address
    use_up(lambda: eve.post(JOIN, json={}))
    assert [eve.get(path).status_code for path in (UPLOADS, "/", "/config")] == [429] * 3
    assert eve.get("/theme.css").status_code == 200
    assert visit("ida").get(f"{UPLOADS}{'x' * 64}").status_code == 403  # gradio would remember any name
    assert all(owner.post(JOIN, json={}).status_code != 429 for _ in range(REQUESTS + 3))
    count, refused = use_up(lambda: nobody.post(JOIN, json={}))
    time.sleep(int(refused.headers["Retry-After"]))
    assert nobody.post(JOIN, json={}).status_code != 429


def test_networks_work_for_a_visitor_so_many_seconds_a_minute(visit):
    fay, guy = visit("fay"), visit("guy")

    def call(browser: httpx.Client, name: str, *data: object) -> str:
        event = browser.post(f"{API_PREFIX}/call/{name}", json={"data": data}).json()["event_id"]
        return browser.get(f"{API_PREFIX}/call/{name}/{event}").text

    said = [call(fay, "self_check", "bag", "fashion_cnn")]
    while "complete" in said[-1]:
        said.append(call(fay, "self_check", "bag", "fashion_cnn"))
    assert len(said) > 1 and "computes 1 s a minute" in said[-1]
    assert "complete" in call(guy, "classify", "bag", "fashion_cnn", 3)
