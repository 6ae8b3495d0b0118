"""The headers that go out with every answer."""

import os

from starlette.datastructures import MutableHeaders
from starlette.types import Message

SPACES = "https://huggingface.co https://*.hf.space"
POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",  # gradio makes functions of texts
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
"""What a page of ours may load, and from where: itself. Nothing of another server, and in nobody's frame."""
IN_A_SPACE = {"frame-ancestors": SPACES, "connect-src": f"{POLICY['connect-src']} {SPACES}"}
"""Hugging Face shows Spaces in a frame."""


def list_headers(is_in_a_space: bool) -> dict[str, str]:
    """The headers by name."""
    policy = POLICY | (IN_A_SPACE if is_in_a_space else {})
    headers = {
        "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in policy.items()),
        "Cache-Control": "private",  # unless an answer says more: pictures and files are of whoever has asked
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    }
    return headers if is_in_a_space else headers | {"X-Frame-Options": "DENY"}


class Headers:
    """Puts them into answers, and takes out of these what lets pages of other addresses read them."""

    def __init__(self) -> None:
        self._is_in_a_space = "SPACE_ID" in os.environ
        self._headers = list_headers(self._is_in_a_space)

    def put(self, message: Message, *, is_secure: bool) -> None:
        """Changes the start of an answer; ``is_secure`` says whether the browser sees TLS."""
        sent = [
            (name, self._guard_cookie(value, is_secure) if name.lower() == b"set-cookie" else value)
            for name, value in message.get("headers", ())
            if not name.lower().startswith(b"access-control-")
        ]
        message["headers"] = sent
        headers = MutableHeaders(scope=message)
        for name, value in self._headers.items():
            headers.setdefault(name, value)

    def _guard_cookie(self, cookie: bytes, is_secure: bool) -> bytes:
        """Out of reach of scripts, of pages of other addresses, and, where the browser sees TLS, of the network."""
        set_anew = (b"httponly", b"secure", b"samesite", b"partitioned")
        parts = [part.strip() for part in cookie.split(b";")]
        parts = [part for part in parts if part.partition(b"=")[0].lower() not in set_anew or part is parts[0]]
        kind = [b"SameSite=Lax"]
        if is_secure:
            kind = [b"Secure", b"SameSite=None", b"Partitioned"] if self._is_in_a_space else [b"Secure", *kind]
        return b"; ".join([*parts, b"HttpOnly", *kind])
