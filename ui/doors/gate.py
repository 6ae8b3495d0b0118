"""The gate inside the door: knows who asks, and lets through what they may ask for."""

import json
import secrets
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from gradio.route_utils import API_PREFIX
from starlette.datastructures import MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from analysis.errors import UserError
from models.access import OWNER, Viewer, acting
from models.quotas import OverQuota
from ui.rights import find_role, find_route_role
from ui.visitors import BROWSER, BROWSER_DAYS, NOT_YOURS, OWNER_DAYS, TOKEN, WHOSE, Visitors

PATIENCE_BYTES = 2**28
"""Of an upload that is refused, so much is read."""
PAGE_COST = 5
"""Requests that a page counts as, which takes a tenth of a second; most who ask for one are given a name with it."""
COUNTED = {"": PAGE_COST, "/config": PAGE_COST, f"{API_PREFIX}/upload_progress": 1}
"""Paths that cost something though they are only read."""
LONGEST_UPLOAD_ID = 64


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
                    if cost := COUNTED.get(path.rstrip("/"), int(scope["method"] == "POST")):
                        # a new name counts for the address that is given it
                        self.visitors.quotas.count_request(asks, cost)
                    if scope["method"] == "POST":
                        self.visitors.quotas.check_files(who)
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
