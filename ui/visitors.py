"""Who a request comes from, and which files and sessions are theirs: a middleware, and the cookies it signs."""

import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gradio.context import LocalContext
from starlette.requests import HTTPConnection

from analysis.errors import UserError
from models.access import NOBODY, OWNER, Viewer, is_loopback, viewer
from models.quotas import Quotas
from ui.claims import Claims

KEY_FILE = ".visitors-key"
"""In the runs root, which no route serves: what cookies are signed with. Without it, everybody is somebody else."""
KEY_BYTES = 32
BROWSER, WHOSE = "convscope_browser", "convscope_owner"
"""The cookies: a browser's random name; and, signed for that name, that it is the owner's."""
TOKEN = "owner"
"""The parameter of the address that makes a browser the owner's, once."""
BROWSER_DAYS, OWNER_DAYS = 365, 30
ANOTHERS = "This session belongs to another browser; load the page again."
NOT_YOURS = "This is not yours, or no longer here."


def read_key(folder: Path) -> bytes:
    """The key of a runs root; makes one where there is none, the same for servers that start at once.

    Where nothing can be written, a key that lasts as long as this server.
    """
    path = folder / KEY_FILE
    scratch = folder / f"{KEY_FILE}.{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with os.fdopen(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
            with suppress(FileExistsError):
                os.link(scratch, path)  # whole at once, and the first one stays
        key = path.read_bytes()
    except OSError:
        key = b""
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
    return key if len(key) >= KEY_BYTES else secrets.token_bytes(KEY_BYTES)


class Visitors:
    """Who comes to the page.

    Args:
        key: What cookies are signed with.
        role: What visitors may do, a role of :mod:`models.access`; with None everybody is the owner.
        for_all: Files that everybody may have, as samples.
        quotas: What they may use, and have used.
        is_embedded: Whether pages of other addresses show this one in a frame, as Spaces do.

    Attributes:
        token: Makes the first browser of this machine that brings it the owner's; None once that has happened.
    """

    def __init__(
        self,
        key: bytes,
        role: str | None = None,
        for_all: Iterable[Path] = (),
        quotas: Quotas | None = None,
        *,
        is_embedded: bool = False,
    ):
        self.quotas = quotas or Quotas()
        self._key, self.role, self._is_embedded = key, role, is_embedded
        self.token = None if role is None else secrets.token_urlsafe(24)
        # Browsers keep cookies by address without its port: two servers on one machine must not undo each other's.
        tag = self._sign("server", "")[:8]
        self.cookies = {cookie: f"{cookie}_{tag}" for cookie in (BROWSER, WHOSE)}
        self._files, self._sessions = Claims(), Claims()
        self._for_all = {_resolve(path) for path in for_all}
        self._guard = threading.Lock()

    def seal(self, purpose: str, text: str) -> str:
        """The text with a signature, for a cookie."""
        return f"{text}.{self._sign(purpose, text)}"

    def unseal(self, purpose: str, sealed: str) -> str | None:
        """The text that was sealed for this purpose with this key; None where it was not."""
        text, _, signature = sealed.rpartition(".")
        is_ours = hmac.compare_digest(_encode(signature), _encode(self._sign(purpose, text)))
        return text if is_ours else None

    def identify(self, request: HTTPConnection) -> Viewer:
        """Who asks; a browser that has no name yet, or one that was not made here, has an empty one."""
        name = self.unseal(BROWSER, request.cookies.get(self.cookies[BROWSER], "")) or ""
        is_owner = bool(name) and self.unseal(WHOSE, request.cookies.get(self.cookies[WHOSE], "")) == name
        if self.role is None or is_owner or _has_logged_in(request):
            return Viewer(name, OWNER.role)
        return Viewer(name, self.role, (request.scope.get("client") or ("", 0))[0])

    def who(self, request: Any) -> Viewer:
        """Who has sent the request of an event: gradio hands it on to threads that know nothing else of it."""
        one = request[0] if isinstance(request, list) and request else request
        scope = getattr(getattr(one, "request", None), "scope", {})
        return scope.get("viewer", NOBODY)

    def take_token(self, token: str, request: HTTPConnection) -> bool:
        """Whether the request may become the owner's by this token, which then is no longer one.

        It has to come from this machine without having been handed on, which a tunnel or a proxy would have done.
        """
        forwarded = [name for name in request.headers if name == "forwarded" or name.startswith("x-forwarded")]
        client, (here, _) = request.scope.get("client") or ("", 0), request.scope.get("server") or ("", 0)
        try:
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname
        except ValueError:
            return False
        if forwarded or not all(each and (is_loopback(each) or each == here) for each in (client[0], host)):
            return False
        with self._guard:
            if self.token is None or not hmac.compare_digest(_encode(token), _encode(self.token)):
                return False
            self.token = None
            return True

    def write_cookie(self, cookie: str, name: str, days: int, *, is_secure: bool) -> str:
        """The header that sets a cookie. In a frame browsers keep only those that are apart for each outer page."""
        text = f"{self.cookies[cookie]}={self.seal(cookie, name)}; Path=/; Max-Age={days * 86400}; HttpOnly"
        if self._is_embedded:
            return f"{text}; SameSite=None; Secure; Partitioned"
        return f"{text}; SameSite=Lax{'; Secure' * is_secure}"

    def give_files(self, who: Viewer, value: object) -> None:
        """Notes the files in what a visitor is sent, or has sent: they may have them from now on."""
        for path in map(_resolve, _find_paths(value)):
            if path not in self._for_all and not self._files.has(path, who.name):
                with suppress(OSError):
                    self.quotas.count_file(who, Path(path).stat().st_size)
            self._files.give(path, who.name)

    def list_files(self) -> dict[str, list[str]]:
        """Visitor -> the paths of what they have uploaded, or were given as a result; the last one last."""
        return self._files.list_given()

    def forget_file(self, name: str, path: str) -> bool:
        """A visitor may no longer have a file; whether nobody may."""
        return self._files.drop(path, name)

    def may_read(self, who: Viewer, path: str) -> bool:
        """Whether somebody may have a file."""
        full = _resolve(path)
        return who.is_owner or full in self._for_all or self._files.has(full, who.name)

    def check_files(self, who: Viewer, value: object) -> None:
        """Raises UserError if anything in a value names a file that is not theirs."""
        if not all(self.may_read(who, path) for path in _find_paths(value)):
            who.check("try")
            raise UserError("The file that was sent is not here, or no longer; upload it again.")

    def check_session(self, who: Viewer, session: object) -> None:
        """Raises UserError if a session is another browser's: its state and its answers are."""
        if isinstance(session, str) and not (self._sessions.take(session, who.name) or who.is_owner):
            raise UserError(ANOTHERS)

    def check_event(self, who: Viewer, event: str) -> None:
        """Raises UserError if what should be an event is another browser's session."""
        if not (self._sessions.may_have(event, who.name) or who.is_owner):
            raise UserError(ANOTHERS)

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, _encode(f"{purpose}\0{text}"), hashlib.sha256).hexdigest()


def name_visitor(who: Viewer, session: str) -> str:
    """As whom somebody waits: a browser by its name; without one, visitors by where they are, others by session."""
    return who.name or (session if who.is_owner else who.account)


def find_visitor() -> str:
    """As whom waits whose request is answered."""
    return name_visitor(viewer(), str(getattr(LocalContext.request.get(None), "session_hash", None) or ""))


def _has_logged_in(request: HTTPConnection) -> bool:
    """Whether somebody has given the password of ``--auth``, by gradio's own cookie."""
    app = request.scope.get("app")
    if app is None or getattr(app, "auth", None) is None:
        return False
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(app.tokens.get(request.cookies.get(name)) is not None for name in names)


def _find_paths(value: object) -> Iterator[str]:
    """The files that a value names as gradio does, wherever in it."""
    if isinstance(value, dict):
        path = value.get("path")
        if isinstance(path, str) and path:
            yield path
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for part in value:
        yield from _find_paths(part)


def _resolve(path: str | Path) -> str:
    """The path without links and detours; nothing for what can be none."""
    try:
        return str(Path(path).resolve())
    except (ValueError, OSError):  # a zero byte, or too long a name
        return ""


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
