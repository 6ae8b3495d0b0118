"""A small page behind the doors, served on a port of its own, and what strangers send it."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import gradio as gr
import httpx
import pytest
from fastapi.routing import iter_route_contexts
from starlette.middleware import Middleware

import ui.requests
from analysis.errors import Cancelled
from tests.server import find_free_port
from ui.doors import connections, door, listeners
from ui.doors.connections import bound_connections
from ui.doors.door import OPEN_PATHS, Doors
from ui.doors.hosts import Hosts
from ui.doors.line import Line
from ui.doors.login import FREE_TRIES
from ui.requests import RequestGuard
from ui.services import Action

API = "/gradio_api"


@pytest.fixture
def quick(monkeypatch):
    """What is swept up, is at once."""
    monkeypatch.setattr(listeners, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(door, "SWEEP_SECONDS", 0.1)


@contextmanager
def serve(
    page: gr.Blocks, users: dict[str, str] | None = None, max_size: int | None = None, max_threads: int = 40
) -> Iterator[httpx.Client]:
    """Asks the page, which is served behind its doors."""
    port, doors = find_free_port(), Doors(Hosts("127.0.0.1"), users)
    page.queue(api_open=False, max_size=max_size, default_concurrency_limit=None)
    page._queue = Line(page._queue)
    options = {"app_kwargs": {"middleware": [Middleware(RequestGuard)]}, "run_history": False, "ssr_mode": False}
    options |= {"max_threads": max_threads}
    page.launch(server_port=port, prevent_thread_lock=True, quiet=True, **doors.guard(options))
    bound_connections(page.server)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
            yield client
    finally:
        page.server.config.timeout_graceful_shutdown = 1
        page.close(verbose=False)


def make_page() -> gr.Blocks:
    """Answers at once (``add``), and works until nobody waits any more (``work``)."""
    with gr.Blocks() as page:
        page.ended = threading.Event()

        def add(number: float) -> float:
            return number + 1

        def work(number: float) -> float:
            action = Action("", lambda *_, **__: None)
            try:
                for _ in range(1000):
                    time.sleep(0.02)
                    action.check()
            except Cancelled:
                page.ended.set()
                raise
            return number

        gr.api(add, api_name="add")
        gr.api(work, api_name="work")
    return page


def wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_answers_that_nobody_fetches_are_dropped_and_work_that_nobody_waits_for_ends(quick, monkeypatch):
    page = make_page()
    monkeypatch.setattr(listeners, "PATIENCE_SECONDS", 60)
    with serve(page) as client:
        for name, number in (("add", 5), ("work", 2)):
            for each in range(number):
                join = {"data": [each], "session_hash": f"{name}{each}", "fn_index": ["add", "work"].index(name)}
                assert client.post(f"{API}/queue/join", json=join).status_code == 200
        queue = page._queue
        assert len(queue.pending_messages_per_session) == 7
        monkeypatch.setattr(listeners, "PATIENCE_SECONDS", 0.5)
        wait(page.ended.is_set)
        wait(lambda: not (queue.pending_messages_per_session or queue.pending_event_ids_session))
        wait(lambda: not (queue.event_ids_to_events or len(queue) or any(queue.active_jobs)))
        event = client.post(f"{API}/call/add", json={"data": [1]}).json()["event_id"]
        time.sleep(0.2)
        with client.stream("GET", f"{API}/call/add/{event}") as answer:
            assert "data: [2.0]" in answer.read().decode() or "data: [2]" in answer.text


def test_what_goes_round_the_queue_is_closed(quick):
    with serve(make_page()) as client:
        for path in ("run/add", "api/add", "run/predict"):
            assert client.post(f"{API}/{path}", json={"data": [1], "fn_index": 0}).status_code == 404
            foreign = client.post(f"{API}/{path}", json={"data": [1]}, headers={"Origin": "http://evil.example"})
            assert foreign.status_code == 403
            assert not any(name.startswith("access-control") for name in foreign.headers)
        assert client.get("/config", headers={"Host": "evil.example"}).status_code == 421
        assert client.options(f"{API}/upload", headers={"Origin": "null"}).status_code == 403


def talk(client: httpx.Client, *parts: bytes, pause: float = 0.2) -> bytes:
    """What is answered to these parts of a request, one after the other, until the server hangs up."""
    with closing(socket.create_connection((client.base_url.host, client.base_url.port), timeout=10)) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                break
            time.sleep(pause)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except OSError:
            pass
        return answer


def test_slow_requests_are_ended(quick, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.4)
    monkeypatch.setattr(ui.requests, "SILENT_SECONDS", 0.4)
    monkeypatch.setattr(connections, "find_max_connections", lambda: 8)
    head = b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    with serve(make_page()) as client:
        began = time.monotonic()
        assert talk(client, b"GET / HT") == b""
        assert talk(client) == b""
        assert talk(client, b"G", *[b"E"] * 20) == b""  # however it drips
        assert b" 408 " in talk(client, head).splitlines()[0]
        assert time.monotonic() - began < 8
        monkeypatch.setattr(ui.requests, "SILENT_SECONDS", 20)
        many = [socket.create_connection((client.base_url.host, client.base_url.port)) for _ in range(8)]
        assert b" 503 " in talk(client, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").splitlines()[0]
        for each in many:
            each.close()


def test_without_the_password_only_the_page_that_asks_for_it_is_open(quick):
    page = make_page()
    with serve(page, {"teacher": "secret"}) as client:
        routes = list(iter_route_contexts(page.app.routes))
        assert len(routes) > 40
        for route in routes:
            path = route.path.replace("{path:path}", "index.html")
            for method in route.methods or ():
                answer = client.request(method, path, headers={"Connection": "close"})
                is_open = path in ("/", "/login", "/login/", *OPEN_PATHS)
                assert is_open or answer.status_code == 401, (method, path)
        asked = client.get("/").text
        assert 'name="password"' in asked and "gradio" not in asked
        wrong = [client.post("/login", data={"username": "teacher", "password": str(each)}) for each in range(9)]
        codes = [answer.status_code for answer in wrong]
        assert codes.count(429) >= 2 and codes[-1] == 429 and int(wrong[-1].headers["retry-after"]) >= 1
        right = {"username": "teacher", "password": "secret"}
        assert client.post("/login", data=right).status_code == 429
        there = {"X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "https"}  # through a proxy on this machine
        answer = client.post("/login", data=right, headers=there)
        assert answer.status_code == 200
        for cookie in answer.headers.get_list("set-cookie"):
            assert all(word in cookie for word in ("HttpOnly", "SameSite=Lax", "Secure")) and "None" not in cookie
        token = "; ".join(cookie.split(";")[0] for cookie in answer.headers.get_list("set-cookie"))
        assert client.get("/config", headers={"Cookie": token}).status_code == 200
        assert FREE_TRIES < 9


def test_a_full_disk_is_one_sentence(quick, monkeypatch):
    with serve(make_page()) as client:
        files = {"files": ("a.txt", b"x")}
        assert client.post(f"{API}/upload", files=files).status_code == 200
        monkeypatch.setattr(ui.requests, "FREE_BYTES", 2**62)
        assert client.post(f"{API}/upload", files=files).status_code == 507
        assert client.get("/config").status_code == 200
        monkeypatch.setattr(ui.requests, "FREE_BYTES", 0)
        monkeypatch.setattr(ui.requests, "MAX_UPLOAD_BYTES", 10)
        assert client.post(f"{API}/upload", files=files).status_code == 413
