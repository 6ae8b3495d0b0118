"""The app behind a password and a proxy, as strangers and guests find it."""

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AuthenticationError

import app
from lab.jobs import JobManager
from models.runs.files import write_json
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from tests.server import ROOT, Server, find_free_port, run_server
from ui.doors.login import SHOWN

API = "/gradio_api"
NAME = "convscope.example.org"
USER, PASSWORD = "class", "a:b c"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("doors")
    (folder / "users").write_text(f"{USER}:{PASSWORD}\n")
    with run_server(folder, "--auth-file", str(folder / "users"), "--allow-host", NAME) as running:
        yield running


@pytest.fixture
def guest(server) -> Iterator[httpx.Client]:
    """Somebody who knows the password."""
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        log_in(client)
        yield client


def log_in(client: httpx.Client, **headers: str) -> httpx.Response:
    """Keeps the cookie, which is for TLS where that is."""
    answer = client.post("/login", data={"username": USER, "password": PASSWORD}, headers=headers)
    assert answer.status_code == 200, answer.text
    client.headers["Cookie"] = "; ".join(each.split(";")[0] for each in answer.headers.get_list("set-cookie"))
    return answer


def test_a_program_with_the_password_gets_answers_and_one_without_none(server):
    with pytest.raises(AuthenticationError):
        Client(server.url, verbose=False)
    client = Client(server.url, auth=(USER, PASSWORD), verbose=False)
    assert len(client.predict("chelsea", "fashion_cnn", 2, api_name="/classify")["predictions"]) == 2
    commands = subprocess.run(["ps", "-o", "args=", str(server.process.pid)], capture_output=True, text=True)
    assert PASSWORD not in commands.stdout


def test_the_queue_cannot_be_passed_by_but_what_the_page_does_at_once_works(guest):
    for path in ("run/classify", "api/classify", "run/x"):
        assert guest.post(f"{API}/{path}", json={"data": ["chelsea"], "fn_index": 0}).status_code == 404
    listeners = guest.get("/config").json()["dependencies"]
    at_once = [each for each in listeners if not each["queue"] and each["backend_fn"] and not each["inputs"]]
    assert at_once
    for each in at_once:
        sent = {"data": [], "fn_index": each["id"], "session_hash": "x"}
        assert guest.post(f"{API}/run/{each['api_name']}", json=sent).status_code == 200


def test_every_answer_has_its_headers_and_the_page_is_not_for_other_addresses(guest):
    for path in ("/", "/config", f"{API}/info", "/assets/nothing", f"{API}/file=/etc/passwd"):
        headers = guest.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert guest.get("/", headers={"Host": "evil.example"}).status_code == 421
    assert guest.get("/", headers={"Host": f"{NAME}:8443"}).status_code == 200
    for path in (f"{API}/upload", f"{API}/queue/join", "/login"):
        assert guest.post(path, headers={"Origin": "http://evil.example"}).status_code == 403


@pytest.mark.parametrize(("variable", "option", "is_shown"), [("a:b", [], False), (None, ["--auth", "a:b"], True)])
def test_a_password_on_the_command_line_is_said_to_be_read_by_others(variable, option, is_shown, monkeypatch, capsys):
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    if variable:
        monkeypatch.setenv("CONVSCOPE_AUTH", variable)
    assert app.main([*option, "--host", "203.0.113.7"]) == 2  # no address of this machine
    assert (SHOWN in capsys.readouterr().err) == is_shown


@contextmanager
def serve_nginx(folder: Path, ports: tuple[int, int]) -> Iterator[str]:
    """Runs nginx with the file of the documentation before these ports; gives its address."""
    nginx, openssl = shutil.which("nginx", path="/usr/sbin:/usr/bin"), shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx and openssl are not installed")
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={NAME}", "-days", "2"]
    subprocess.run([*make, "-keyout", folder / "key", "-out", folder / "crt"], check=True, capture_output=True)
    secure, plain = find_free_port(), find_free_port()
    text = (ROOT / "docs" / "nginx.conf").read_text()
    scratch = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    for old, new in {
        "7861;": f"{ports[0]};",
        "7862;": f"{ports[1]};",
        "listen 443": f"listen 127.0.0.1:{secure}",
        "listen 80": f"listen 127.0.0.1:{plain}",
        "/etc/ssl/convscope.crt": str(folder / "crt"),
        "/etc/ssl/convscope.key": str(folder / "key"),
        "http {": f"http {{ {scratch}",
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)
    command = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]
    process = subprocess.Popen([*command, "-g", f"daemon off; pid {folder}/pid;"])
    try:
        deadline = time.monotonic() + 20
        while not _answers(f"https://127.0.0.1:{secure}/robots.txt"):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"https://127.0.0.1:{secure}"
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        httpx.get(url, verify=False, headers={"Host": NAME}, trust_env=False)
    except httpx.HTTPError:
        return False
    return True


def test_behind_nginx_a_guest_logs_in_through_tls_and_gets_an_event(server, tmp_path):
    port = int(server.url.rpartition(":")[2])
    with (
        serve_nginx(tmp_path, (port, port)) as url,
        httpx.Client(base_url=url, verify=False, timeout=60, trust_env=False) as client,
    ):
        host = f"{NAME}:{url.rpartition(':')[2]}"
        client.headers["Host"] = host
        cookies = log_in(client, Origin=f"https://{host}").headers.get_list("set-cookie")
        assert cookies and all("Secure" in cookie and "SameSite=Lax" in cookie for cookie in cookies)
        page = client.get("/")
        assert page.status_code == 200 and "max-age" in page.headers["strict-transport-security"]
        assert f'"root":"https://{host}"' in re.sub(r"\s", "", page.text)
        join = {"data": [], "fn_index": 0, "session_hash": "behind"}
        there = {"Origin": f"https://{host}", "X-Forwarded-For": "192.0.2.1"}
        assert client.post(f"{API}/queue/join", json=join, headers=there).status_code == 200
        with client.stream("GET", f"{API}/queue/data", params={"session_hash": "behind"}) as events:
            sent = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
        assert [each["success"] for each in sent if each["msg"] == "process_completed"] == [True]
        assert client.post(f"{API}/queue/join", json=join, headers={"Origin": "https://x.y"}).status_code == 403
        assert client.get("/", headers={"Host": "evil.example"}).status_code in (301, 421)


class JobList:
    """The list of jobs in the header of a page, asked by hand."""

    def __init__(self, client: httpx.Client):
        self._client = client
        parts = client.get("/config").json()["components"]
        self._id = next(part["id"] for part in parts if part["props"].get("elem_id") == "jobs")

    def ask(self, **wanted: str) -> dict:
        asked = {"data": wanted, "component_id": self._id, "fn_name": "follow", "session_hash": "one"}
        return self._client.post(f"{API}/component_server", json=asked).json()

    def wait(self, **about: str) -> None:
        """Until so much is said of these jobs."""
        deadline = time.monotonic() + 30
        while True:
            lines = {line["name"]: line["about"] for line in self.ask()["lines"]}
            if all(words in lines[name] for name, words in about.items()):
                return
            assert time.monotonic() < deadline, lines
            time.sleep(0.1)


def test_two_servers_behind_nginx_see_each_other_s_jobs_start_each_once_and_have_one_queue(tmp_path):
    runs = tmp_path / "runs"
    for name in ("first", "second"):
        config = TrainingConfig(dataset="shapes", epochs=500, device="cpu", data_root=str(tmp_path / "data"))
        path = create_run(runs, name, config.to_dict(), "training")
        write_json(path / "status.json", {"state": "stopped", "kind": "training", "submitted": 5})
    (tmp_path / "other").mkdir()
    options = ("--allow-host", NAME, "--runs-root", str(runs))
    starting = [run_server(folder, *options) for folder in (tmp_path, tmp_path / "other")]
    with ThreadPoolExecutor(2) as pool, ExitStack() as stack:
        servers = [*pool.map(lambda server: server.__enter__(), starting)]
        for server in starting:
            stack.push(server)
        url = stack.enter_context(serve_nginx(tmp_path, tuple(int(one.url.rpartition(":")[2]) for one in servers)))
        through, *direct = (
            httpx.Client(base_url=each, verify=False, timeout=60) for each in (url, *(one.url for one in servers))
        )
        through.headers["Host"] = f"{NAME}:{url.rpartition(':')[2]}"
        lists = [JobList(stack.enter_context(client)) for client in (through, *direct)]
        for name in ("first", "second"):
            stack.callback(JobManager(runs).kill, name)
        said = [*pool.map(lambda jobs: jobs.ask(do="resume", name="first")["said"], lists[1:])]
        assert sorted(map(bool, said)) == [False, True]  # one has started it, the other is refused
        assert lists[0].ask(do="resume", name="second")["said"] == ""
        for jobs in lists:
            jobs.wait(first="running", second="1 job before it")
        lists[2].ask(do="stop", name="first")
        for jobs in lists:
            jobs.wait(first="stopped", second="running")


def test_before_two_servers_nginx_leads_a_client_to_the_same_one(tmp_path):
    """Whatever it says of its own address."""

    class Stub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"{self.server.server_port} {self.headers['X-Forwarded-For']}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    stubs = [HTTPServer(("127.0.0.1", 0), Stub) for _ in range(2)]
    for stub in stubs:
        threading.Thread(target=stub.serve_forever, daemon=True).start()
    try:
        with serve_nginx(tmp_path, (stubs[0].server_port, stubs[1].server_port)) as url:
            said = {
                httpx.get(url, verify=False, headers={"X-Forwarded-For": f"192.0.2.{number}"}, trust_env=False).text
                for number in range(12)
            }
        assert len(said) == 1 and said.pop().split()[1] == "127.0.0.1"
    finally:
        for stub in stubs:
            stub.shutdown()
            stub.server_close()
