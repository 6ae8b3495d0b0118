"""What stands between the web server and gradio: requests that are too large, or that gradio was not written for."""

import logging
from contextlib import suppress

from gradio.route_utils import API_PREFIX
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.terminal import printable

MAX_BODY_BYTES = 2**20
"""More than any event of the page needs; gradio keeps a body as objects, in fifty times its size."""
UPLOAD_PATH = f"{API_PREFIX}/upload"
"""The only place where files may come in: gradio writes them to the disk, up to its ``max_file_size``."""
PATIENCE_BYTES = 16 * 2**20
"""How much more is read and thrown away: a client that is still sending would not see the answer."""
UNANSWERABLE = "This request cannot be answered; the log of the server says why."
TOO_LARGE = "A request may have at most 1 MB; of many pictures, upload a zip."

_log = logging.getLogger(__name__)


class RequestGuard:
    """ASGI middleware: a body of more than ``MAX_BODY_BYTES`` gets status 413, and what gradio raises is one line.

    Requests that no page sends make gradio's routes raise; uvicorn would write five kilobytes about each of them.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            with suppress(ClientDisconnect):  # nobody is left to be answered
                await self.app(scope, exchange.receive, exchange.send)
        except Exception as error:
            place = printable(f"{scope['method']} {scope['path']}"[:200])
            _log.error("%s ended with %s: %s", place, type(error).__name__, printable(str(error)[:200]))
            await exchange.end(500, UNANSWERABLE)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        self._scope, self._receive, self._send = scope, receive, send
        self._max_bytes = float("inf") if scope["path"] == UPLOAD_PATH else MAX_BODY_BYTES
        self._num_bytes = 0
        self._has_begun = self._has_ended = False

    async def receive(self) -> Message:
        """The next part of the body; too long a body ends the exchange, and for gradio the client has gone."""
        message = await self._read()
        if self._num_bytes <= self._max_bytes:
            return message
        while message.get("more_body") and self._num_bytes < MAX_BODY_BYTES + PATIENCE_BYTES:
            message = await self._read()
        await self.end(413, TOO_LARGE)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Hands on a part of gradio's answer."""
        if not self._has_ended:
            self._has_begun = True
            await self._send(message)

    async def end(self, status: int, sentence: str) -> None:
        """Answers in the place of gradio, unless it has begun to."""
        self._has_ended = True
        if not self._has_begun:
            answer = JSONResponse({"detail": sentence}, status, {"Connection": "close"})
            await answer(self._scope, self._receive, self._send)

    async def _read(self) -> Message:
        message = await self._receive()
        self._num_bytes += len(message.get("body", b""))
        return message
