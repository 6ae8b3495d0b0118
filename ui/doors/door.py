"""The door: the first that a request comes to, and the last that its answer leaves by."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from gradio.queueing import Queue
from gradio.route_utils import API_PREFIX
from gradio.routes import App, file_upload_statuses
from gradio.utils import get_upload_folder
from starlette.datastructures import Headers as RequestHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.doors.cache import forget_uploads, sweep_page
from ui.doors.headers import Headers
from ui.doors.hosts import Hosts
from ui.doors.listeners import Listeners, find_session
from ui.doors.login import Tries, make_check
from ui.doors.sessions import Sessions

LOGIN_PAGE = Path(__file__).parents[2] / "assets" / "login.html"
OPEN_PATHS = ("/favicon.ico", "/robots.txt", f"{API_PREFIX}/startup-events")
"""What is answered without the password, beside the page that asks for it; the last is how gradio starts itself."""
LOG_IN = "Log in first."
WAIT = "Too many wrong passwords; wait {} s."
SWEEP_SECONDS, SWEEP_FILES_SECONDS = 5.0, 60.0

_log = logging.getLogger(__name__)


class Doors:
    """All that stands around the page while it is served.

    Args:
        hosts: The names it answers to.
        users: User -> password, if it is asked for.
    """

    def __init__(self, hosts: Hosts, users: dict[str, str] | None = None):
        self.hosts, self._users = hosts, users or {}
        self.tries, self.listeners = Tries(), Listeners()

    def guard(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of ``Blocks.launch`` with these doors around the page."""
        auth = make_check(self._users) if self._users else None
        inside = {**(options.get("app_kwargs") or {}), "lifespan": self._live}
        return {**options, "auth": auth, "app_kwargs": inside}

    @asynccontextmanager
    async def _live(self, app: App) -> AsyncIterator[None]:
        """As long as the server runs: gradio adds middleware of its own before ours, and this goes before it."""
        page = app.get_blocks()
        sessions = Sessions()
        sessions.set_blocks(page)
        app.state_holder = sessions
        assert app.middleware_stack is not None
        app.middleware_stack = Door(app.middleware_stack, app, self, sessions)
        files = Path(get_upload_folder())
        sweepers = [
            asyncio.create_task(_repeat(SWEEP_SECONDS, lambda: self._sweep(page._queue))),
            asyncio.create_task(_repeat(SWEEP_FILES_SECONDS, lambda: asyncio.to_thread(sweep_page, page, files))),
        ]
        try:
            yield
        finally:
            for sweeper in sweepers:
                sweeper.cancel()

    async def _sweep(self, queue: Queue) -> None:
        forget_uploads(file_upload_statuses)
        await self.listeners.sweep(queue)


async def _repeat(seconds: float, sweep: Callable[[], Any]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await sweep()
        except Exception:  # the next one may go well
            _log.exception("Sweeping up failed:")


class Door:
    """ASGI middleware around everything: names, origins, the password, headers, and who listens to what."""

    def __init__(self, inside: ASGIApp, app: App, doors: Doors, sessions: Sessions):
        self._inside, self._app, self._doors, self._sessions = inside, app, doors, sessions
        self._headers = Headers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request on, or answers in gradio's place."""
        if scope["type"] == "lifespan":
            await self._inside(scope, receive, send)
            return
        refusal = self._doors.hosts.refuse(scope)
        if scope["type"] != "http":  # the page uses no websockets
            await send({"type": "websocket.close", "code": 1008})
            return
        is_secure = self._doors.hosts.is_secure(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._headers.put(message, is_secure=is_secure)
            await send(message)

        answer = JSONResponse({"detail": refusal[1]}, refusal[0]) if refusal else None
        if answer is None and self._app.auth is not None and not self._is_logged_in(scope):
            if scope["path"].rstrip("/") == "/login" and scope["method"] == "POST":
                await self._log_in(scope, receive, send_guarded)
                return
            answer = _ask_password(scope)
        if answer is not None:
            await answer(scope, receive, send_guarded)
            return
        with self._note(scope):
            await self._inside(scope, receive, send_guarded)

    def _is_logged_in(self, scope: Scope) -> bool:
        cookies = cookie_parser(RequestHeaders(scope=scope).get("cookie", ""))
        names = (f"access-token-{self._app.cookie_id}", f"access-token-unsecure-{self._app.cookie_id}")
        return any(cookies.get(name) in self._app.tokens for name in names)

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets gradio look at the password, unless too many were wrong."""
        tries, address = self._doors.tries, _find_address(scope)
        wait = tries.begin(address)
        if wait or not await tries.take_time():
            seconds = math.ceil(wait) or 5
            answer = JSONResponse({"detail": WAIT.format(seconds)}, 429, {"Retry-After": str(seconds)})
            await answer(scope, receive, send)
            return

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == 200:
                    tries.forgive(address)
                elif message["status"] == 400:
                    tries.note_wrong()
            await send(message)

        await self._inside(scope, receive, send_noted)

    def _note(self, scope: Scope) -> AbstractContextManager[None]:
        """Notes, while it is being answered, who listens to a session or has a page open."""
        name = scope["path"].removeprefix(f"{API_PREFIX}/").rstrip("/")
        if scope["method"] != "GET":
            return nullcontext()
        if name == "queue/data":
            session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
            return self._doors.listeners.listen(session)
        if name.startswith("call/"):
            return self._doors.listeners.listen(find_session(self._app.get_blocks()._queue, name.rpartition("/")[2]))
        if name.startswith("heartbeat/"):
            return self._sessions.open(name.partition("/")[2], _find_address(scope))
        return nullcontext()


def _find_address(scope: Scope) -> str:
    """Whom a request comes from; of one that a proxy on this machine hands on, uvicorn has put in its client's."""
    return (scope.get("client") or ("", 0))[0]


def _ask_password(scope: Scope) -> Response | None:
    """The answer to who has not logged in; None where it does not matter."""
    if scope["path"] in OPEN_PATHS:
        return None
    if scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
        return HTMLResponse(LOGIN_PAGE.read_text(encoding="utf-8"), headers={"Cache-Control": "no-store"})
    return JSONResponse({"detail": LOG_IN}, 401)
