"""Which names and origins come in."""

import pytest

from ui.doors.hosts import Hosts, read_name


def refuse(hosts: Hosts, **headers: str) -> int:
    """The status of a request with these headers, 200 where it comes in."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    refusal = hosts.refuse({"type": "http", "scheme": "http", "headers": raw})
    return refusal[0] if refusal else 200


LOCAL, OPEN = Hosts("127.0.0.1", ["Lab.Example."]), Hosts("0.0.0.0")


@pytest.mark.parametrize(
    ("host", "local", "everywhere"),
    [
        ("localhost:7860", 200, 200),
        ("127.0.0.1", 200, 200),
        ("[::1]:1", 200, 200),
        ("LAB.example:80", 200, 421),
        ("192.168.1.5:7860", 421, 200),
        ("[fe80::1]:7860", 421, 200),
        ("evil.example", 421, 421),
        ("127.0.0.1.evil.example", 421, 421),
        ("localhost@evil.example", 421, 421),
        ("[", 421, 421),
        ("", 421, 421),
    ],
)
def test_a_server_answers_to_its_own_names_and_one_on_all_addresses_to_any_in_numbers(host, local, everywhere):
    assert (refuse(LOCAL, host=host), refuse(OPEN, host=host)) == (local, everywhere)


def test_so_does_it_to_what_a_proxy_says_was_asked_for():
    assert refuse(LOCAL, host="localhost", x_forwarded_host="lab.example") == 200
    assert refuse(LOCAL, host="localhost", x_forwarded_host="lab.example, evil.example") == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:1", "origin": "http://localhost:1"}, 200),
        ({"host": "lab.example", "origin": "https://lab.example"}, 200),
        ({"host": "localhost:1", "x_forwarded_host": "lab.example", "origin": "https://lab.example"}, 200),
        ({"host": "localhost:1", "origin": "http://localhost:2"}, 403),
        ({"host": "localhost:1", "origin": "https://evil.example"}, 403),
        ({"host": "localhost:1", "origin": "null"}, 403),
        ({"host": "localhost:1", "sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, 403),
        ({"host": "localhost:1", "sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 200),
        ({"host": "localhost:1", "sec_fetch_site": "same-origin", "sec_fetch_mode": "cors"}, 200),
    ],
)
def test_pages_of_other_addresses_may_lead_here_and_no_more(headers, status):
    assert refuse(LOCAL, **headers) == status


def test_a_public_link_and_a_space_are_reached_through_tls(monkeypatch):
    assert refuse(OPEN, host="someone-convscope.hf.space") == 421
    monkeypatch.setenv("SPACE_ID", "someone/convscope")
    monkeypatch.setenv("SPACE_HOST", "convscope.example")
    hosts = Hosts("0.0.0.0")
    hosts.add_public("https://abc.gradio.live")
    names = {
        "abc.gradio.live": True,
        "someone-convscope.hf.space": True,
        "convscope.example": True,
        "localhost": False,
    }
    for name, secure in names.items():
        assert refuse(hosts, host=name) == 200
        scope = {"type": "http", "scheme": "http", "headers": [(b"host", name.encode())]}
        assert hosts.is_secure(scope) is secure and hosts.is_secure({**scope, "scheme": "https"})


def test_names_are_read_without_ports():
    assert [read_name(each) for each in ("A.b:80", "[::1]:9", "::1", "x.:1")] == ["a.b", "::1", "::1", "x"]
