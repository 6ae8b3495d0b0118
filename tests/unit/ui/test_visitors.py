"""The cookies, the key and the address of the owner; and to whom files and sessions are given."""

import threading
from types import SimpleNamespace

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection

from models.access import NOBODY, Viewer
from tests.sentences import refused
from ui.visitors import BROWSER, KEY_FILE, WHOSE, Visitors, read_key

VISITORS = Visitors(b"k" * 32, "try")
ADA, BOB = Viewer("ada", "try"), Viewer("bob", "try")


def connect(cookies: str = "", client: str = "127.0.0.1", host: str = "127.0.0.1:7860", **headers: str):
    """A request as it arrives."""
    given = {"cookie": cookies, "host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    return HTTPConnection({"type": "http", "headers": raw, "client": (client, 1), "server": ("10.0.0.1", 7860)})


@given(st.text(max_size=40), st.sampled_from([BROWSER, WHOSE]))
def test_what_was_sealed_is_read_and_serves_for_nothing_else(text, purpose):
    sealed = VISITORS.seal(purpose, text)
    assert VISITORS.unseal(purpose, sealed) == text
    assert VISITORS.unseal("other", sealed) is None
    assert Visitors(b"l" * 32, "try").unseal(purpose, sealed) is None


@given(st.text(max_size=120))
def test_no_text_is_taken_for_a_sealed_one(text):
    assert VISITORS.unseal(BROWSER, text) is None


@given(st.data())
def test_a_sealed_text_that_was_changed_anywhere_is_none(data):
    sealed = VISITORS.seal(BROWSER, "aa" * 12)
    place = data.draw(st.integers(0, len(sealed) - 1))
    new = data.draw(st.characters(codec="latin-1").filter(lambda character: character != sealed[place]))
    assert VISITORS.unseal(BROWSER, sealed[:place] + new + sealed[place + 1 :]) is None
    assert VISITORS.unseal(BROWSER, sealed[:place]) is None


@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_a_browser_is_the_owners_only_by_a_cookie_sealed_for_its_name(text):
    browser, whose = VISITORS.cookies[BROWSER], VISITORS.cookies[WHOSE]
    mine = f"{browser}={VISITORS.seal(BROWSER, 'ada')}"
    assert VISITORS.identify(connect(f"{mine}; {whose}={VISITORS.seal(WHOSE, 'ada')}")) == Viewer("ada", "owner")
    for other in (text, VISITORS.seal(WHOSE, "bob"), VISITORS.seal(BROWSER, "ada"), VISITORS.seal(WHOSE, "")):
        assert VISITORS.identify(connect(f"{mine}; {whose}={other}")) == ADA
    assert VISITORS.identify(connect(f"{whose}={VISITORS.seal(WHOSE, '')}")) == Viewer("", "try")


def test_without_visitors_everybody_is_the_owner():
    assert Visitors(b"k" * 32).identify(connect()) == Viewer("", "owner") and Visitors(b"k" * 32).token is None


@pytest.mark.parametrize(
    ("request_", "works"),
    [
        (connect(), True),
        (connect(host="localhost:7860"), True),
        (connect(host="[::1]:7860", client="::1"), True),
        (connect(client="10.0.0.1", host="10.0.0.1:7860"), True),  # this machine, by its own address
        (connect(client="10.0.0.2"), False),
        (connect(host="class.example.org"), False),
        (connect(host="[::"), False),
        (connect(host=""), False),
        (connect(x_forwarded_for="127.0.0.1"), False),
        (connect(x_forwarded_host="127.0.0.1"), False),
        (connect(forwarded="for=127.0.0.1"), False),
    ],
)
def test_the_token_works_once_and_for_this_machine_only(request_, works):
    visitors = Visitors(b"k" * 32, "look")
    token = visitors.token
    assert not visitors.take_token(token + "x", request_) and not visitors.take_token("", request_)
    assert visitors.take_token(token, request_) == works
    assert visitors.take_token(token, connect()) != works
    assert not visitors.take_token(token, connect())


def test_servers_that_start_at_once_have_one_key_that_nobody_else_can_read(tmp_path):
    keys, gate = [], threading.Barrier(8)

    def start() -> None:
        gate.wait()
        keys.append(read_key(tmp_path / "runs"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*keys}) == 1 == len([*(tmp_path / "runs").iterdir()]) and len(keys[0]) == 32
    assert (tmp_path / "runs" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "runs") == keys[0]


def test_where_no_key_can_be_kept_each_server_has_its_own(tmp_path):
    (tmp_path / "file").write_text("")
    assert len(read_key(tmp_path / "file")) == 32 and read_key(tmp_path / "file") != read_key(tmp_path / "file")
    (tmp_path / KEY_FILE).write_bytes(b"short")
    assert len(read_key(tmp_path)) == 32


def test_a_file_is_read_by_those_it_was_given_to(tmp_path):
    visitors = Visitors(b"k" * 32, "try", [tmp_path / "sample.png"])
    mine = str(tmp_path / "a/cat.png")
    visitors.give_files(ADA, {"rows": [[{"path": mine}], {"value": {"path": None}}]})
    assert visitors.may_read(ADA, mine) and visitors.may_read(ADA, f"{tmp_path}/b/../a/cat.png")
    for path in (mine, f"{tmp_path}/a", "\0", "", "x" * 5000, "http://127.0.0.1/cat.png"):
        assert not visitors.may_read(BOB, path)
    assert visitors.may_read(BOB, str(tmp_path / "sample.png")) and visitors.may_read(Viewer("cy"), mine)
    visitors.check_files(ADA, [{"path": mine}, None, 3, "text"])
    for who, value in ((BOB, [[{"path": mine}]]), (ADA, {"a": {"path": "/etc/passwd"}})):
        with refused():
            visitors.check_files(who, value)
    with refused():
        visitors.check_files(Viewer("eve", "look"), {"path": mine})


def test_a_session_belongs_to_the_browser_that_used_it_first():
    visitors = Visitors(b"k" * 32, "try")
    visitors.check_session(ADA, "one")
    for other in (BOB, Viewer("", "try")):
        with refused():
            visitors.check_session(other, "one")
    visitors.check_session(ADA, "one")
    visitors.check_session(Viewer("cy"), "one")
    visitors.check_session(BOB, None)


@pytest.mark.parametrize(
    ("is_embedded", "is_secure", "ends"),
    [
        (False, False, "HttpOnly; SameSite=Lax"),
        (False, True, "HttpOnly; SameSite=Lax; Secure"),
        (True, True, "HttpOnly; SameSite=None; Secure; Partitioned"),
    ],
)
def test_cookies_are_kept_from_scripts_and_from_other_sites(is_embedded, is_secure, ends):
    visitors = Visitors(b"k" * 32, "try", is_embedded=is_embedded)
    assert visitors.write_cookie(BROWSER, "ada", 1, is_secure=is_secure).endswith(ends)


@pytest.mark.parametrize(
    ("auth", "cookies", "role"),
    [
        ({"ann": "secret"}, "access-token-x=t", "owner"),
        ({"ann": "secret"}, "access-token-unsecure-x=t", "owner"),
        ({"ann": "secret"}, "access-token-x=other", "look"),
        ({"ann": "secret"}, "", "look"),
        (None, "access-token-x=t", "look"),
    ],
)
def test_who_has_logged_in_is_the_owner(auth, cookies, role):
    request = connect(cookies)
    request.scope["app"] = SimpleNamespace(auth=auth, cookie_id="x", tokens={"t": "ann"})
    assert Visitors(b"k" * 32, "look").identify(request).role == role


def test_who_comes_by_no_gate_may_do_nothing():
    assert VISITORS.who(None) == VISITORS.who(gr.Request()) == VISITORS.who([]) == NOBODY
    assert not any(NOBODY.may(role) for role in ("look", "try", "train", "owner"))
