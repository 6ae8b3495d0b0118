"""Weight files: downloads are all or nothing, and reading one never runs code."""

import hashlib
import io
import os
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import UserError
from models import weights
from models.weights import WeightsFile, download, load_state_dict
from tests.sentences import refused

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PORT = r":\d+"
GOOD_NAME = f"net-{DIGEST[:8]}.pth"


class Handler(BaseHTTPRequestHandler):
    """Serves ``CONTENT``; the first folder of the address says what goes wrong."""

    def do_GET(self):
        self.server.num_requests += 1
        kind = self.path.split("/")[1]
        if kind == "gone":
            self.send_error(404)
            return
        if kind == "garbage":
            self.wfile.write(b"this is not HTTP\r\n\r\n")
            return
        self.send_response(200)
        if kind != "unsized":
            self.send_header("Content-Length", str(len(CONTENT) + (1000 if kind == "short" else 0)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.num_requests = 0
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def address(server):
    return lambda kind, name=GOOD_NAME: f"http://127.0.0.1:{server.server_port}/{kind}/{name}"


def leftovers(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


def test_files_lie_where_torch_looks_for_them(torch_home):
    file = WeightsFile("https://example.org/a/b/net-0123abcd.pth?download=1", 3)
    assert file.path == torch_home / "net-0123abcd.pth"
    assert not file.is_cached
    file.path.mkdir(parents=True)
    assert not file.is_cached
    file.path.rmdir()
    file.path.write_bytes(b"abc")
    assert file.is_cached


@pytest.mark.parametrize("name", [GOOD_NAME, f"net-{DIGEST}.pth", "no_hash.pth", "short-abc.pth"])
def test_a_download_arrives_whole_and_tells_its_progress(torch_home, address, monkeypatch, name):
    monkeypatch.setattr(weights, "CHUNK_BYTES", 4000)
    calls = []
    path = download(WeightsFile(address("ok", name), 999), lambda done, total: calls.append((done, total)))
    assert path == torch_home / name and path.read_bytes() == CONTENT
    assert leftovers(torch_home) == [name]
    assert calls == [(done, len(CONTENT)) for done in (4000, 8000, len(CONTENT))]


def test_a_cached_file_is_not_fetched_again(torch_home, address, server):
    file = WeightsFile(address("ok"), len(CONTENT))
    download(file)
    before, calls = server.num_requests, []
    assert download(file, lambda *numbers: calls.append(numbers)) == file.path
    assert server.num_requests == before and calls == []


@pytest.mark.parametrize("num_bytes", [len(CONTENT) - 300, len(CONTENT) + 300])
def test_a_server_may_keep_the_length_to_itself(torch_home, address, num_bytes):
    # The published sizes are rounded, so they cannot tell whether the file is whole.
    calls = []
    path = download(WeightsFile(address("unsized"), num_bytes), lambda *numbers: calls.append(numbers))
    assert path.read_bytes() == CONTENT
    assert calls == [(len(CONTENT), num_bytes)]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("ok", "net-00000000.pth"), ("short", GOOD_NAME), ("gone", GOOD_NAME), ("garbage", GOOD_NAME)],
)
def test_failed_downloads_say_how_to_help_and_leave_nothing(torch_home, address, kind, name):
    url = address(kind, name)
    with refused(name, url, torch_home, varies=PORT):
        download(WeightsFile(url, len(CONTENT)))
    assert leftovers(torch_home) == []
    assert download(WeightsFile(address("ok"), 1)).read_bytes() == CONTENT  # nothing is in the way of another try


def test_a_refused_connection_says_how_to_help(torch_home):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    url = f"http://127.0.0.1:{port}/net.pth"
    with refused("net.pth", url, torch_home, varies=PORT):
        download(WeightsFile(url, 1))
    assert leftovers(torch_home) == []


def test_a_folder_that_cannot_be_written_is_named(torch_home, address):
    torch_home.parent.parent.write_text("a file is in the way")
    with refused(torch_home, varies=PORT):
        download(WeightsFile(address("ok"), 1))


@pytest.mark.parametrize("error", [RuntimeError("enough"), KeyboardInterrupt()])
def test_a_cancelled_download_leaves_nothing(torch_home, address, error):
    def stop(done, total):
        assert len(leftovers(torch_home)) == 1  # the unfinished file
        raise error

    with pytest.raises(type(error)):
        download(WeightsFile(address("ok"), 1), stop)
    assert leftovers(torch_home) == []


TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}


def saved(values, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(values, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["net.pth", os.fsdecode("사진.pth".encode("cp949"))])
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_back(tmp_path, zipped, name):
    (tmp_path / name).write_bytes(saved(TENSORS, zipped))
    torch.testing.assert_close(load_state_dict(tmp_path / name), TENSORS, rtol=0, atol=0)


class Intruder:
    """Unpickled, it makes a folder."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return type(self.marker).mkdir, (self.marker,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["zipped", "old", "pickle"])
def test_code_in_a_file_is_refused_and_does_not_run(tmp_path, kind):
    marker, path = tmp_path / "marker", tmp_path / "net.pth"
    values = {"a": Intruder(marker)}
    path.write_bytes(pickle.dumps(values) if kind == "pickle" else saved(values, kind == "zipped"))
    with refused(path):
        load_state_dict(path)
    assert not marker.exists()
    if kind == "pickle":  # the trap is real
        pickle.loads(path.read_bytes())
        assert marker.is_dir()


@pytest.mark.parametrize("values", [torch.ones(3), [torch.ones(3)], "text", None])
def test_files_without_named_tensors_are_refused(tmp_path, values):
    (tmp_path / "net.pth").write_bytes(saved(values, True))
    with refused():
        load_state_dict(tmp_path / "net.pth")


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.pth"):
        with refused():
            load_state_dict(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(max_examples=300)
@given(
    data=st.sampled_from([saved(TENSORS, True), saved(TENSORS, False), b""]),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=5),
    end=st.binary(max_size=20),
)
def test_damaged_files_give_tensors_or_a_sentence(tmp_path_factory, data, changes, end):
    mutated = bytearray(data or end)
    for position, value in changes if mutated else ():
        mutated[position % len(mutated)] = value
    path = tmp_path_factory.getbasetemp() / "mutated.pth"
    path.write_bytes(mutated)
    try:
        assert isinstance(load_state_dict(path), dict)
    except UserError as error:
        assert str(path) in str(error)
