"""Who a request comes from, and which files and sessions are theirs: a middleware, and the cookies it signs."""

import hashlib
import hmac
import json
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from gradio.context import LocalContext
from gradio.route_utils import API_PREFIX
from starlette.datastructures import MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from analysis.errors import UserError
from models.access import NOBODY, OWNER, Viewer, acting, is_loopback, viewer
from models.quotas import OverQuota, Quotas
from ui.rights import find_role, find_route_role

KEY_FILE = ".visitors-key"
"""In the runs root, which no route serves: what cookies are signed with. Without it, everybody is somebody else."""
KEY_BYTES = 32
BROWSER, WHOSE = "convscope_browser", "convscope_owner"
"""The cookies: a browser's random name; and, signed for that name, that it is the owner's."""
TOKEN = "owner"
"""The parameter of the address that makes a browser the owner's, once."""
BROWSER_DAYS, OWNER_DAYS = 365, 30
PATIENCE_BYTES = 2**28
"""Of an upload that is refused, so much is read."""
MAX_KEPT, MAX_KEPT_EACH = 50_000, 2000
"""Files and sessions that are remembered, and of one browser; the ones longest unused are forgotten first."""
COUNTED = ("", "/config", f"{API_PREFIX}/upload_progress")
"""Paths that cost something though they are only read."""
LONGEST_UPLOAD_ID = 64
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


class Claims:
    """To whom something was given, by name: those who were given it may have it. Bounded; many threads may ask.

    Args:
        limit: Of all.
        limit_each: Of one name, so that nobody makes what others were given be forgotten.
    """

    def __init__(self, limit: int = MAX_KEPT, limit_each: int = MAX_KEPT_EACH):
        self._limit, self._limit_each = limit, limit_each
        self._whose: OrderedDict[str, set[str]] = OrderedDict()
        self._given: dict[str, OrderedDict[str, None]] = {}
        self._guard = threading.Lock()

    def give(self, thing: str, name: str) -> None:
        """From now on it is theirs, too."""
        with self._guard:
            self._give(thing, name)

    def has(self, thing: str, name: str) -> bool:
        """Whether it was given to them."""
        with self._guard:
            return name in self._whose.get(thing, ())

    def take(self, thing: str, name: str) -> bool:
        """Whether it is theirs, which it is of the first who asks."""
        with self._guard:
            is_theirs = name in self._whose.get(thing, {name})
            if is_theirs:
                self._give(thing, name)
            return is_theirs

    def may_have(self, thing: str, name: str) -> bool:
        """Whether it is theirs, or nobody's."""
        with self._guard:
            return name in self._whose.get(thing, {name})

    def drop(self, thing: str, name: str) -> bool:
        """It is theirs no longer; whether it is nobody's now."""
        with self._guard:
            return self._drop(thing, name)

    def list_given(self) -> dict[str, list[str]]:
        """Name -> what was given to it, the last one last."""
        with self._guard:
            return {name: [*things] for name, things in self._given.items()}

    def _give(self, thing: str, name: str) -> None:
        self._whose.setdefault(thing, set()).add(name)
        self._whose.move_to_end(thing)
        own = self._given.setdefault(name, OrderedDict())
        own[thing] = None
        own.move_to_end(thing)
        if len(own) > self._limit_each:
            self._drop(next(iter(own)), name)
        while len(self._whose) > self._limit:
            oldest = next(iter(self._whose))
            for each in [*self._whose[oldest]]:
                self._drop(oldest, each)

    def _drop(self, thing: str, name: str) -> bool:
        if own := self._given.get(name):
            own.pop(thing, None)
            if not own:
                del self._given[name]
        whose = self._whose.get(thing, set())
        whose.discard(name)
        if not whose:
            self._whose.pop(thing, None)
        return not whose


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
        for path in _find_paths(value):
            self._files.give(_resolve(path), who.name)

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


class VisitorGate:
    """ASGI middleware: knows who asks, lets through what they may ask for, and names browsers that have no name yet.

    Inside, and in the events that a request starts, :func:`models.access.viewer` says who it is.
    """

    def __init__(self, app: ASGIApp, visitors: Visitors):
        self.app, self.visitors = app, visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request, path = HTTPConnection(scope), scope["path"]
        asks = who = self.visitors.identify(request)
        is_new = not who.name and path.rstrip("/") in ("", "/config")  # a page, or a program that begins
        if is_new:
            who = replace(who, name=secrets.token_hex(12))
        if path == "/" and scope["method"] == "GET" and TOKEN in request.query_params:
            await self._welcome(who, request)(scope, receive, send)
            return
        scope["viewer"], session = who, path.partition(f"{API_PREFIX}/heartbeat/")[2].strip("/")
        with ExitStack() as stack:
            try:
                if not who.is_owner:
                    if is_new or scope["method"] == "POST" or path.rstrip("/") in COUNTED:
                        # a new name counts for the address that is given it
                        self.visitors.quotas.count_request(asks)
                    receive = await self._check(who, request, receive)
                    if session:  # a page keeps this request for as long as it is open
                        stack.enter_context(self.visitors.quotas.open_page(who, session))
            except UserError as error:
                await _refuse(error)(scope, receive, send)
                return
            send = self._name(who, scope, send) if is_new else send
            if path.startswith(f"{API_PREFIX}/upload") and not who.is_owner:
                receive, send = self._limit_upload(who, request, receive), self._note_uploads(who, send)
            stack.enter_context(acting(who))
            await self.app(scope, receive, send)

    def _welcome(self, who: Viewer, request: HTTPConnection) -> Response:
        """Leads to the address without the token, as the owner if that was it."""
        others = [(name, value) for name, value in request.query_params.multi_items() if name != TOKEN]
        answer = RedirectResponse(f"/?{urlencode(others)}" if others else "/", 303)
        answer.headers["Cache-Control"], answer.headers["Referrer-Policy"] = "no-store", "no-referrer"
        if self.visitors.take_token(request.query_params[TOKEN], request):
            is_secure = request.url.scheme == "https"
            for cookie, days in ((BROWSER, BROWSER_DAYS), (WHOSE, OWNER_DAYS)):
                line = self.visitors.write_cookie(cookie, who.name, days, is_secure=is_secure)
                answer.headers.append("Set-Cookie", line)
        return answer

    def _name(self, who: Viewer, scope: Scope, send: Send) -> Send:
        """Sends a browser its name along with the answer."""

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                is_secure = scope["scheme"] == "https"
                headers.append(
                    "Set-Cookie", self.visitors.write_cookie(BROWSER, who.name, BROWSER_DAYS, is_secure=is_secure)
                )
                headers["Cache-Control"] = "private, no-store"
            await send(message)

        return send_named

    async def _check(self, who: Viewer, request: HTTPConnection, receive: Receive) -> Receive:
        """Raises UserError if a visitor may not ask for this; gives what reads the body, which was read for that."""
        scope, visitors = request.scope, self.visitors
        path = scope["path"]
        who.check(find_route_role(path))
        name = path.removeprefix(f"{API_PREFIX}/")
        if name == path:
            return receive
        if name.startswith("file=") and not visitors.may_read(who, name.removeprefix("file=")):
            raise UserError(NOT_YOURS)
        for session in request.query_params.getlist("session_hash"):
            self._check_session(who, session)
        if any(len(upload) > LONGEST_UPLOAD_ID for upload in request.query_params.getlist("upload_id")):
            raise UserError("No upload has so long a name.")
        if name.startswith("call/") and scope["method"] == "GET":  # where gradio takes the name of a session, too
            visitors.check_event(who, name.rstrip("/").rpartition("/")[2])
        if name.startswith("heartbeat/"):
            visitors.check_session(who, name.partition("/")[2].strip("/"))
        if scope["method"] != "POST" or name.startswith("upload"):
            return receive
        body = await _read_body(receive)
        sent = _read_json(body)
        if isinstance(sent, dict):
            self._check_session(who, sent.get("session_hash"))
        if name.startswith("component_server"):
            who.check(_find_server_role(scope["app"].get_blocks(), sent))
        return _replay(body, receive)

    def _check_session(self, who: Viewer, session: object) -> None:
        """Raises UserError if a session is another browser's, or of one page too many."""
        self.visitors.check_session(who, session)
        if isinstance(session, str):
            self.visitors.quotas.check_page(who, session)

    def _limit_upload(self, who: Viewer, request: HTTPConnection, receive: Receive) -> Receive:
        """Reads an upload; of one that is too large all is thrown away, or its sender would not see the answer."""
        length = request.headers.get("content-length", "")
        announced, num_bytes = int(length) if length.isdecimal() else 0, 0

        async def read() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            try:
                self.visitors.quotas.check_upload(who, max(announced, num_bytes))
            except OverQuota as error:
                while message.get("more_body") and num_bytes < PATIENCE_BYTES:
                    message = await receive()
                    num_bytes += len(message.get("body", b""))
                raise MultiPartException(str(error)) from error  # gradio answers with it, and removes its files
            return message

        return read

    def _note_uploads(self, who: Viewer, send: Send) -> Send:
        """Notes whose the files are that gradio has taken; it answers with their paths."""
        parts: list[bytes] = []

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    paths = _read_json(b"".join(parts))
                    texts = [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
                    self.visitors.give_files(who, [{"path": path} for path in texts])
            await send(message)

        return send_noted


def _refuse(error: UserError) -> Response:
    """The answer to what a visitor may not do, or not now."""
    if not isinstance(error, OverQuota):
        return JSONResponse({"detail": str(error)}, 403)
    headers = {} if error.seconds is None else {"Retry-After": str(error.seconds)}
    return JSONResponse({"detail": str(error)}, 429, headers)


def _has_logged_in(request: HTTPConnection) -> bool:
    """Whether somebody has given the password of ``--auth``, by gradio's own cookie."""
    app = request.scope.get("app")
    if app is None or getattr(app, "auth", None) is None:
        return False
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(app.tokens.get(request.cookies.get(name)) is not None for name in names)


def _find_server_role(page: Any, sent: object) -> str:
    """The least role that may call the function of a component that a request names; a page sends no files there."""
    if not isinstance(sent, dict) or not isinstance(sent.get("component_id"), int):
        return OWNER.role
    functions = getattr(page.blocks.get(sent["component_id"]), "server_fns", [])
    roles = [find_role(function) for function in functions if function.__name__ == sent.get("fn_name")]
    return roles[0] if roles else OWNER.role


async def _read_body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives a body that has been read once more."""
    rest = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return rest.pop() if rest else await receive()

    return read


def _read_json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


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
