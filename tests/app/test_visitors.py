"""Owner and visitors: everything that the server answers is asked by hand as somebody whom it is no business of."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.helpers import special_args
from gradio.route_utils import API_PREFIX
from gradio.routes import App

from lab.jobs import JobManager
from lab.session import Lab
from models.access import LACKS, OWNER, Viewer, acting
from models.quotas import Quotas
from models.runs.changes import publish_run, write_notes
from models.runs.files import write_json
from models.runs.process import record_process
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from tests.device import DEVICE
from tests.server import ROOT, Server, run_server
from ui.page import build_page
from ui.rights import find_route_role, has_rule
from ui.services import Services
from ui.train.results.downloads import FILES
from ui.visitors import BROWSER, WHOSE, Visitors, read_key

SECRET = "SECRET-OF-THE-OWNER"
SHOWN = "shown-1"
ADA, BOB = Viewer("aa" * 12, "train"), Viewer("bb" * 12, "train")
RUNS = {"owners-1": OWNER, "adas-1": ADA}
"""Runs that are no business of Bob's, and who has started them."""
HOSTILE: tuple[Any, ...] = (
    *(name for run in RUNS for name in (run, f"run/{run}", f"run/{run}@5")),
    *("../runs/owners-1", "/etc/passwd", "x" * 5000, None),
)
REFUSED = LACKS["owner"]
TEXTS = ("textbox", "html", "state")


def plant(
    root: Path, name: str, who: Viewer, kind: str = "training", state: str = "finished", text: str = SECRET
) -> Path:
    """A run with a model that works, and with a text in whatever can be read of it."""
    config = {"title": text, "models": [text]}
    if kind == "training":
        config = TrainingConfig(dataset=f"/srv/{text}/pets.zip", epochs=1).to_dict()
    with acting(who):
        path = create_run(root, name, config, kind)
    write_notes(root, name, text)
    status = {"state": state, "kind": kind, "message": text, "sentence": text, "submitted": 5}
    write_json(path / "status.json", who.sign() | status)
    shutil.copyfile(ROOT / "assets/fashion_cnn.json", path / "model.json")
    shutil.copyfile(ROOT / "assets/fashion_cnn.safetensors", path / "weights.safetensors")
    (path / "log.txt").write_text(text)
    (path / "metrics.jsonl").write_text(json.dumps({"kind": "epoch", "epoch": 1, "note": text}))
    write_json(path / "result.json", {"note": text})
    write_json(path / "corrections.json", {"corrections": [[1, 2, "validation", text, text]]})
    (path / "upload").mkdir()
    (path / "upload/pets.zip").write_bytes(text.encode())
    return path


def fill(root: Path) -> None:
    """Runs of all kinds of the owner's and of Ada's, one that the owner shows, and so many jobs that none begins."""
    for name, who in RUNS.items():
        plant(root, name, who)
    for kind in ("evaluation", "repair", "arms", "experiment"):
        plant(root, f"owners-{kind}", OWNER, kind)
    plant(root, SHOWN, OWNER, text="shown to everybody")
    publish_run(root, SHOWN)
    for number in range(9):
        path = plant(root, f"owners-busy-{number}", OWNER, state="queued")
        record_process(path, os.getpid())


def list_hidden(root: Path) -> list[str]:
    """The names of the runs that Bob may not see."""
    return [path.name for path in root.iterdir() if path.name.startswith(("owners", "adas"))]


def hash_tree(root: Path) -> dict[str, str]:
    """Every file but for what any reader may leave: name -> digest."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and ".locks" not in path.parts:
            found[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


# In this process: whatever a handler is given, as if every control could send everything, and every role may call it.


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("visitors") / "runs"
    fill(root)
    jobs = JobManager(root)
    jobs._launch = lambda run_dir: None
    built = build_page(
        Services(Lab(DEVICE, data_root=root.parent, runs_root=root), jobs),
        Visitors(b"k" * 32, "train", quotas=Quotas({})),
    )
    built.root = root
    return built


def list_handlers(page: gr.Blocks) -> list:
    return [fn for fn in page.fns.values() if fn.fn is not None]


def test_every_handler_endpoint_and_server_function_has_a_rule(built):
    functions = [fn.fn for fn in list_handlers(built)]
    functions += [each for block in built.blocks.values() for each in getattr(block, "server_fns", [])]
    assert len(functions) > 140 and [each for each in functions if not has_rule(each)] == []


def give(entry: Any, value: Any, event: dict) -> list:
    """What a handler answers where each of its lists, texts and states holds a value, and all else what is first."""
    named = (gr.Dropdown, gr.Textbox, gr.HTML, gr.State, gr.File, gr.UploadButton)
    values = [
        ([value] if getattr(part, "multiselect", False) else value)
        if isinstance(part, named) and part.elem_id not in ("opened-tab", "page-is-ready")
        else getattr(part, "value", None)
        for part in entry.inputs
    ]
    given = [dict(zip(entry.inputs, values, strict=True))] if entry.inputs_as_dict else values
    request = gr.Request(session_hash="bobs", query_params={"model": f"run/{value}", "tab": "train"})
    given, *_ = special_args(entry.fn, given, request, gr.EventData(None, event))
    found = entry.fn(*given)
    return list(found) if isinstance(found, Iterator) else [found]


def test_no_handler_reads_changes_or_tells_what_is_not_theirs_whatever_it_is_given(built):
    before = hash_tree(built.root)
    handlers = {(fn.fn.__qualname__, *sorted(part._id for part in fn.inputs)): fn for fn in list_handlers(built)}
    with acting(BOB):
        for (title, *_), entry in handlers.items():
            if title.startswith(("add_endpoints", "Examples.measure")):  # asked below; measures for seconds
                continue
            for value in ("owners-1", "adas-1", SHOWN, None):
                event = {"name": value, "choose": value, "compare": value, "index": 0, "do": "kill", "is_on": True}
                try:
                    found = str(give(entry, value, event))
                except Exception as error:
                    found = str(error)
                assert SECRET not in found, (title, value)
                assert not any(f"{SHOWN}{file.ending}" in found for file in FILES.values()), title
                others = [name for name in list_hidden(built.root) if name in found and name != value]
                assert others == [], (title, value, found[:500])
    now = hash_tree(built.root)
    assert {name: now.get(name) for name in before} == before


# And from outside: a real server, asked as its page asks, and as it never would.


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("visitors-app")
    fill(folder / "runs")
    (folder / "data" / f"{SECRET}-folder/a").mkdir(parents=True)
    (folder / "data" / f"{SECRET}-folder/b").mkdir()
    with run_server(folder, "--visitors", "train", "--quota", "requests=1e6", "--quota", "computing=1e6") as running:
        yield running


@pytest.fixture(scope="module")
def visit(server):
    """Somebody's browser."""
    visitors = Visitors(read_key(server.runs_root), "train")

    def open_browser(who: Viewer, **cookies: str) -> httpx.Client:
        mine = {visitors.cookies[BROWSER]: visitors.seal(BROWSER, who.name)} if who.name else {}
        if who.is_owner:
            mine[visitors.cookies[WHOSE]] = visitors.seal(WHOSE, who.name)
        return httpx.Client(base_url=server.url, cookies=mine | cookies, timeout=60)

    return open_browser


def upload(browser: httpx.Client, name: str = "cat.png", data: bytes = b"a cat") -> httpx.Response:
    return browser.post(f"{API_PREFIX}/upload", files={"files": (name, data)})


def ask(browser: httpx.Client, index: int, data: list, session: str, event: object = None) -> str:
    """All that the server says to an event of the page."""
    body = {"fn_index": index, "data": data, "session_hash": session, "event_data": event}
    joined = browser.post(f"{API_PREFIX}/queue/join", json=body)
    if joined.status_code != 200:
        return joined.text
    with browser.stream("GET", f"{API_PREFIX}/queue/data", params={"session_hash": session}) as answer:
        lines = []
        for line in answer.iter_lines():
            lines.append(line)
            if '"process_completed"' in line or '"close_stream"' in line or '"unexpected_error"' in line:
                break
        return "\n".join(lines)


def test_no_event_of_the_page_gives_a_visitor_what_is_not_theirs(server, visit):
    ada, bob = visit(ADA), visit(BOB)
    (theirs,) = upload(ada, "ada.png", SECRET.encode()).json()
    config, before = bob.get("/config").json(), hash_tree(server.runs_root)
    assert SECRET not in json.dumps(config) and "owners-1" not in json.dumps(config)
    parts = {part["id"]: part for part in config["components"]}
    file = {"path": theirs, "meta": {"_type": "gradio.FileData"}, "orig_name": "ada.png"}
    seen = {}
    for dependency in config["dependencies"]:
        if not dependency["backend_fn"]:
            continue
        kinds = [(parts[each]["type"], parts[each]["props"]) for each in dependency["inputs"]]
        seen.setdefault(str((dependency["api_name"], [kind for kind, _ in kinds])), (dependency["id"], kinds))
    for value in ("owners-1", "run/adas-1"):
        for index, kinds in seen.values():
            data = [
                file
                if kind in ("image", "file", "uploadbutton")
                else value
                if kind in TEXTS or (kind == "dropdown" and value == "run/adas-1")
                else props.get("value")
                for kind, props in kinds
            ]
            said = ask(bob, index, data, f"bob{index}", {"name": value, "index": 0})
            assert SECRET not in said, (index, value)
            others = [name for name in list_hidden(server.runs_root) if name in said and name not in value]
            assert others == [], (index, value)
    assert hash_tree(server.runs_root) == before
    assert len(seen) > 60


def test_what_the_list_of_jobs_does_it_does_for_their_own_runs_only(server, visit):
    bob, config = visit(BOB), visit(BOB).get("/config").json()
    jobs = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == "jobs")

    def call(data: object, component: object = jobs, name: object = "follow") -> httpx.Response:
        body = {"data": data, "component_id": component, "fn_name": name, "session_hash": "bobs"}
        return bob.post(f"{API_PREFIX}/component_server", json=body)

    before = hash_tree(server.runs_root)
    shown = call({}).json()
    assert len(shown["lines"]) > 8 and SECRET not in json.dumps(shown) and "owners" not in json.dumps(shown)
    for name in (*HOSTILE, *shown["order"]):
        for do in ("stop", "kill", "resume", "delete"):
            assert call({"do": do, "name": name}).json()["said"]
    for refused in (call({}, name="__init__"), call({}, component=10**9), call({}, component=str(jobs))):
        assert refused.status_code == 403
    assert bob.post(f"{API_PREFIX}/component_server", files={"data": b"1"}).status_code == 403
    assert hash_tree(server.runs_root) == before


def test_the_endpoints_know_only_what_a_visitor_may_see(server, visit):
    bob = visit(BOB)

    def call(name: str, *data: object) -> str:
        joined = bob.post(f"{API_PREFIX}/call/{name}", json={"data": list(data)}).json()
        return bob.get(f"{API_PREFIX}/call/{name}/{joined['event_id']}").text

    assert "shown-1" in call("runs") and "run/shown-1" in call("models")
    assert "complete" in call("classify", "bag", "run/shown-1", 3)
    (theirs,) = upload(visit(ADA), "hers.png", (ROOT / "assets/garments/8-bag.png").read_bytes()).json()
    (mine,) = upload(bob, "mine.png", (ROOT / "assets/garments/7-sneaker.png").read_bytes()).json()
    assert "complete" in call("classify", {"path": mine}, "fashion_cnn", 3)
    for path in (theirs, str(server.runs_root / "owners-1/log.txt"), "/etc/passwd", "http://127.0.0.1/x"):
        assert "complete" not in call("classify", {"path": path}, "fashion_cnn", 3)
    for name in HOSTILE:
        for endpoint in ("classify", "meter"):
            said = call(endpoint, "bag", name)
            assert "complete" not in said and SECRET not in said
    assert not any(name in call("runs") + call("models") for name in ("owners", "adas"))


def test_files_are_served_to_whom_they_were_given(server, visit):
    ada, bob, nobody = visit(ADA), visit(BOB), visit(Viewer("", "train"))
    (theirs,) = upload(ada).json()
    assert ada.get(f"{API_PREFIX}/file={theirs}").text == "a cat"
    detour = f"{Path(theirs).parent}/../{Path(theirs).parent.name}/cat.png"
    for path in (theirs, detour, str(server.runs_root / ".visitors-key"), "http://127.0.0.1:1/x", "%00", "x" * 9999):
        for other in (bob, nobody):
            for route in ("file=", "file/", "proxy="):
                assert other.get(f"{API_PREFIX}/{route}{path}").status_code in (403, 404, 400, 414), path[:99]
    assert upload(bob).json() == [theirs]  # who has the same file may have it
    assert bob.get(f"{API_PREFIX}/file={theirs}").status_code == 200
    assert nobody.get(f"{API_PREFIX}/file={theirs}").status_code == 403


def test_a_session_is_its_browsers(server, visit):
    ada, bob, nobody = visit(ADA), visit(BOB), visit(Viewer("", "train"))
    leave = next(each["id"] for each in ada.get("/config").json()["dependencies"] if each["api_name"] == "leave")
    assert "process_completed" in ask(ada, leave, [], "adas")
    for other in (bob, nobody):
        assert "another browser" in ask(other, leave, [], "adas")
        for path in (
            f"{API_PREFIX}/queue/data?session_hash=adas",
            f"{API_PREFIX}/heartbeat/adas",
            f"{API_PREFIX}/call/classify/adas",
        ):
            assert other.get(path).status_code == 403
        body = {"session_hash": "adas", "fn_index": leave, "event_id": "x"}
        assert other.post(f"{API_PREFIX}/cancel", json=body).status_code == 403


def test_what_is_no_route_for_visitors_is_the_owners(server, visit):
    """All routes that there are: none of those that are not in the table answers a visitor."""
    with gr.Blocks() as empty:
        gr.HTML()
    routes, paths = [*App.create_app(empty).routes], set()
    while routes:
        route = routes.pop()
        routes += getattr(getattr(route, "original_router", None), "routes", [])
        paths.add(re.sub(r"\{[^}]*\}", "x", getattr(route, "path", "")))
    closed = [path for path in paths if path and find_route_role(path) == "owner"]
    assert {f"{API_PREFIX}/process_recording", f"{API_PREFIX}/vibe-edit", "/monitoring"} <= {*closed}
    bob = visit(BOB)
    for path in closed:
        assert [REFUSED in answer.text for answer in (bob.get(path), bob.post(path, json={}))] == [True, True], path


@pytest.mark.parametrize(
    "forge",
    [
        lambda sealed: "",
        lambda sealed: "aa" * 12,
        lambda sealed: sealed[:-1] + ("0" if sealed[-1] != "0" else "1"),
        lambda sealed: "cc" * 12 + sealed[24:],
    ],
)
def test_a_forged_cookie_is_a_new_visitor_and_none_makes_an_owner(server, visit, forge):
    visitors = Visitors(read_key(server.runs_root), "train")
    mine, owners = visitors.seal(BROWSER, ADA.name), visitors.seal(WHOSE, ADA.name)
    for cookies in (
        {visitors.cookies[BROWSER]: forge(mine), visitors.cookies[WHOSE]: owners},
        {visitors.cookies[BROWSER]: visitors.seal(BROWSER, BOB.name), visitors.cookies[WHOSE]: owners},
        {visitors.cookies[BROWSER]: mine, visitors.cookies[WHOSE]: forge(owners)},
    ):
        browser = visit(Viewer("", "train"), **cookies)
        assert browser.get("/monitoring").json()["detail"] == REFUSED
    browser = visit(Viewer("", "train"), **{visitors.cookies[BROWSER]: forge(mine)})
    line = browser.get("/config").headers["Set-Cookie"]
    assert line.startswith(visitors.cookies[BROWSER]) and ADA.name not in line
    assert "HttpOnly" in line and "SameSite=Lax" in line and "Secure" not in line
    assert (server.runs_root / ".visitors-key").stat().st_mode & 0o777 == 0o600


def test_the_owners_address_serves_once_and_only_from_here(server, visit):
    address = server.owners_address
    stranger = visit(Viewer("", "train"))
    for headers in ({"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"Host": "gradio.live"}):
        assert WHOSE not in str(stranger.get(address, headers=headers).headers)
    assert WHOSE not in str(stranger.get("/?owner=wrong").headers)
    first = stranger.get(address)
    assert first.status_code == 303 and first.headers["Location"] == "/" and WHOSE in str(first.headers)
    assert stranger.get("/monitoring").json()["detail"] != REFUSED
    second = visit(Viewer("", "train"))
    assert WHOSE not in str(second.get(address).headers) and second.get("/monitoring").json()["detail"] == REFUSED
