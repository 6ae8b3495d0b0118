"""Connections: how many there are, and how long one may be half open."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ui.doors.hosts import LOOPBACK

REQUEST_SECONDS = 20
"""For the head of a request, and for what is still sent of one that has been answered."""
READING_SECONDS = 60
"""Without reading anything of an answer."""
MAX_CONNECTIONS = 1500
"""Two for each page that is open; more where the limit of open files allows no more than 3/2 of them."""
MAX_SHARE = 0.5
"""Of the connections, for one address; proxies and tunnels on this machine have all."""
FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
TOO_MANY = b"Too many pages are open here; try again in a few seconds."


def find_max_connections() -> int:
    """As many as leave a third of the files that this process may have open to everything else."""
    try:
        import resource
    except ImportError:  # Windows
        return MAX_CONNECTIONS // 4
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files * 2 // 3)


class PatientProtocol(H11Protocol):
    """A connection that is ended when its client keeps it waiting; a body's pace is a matter of ``ui.requests``."""

    max_connections = MAX_CONNECTIONS
    _sending: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Refuses one too many."""
        super().connection_made(transport)
        own = self.client and self.client[0]
        others = [other.client for other in self.connections if isinstance(other, H11Protocol)]
        same = sum(other is not None and other[0] == own for other in others)
        is_near = own is None or own in LOOPBACK
        if len(self.connections) > self.max_connections or (not is_near and same > self.max_connections * MAX_SHARE):
            self.connections.discard(self)
            transport.write(FULL % (len(TOO_MANY), TOO_MANY))
            transport.close()
        else:
            self._await_request()

    def data_received(self, data: bytes) -> None:
        """Hands them on; a request that begins has so much time, however slowly it comes."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        super().connection_lost(exc)
        for timer in (self._sending, self._reading):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        self._reading = self.loop.call_later(READING_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()

    def _is_waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_request(self) -> None:
        if not self._is_waiting():
            if self._sending is not None:
                self._sending.cancel()
            self._sending = None
        elif self._sending is None:
            self._sending = self.loop.call_later(REQUEST_SECONDS, self._end_waiting)

    def _end_waiting(self) -> None:
        self._sending = None
        if self._is_waiting():
            self.transport.abort()


def bound_connections(server: uvicorn.Server) -> None:
    """Gives a running server's connections these limits, from the next one on."""
    limits: dict[str, Any] = {"max_connections": find_max_connections()}
    server.config.http_protocol_class = type("Protocol", (PatientProtocol,), limits)
