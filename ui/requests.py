"""What stands between the web server and gradio: requests too large or too slow, or that it was not written for."""

import asyncio
import errno
import logging
import shutil
from contextlib import suppress

from gradio.route_utils import API_PREFIX
from gradio.utils import get_upload_folder
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.terminal import printable

MAX_BODY_BYTES = 2**20
"""More than any event of the page needs; gradio keeps a body as objects, in fifty times its size."""
UPLOAD_PATH = f"{API_PREFIX}/upload"
"""The only place where files may come in: gradio writes them to the disk, up to its ``max_file_size``."""
MAX_UPLOAD_BYTES = 2**29
"""Of all files of one request."""
FREE_BYTES = 2**28
"""What uploads leave free on the disk, for runs and pictures."""
BODY_SECONDS, UPLOAD_SECONDS = 30.0, 1200.0
"""For a whole body."""
SILENT_SECONDS = 20.0
"""Between two parts of it."""
PATIENCE_BYTES = 16 * 2**20
"""How much more is read and thrown away: a client that is still sending would not see the answer."""
UNANSWERABLE = "This request cannot be answered; the log of the server says why."
TOO_LARGE = "A request may have at most 1 MB; of many pictures, upload a zip."
TOO_SLOW = "The request took too long to arrive."
NO_ROOM = "The disk of this server is full, so nothing can be uploaded now; samples still work. Try again later."

_log = logging.getLogger(__name__)


class RequestGuard:
    """ASGI middleware: too long a body gets status 413, too slow a one 408, an upload without room for it 507.

    What gradio raises is one line of the log.

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
        if exchange.is_upload and not has_room():
            await exchange.end(507, NO_ROOM)
            return
        try:
            with suppress(ClientDisconnect):  # nobody is left to be answered
                await self.app(scope, exchange.receive, exchange.send)
        except Exception as error:
            place = printable(f"{scope['method']} {scope['path']}"[:200])
            _log.error("%s ended with %s: %s", place, type(error).__name__, printable(str(error)[:200]))
            is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            await exchange.end(*((507, NO_ROOM) if is_full else (500, UNANSWERABLE)))


def has_room() -> bool:
    """Whether there is room on the disk for one more upload, or a part of one."""
    try:
        return shutil.disk_usage(get_upload_folder()).free >= FREE_BYTES
    except OSError:  # the folder is made by the first upload
        return True


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        self._scope, self._receive, self._send = scope, receive, send
        self.is_upload = scope["path"] == UPLOAD_PATH
        self._max_bytes = MAX_UPLOAD_BYTES if self.is_upload else MAX_BODY_BYTES
        self._num_bytes = self._num_checked = 0
        self._is_read, self._ends = False, 0.0
        self._has_begun = self._has_ended = False

    async def receive(self) -> Message:
        """The next part of the body; one too long or slow ends the exchange, and for gradio the client left."""
        try:
            message = await self._read()
            if self._num_bytes > self._max_bytes:
                most = self._num_bytes + PATIENCE_BYTES
                while message.get("more_body") and self._num_bytes < most:
                    message = await self._read()
                await self.end(413, TOO_LARGE)
            elif self._lacks_room():
                await self.end(507, NO_ROOM)
            else:
                return message
        except TimeoutError:
            await self.end(408, TOO_SLOW)
        return {"type": "http.disconnect"}

    def _lacks_room(self) -> bool:
        """Looks at the disk now and then."""
        if not self.is_upload or self._num_bytes - self._num_checked < PATIENCE_BYTES:
            return False
        self._num_checked = self._num_bytes
        return not has_room()

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
        if self._is_read:  # whoever asks now wants to know when the client leaves
            return await self._receive()
        now = asyncio.get_running_loop().time()
        self._ends = self._ends or now + (UPLOAD_SECONDS if self.is_upload else BODY_SECONDS)
        async with asyncio.timeout_at(min(self._ends, now + SILENT_SECONDS)):
            message = await self._receive()
        self._num_bytes += len(message.get("body", b""))
        self._is_read = not message.get("more_body", False)
        return message
