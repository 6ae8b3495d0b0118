"""What goes out with every answer."""

import pytest

from ui.doors.headers import Headers


def put(headers: list[tuple[bytes, bytes]], *, is_secure: bool) -> dict[str, str]:
    """The headers of an answer that had these."""
    message = {"type": "http.response.start", "status": 200, "headers": headers}
    Headers().put(message, is_secure=is_secure)
    return {name.decode(): value.decode() for name, value in message["headers"]}


def test_nothing_of_another_server_and_no_frames_and_no_reading_from_elsewhere():
    found = put([(b"Access-Control-Allow-Origin", b"*"), (b"referrer-policy", b"no-referrer")], is_secure=False)
    policy = dict(each.split(" ", 1) for each in found["content-security-policy"].split("; "))
    assert policy["frame-ancestors"] == policy["object-src"] == "'none'" and policy["default-src"] == "'self'"
    assert found["x-content-type-options"] == "nosniff" and found["x-frame-options"] == "DENY"
    assert found["referrer-policy"] == "no-referrer"  # what an answer says itself stays
    assert found["cache-control"] == "private"
    assert put([(b"cache-control", b"no-store")], is_secure=False)["cache-control"] == "no-store"
    assert not any(name.lower().startswith("access-control") for name in found)


def test_a_space_is_shown_in_a_frame_of_its_host(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/convscope")
    found = put([(b"set-cookie", b"a=b")], is_secure=True)
    assert "frame-ancestors https://huggingface.co" in found["content-security-policy"]
    assert "x-frame-options" not in found
    assert found["set-cookie"] == "a=b; HttpOnly; Secure; SameSite=None; Partitioned"


@pytest.mark.parametrize("is_secure", [False, True])
@pytest.mark.parametrize("cookie", ["a=b", "a=b; SameSite=none; Secure", "a=b; secure; HttpOnly; samesite=lax"])
def test_cookies_are_out_of_reach(cookie, is_secure):
    found = put([(b"set-cookie", f"{cookie}; Path=/; Max-Age=5".encode())], is_secure=is_secure)["set-cookie"]
    parts = found.lower().split("; ")
    assert parts[:3] == ["a=b", "path=/", "max-age=5"]
    assert sorted(parts[3:]) == ["httponly", "samesite=lax"] + ["secure"] * is_secure
