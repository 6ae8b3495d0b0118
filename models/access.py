"""Who asks, and which runs are theirs: whatever lists, reads or changes runs asks here.

There are no accounts. A visitor is a browser, by the random name in its signed cookie (:mod:`ui.visitors`); the owner
is whoever runs this program: the command line, and browsers that have shown so.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network

from analysis.errors import UserError

ROLES = ("nobody", "look", "try", "train", "owner")
"""What somebody may do, each with all that the ones before may: nothing; look at samples and what is shown; try own
pictures; train; everything."""
LACKS = {
    "look": "This page knows nothing of you; load it anew.",
    "try": "Visitors of this page look at its samples; pictures of their own are not taken.",
    "train": "Visitors of this page cannot train networks; only its owner can.",
    "owner": "Only the owner of this page can do this.",
}
"""What is needed -> what those are told who lack it."""


@dataclass(frozen=True)
class Viewer:
    """Somebody who asks for something; ``name`` is that of a browser, or empty.

    ``address`` is where a request came from. It is written nowhere.
    """

    name: str = ""
    role: str = "owner"
    address: str = field(default="", compare=False, repr=False)

    @property
    def is_owner(self) -> bool:
        """Whether all runs are theirs."""
        return self.role == "owner"

    @property
    def account(self) -> str:
        """Under what it is counted what they use: those without a name at one address are counted together."""
        return self.name or f"@{self.address}"

    @property
    def place(self) -> str:
        """What stands for where they are: a whole class may be behind one address.

        Empty where this machine hands requests on, as a tunnel does: then it is anybody's.
        """
        return "" if is_loopback(self.address) else shorten(self.address)

    def may(self, role: str) -> bool:
        """Whether they may do what that role may."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def check(self, role: str) -> None:
        """Raises UserError unless they may do what that role may."""
        if not self.may(role):
            raise UserError(LACKS[role])

    def owns(self, owner: str | None) -> bool:
        """Whether what belongs to ``owner`` is theirs."""
        return self.is_owner or bool(self.name and self.name == owner)

    def sign(self) -> dict[str, str]:
        """The entries of a status.json that say whose the run is; :func:`whose` reads them."""
        return ({"owner": self.name} if self.name else {}) | ({} if self.is_owner else {"role": self.role})


OWNER = Viewer()
NOBODY = Viewer(role="nobody")

_viewer: ContextVar[Viewer] = ContextVar("viewer", default=OWNER)
"""Threads that a program starts for itself are the owner's: what they read must not be given to a visitor."""


def whose(status: dict) -> Viewer:
    """Who has started a run, by its status."""
    return Viewer(status.get("owner", ""), status.get("role", OWNER.role))


def viewer() -> Viewer:
    """Who asks for what is being done."""
    return _viewer.get()


@contextmanager
def acting(who: Viewer) -> Iterator[None]:
    """What is done inside is asked for by them."""
    before = _viewer.set(who)
    try:
        yield
    finally:
        _viewer.reset(before)


def shorten(address: str) -> str:
    """What stands for a client: of IPv6, whoever has one address has 2**64 of them."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address) or parsed.ipv4_mapped:
        return address
    return str(ip_network((parsed, 64), strict=False))


def is_loopback(host: str) -> bool:
    """Whether an address, or the name of one, is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
