"""Which names the server answers to, and from whose pages requests may come."""

import ipaddress
import os
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

LOOPBACK = ("localhost", "127.0.0.1", "::1")
ANY_ADDRESS = ("", "0.0.0.0", "::")
SPACES = ".hf.space"
"""All names under this one are Hugging Face's; a Space has several."""
WRONG_HOST = "This server does not answer to that name; its owner can add it with --allow-host."
WRONG_ORIGIN = "Pages of other addresses may not use this server."
Refusal = tuple[int, str]
"""Status and sentence of the answer."""


class Hosts:
    """The names by which the server may be asked for.

    A page of a stranger, whose name suddenly leads to this machine, would otherwise pass for a page of ours (DNS
    rebinding). Addresses in numbers cannot be bent like that: who listens on all of its own answers to them.

    Args:
        host: What the server listens on.
        extra: Further names, such as those of a proxy before it.
    """

    def __init__(self, host: str, extra: Iterable[str] = ()):
        own = os.environ.get("SPACE_HOST", "").split(",")  # a Space's, and its custom domain
        self._names = {*LOOPBACK, *map(read_name, [host, *extra, *own])} - {*ANY_ADDRESS}
        self._answers_to_addresses = host.strip("[]") in ANY_ADDRESS
        if self._answers_to_addresses:
            name = read_name(socket.gethostname())
            self._names |= {name, f"{name}.local"} if name else set()
        self._public: set[str] = {*map(read_name, own)} - {""}
        self._is_in_a_space = "SPACE_ID" in os.environ

    def add_public(self, address: str) -> None:
        """Adds the name of a link that is reached through TLS, though it is not seen here."""
        name = read_name(urlsplit(address).netloc)
        self._names.add(name)
        self._public.add(name)

    def is_ours(self, host: str) -> bool:
        """Whether this is one of the names, with or without a port."""
        name = read_name(host)
        is_known = name in self._names or (self._is_in_a_space and name.endswith(SPACES))
        return is_known or (self._answers_to_addresses and _is_address(name))

    def is_secure(self, scope: Scope) -> bool:
        """Whether the browser has asked through TLS, itself or by way of a proxy on this machine."""
        name = read_name(Headers(scope=scope).get("host", ""))
        return scope["scheme"] == "https" or name in self._public or (self._is_in_a_space and name.endswith(SPACES))

    def refuse(self, scope: Scope) -> Refusal | None:
        """Why this request is not answered; None where it may come in."""
        headers = Headers(scope=scope)
        hosts = [headers.get("host", ""), *filter(None, headers.getlist("x-forwarded-host"))]
        hosts = [each.strip() for host in hosts for each in host.split(",")]
        if not all(map(self.is_ours, hosts)):
            return 421, WRONG_HOST
        origin = headers.get("origin")
        if origin is not None:
            is_own = urlsplit(origin).netloc.lower() in {host.lower() for host in hosts}
        else:  # the page of another address loads something of ours, or leads here
            is_own = headers.get("sec-fetch-site") != "cross-site" or headers.get("sec-fetch-mode") == "navigate"
        return None if is_own else (403, WRONG_ORIGIN)


def read_name(host: str) -> str:
    """The name in a Host header, without its port, in small letters; empty if there is none."""
    host = host.strip()
    if host.count(":") > 1 and "[" not in host:  # an address of IPv6 as options have it
        host = f"[{host}]"
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
