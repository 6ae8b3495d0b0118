"""Half an hour of visitors: whether a server's memory, threads, descriptors and files stay what they were.

    python benchmarks/bench_soak.py [--json] [--minutes N] [--clients N] [--without-training]

Clients of bench_load, each a visitor of its own that may try, mixed with pages that come and go, uploads, the benches
of Learn, and callers who do not wait for their answers. "Settled" is after the first sixth: five minutes of thirty.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

import httpx
import psutil
from bench_load import REQUESTS, Requests, Tally, ask, ask_once, count_files, keep_asking, open_client, training

from models.registry import DEFAULT_MODEL
from tests.server import ROOT, Server, run_server

SAMPLE_SECONDS = 20
SETTLED = 1 / 6
"""The share of the time after which what is looked at should stay."""
ASKED: Requests = REQUESTS | {
    "convolve": (1, ["sobel_x", [list(range(9))] * 9, None, None, 1, 0, "zeros", 1, 1, False, False]),
    "quiz": (1, [3]),
    "stack": (1, ["3,32,32", "conv(6,5) relu"]),
    "loss": (1, [[[2.0, 1.0, 0.1]], [0], "softmax"]),
}
OWN = ROOT / "assets" / "garments" / "8-bag.png"
FEW = 4
"""Pages that come and go, uploads and hasty callers: so many of each at a time."""


@dataclass(frozen=True)
class Look:
    """The server at one time.

    Attributes:
        second: Since the clients began.
        memory_mb: Resident.
        scratch: Number and megabytes of files in its temporary folders; ``runs`` likewise in the runs root.
        ends: What clients have been told so far, and how often.
    """

    second: float
    memory_mb: float
    threads: int
    descriptors: int
    scratch: dict[str, float]
    runs: dict[str, float]
    ends: dict[str, int]


async def come_and_go(client: httpx.AsyncClient, chance: random.Random, tally: Tally) -> None:
    """A page is opened, stays for some seconds and is closed."""
    session = f"page{chance.random()}"
    await client.get("/")
    async with client.stream("GET", f"/gradio_api/heartbeat/{session}"):
        await asyncio.sleep(10 * chance.random())
    client.cookies.clear()  # the next one is somebody else


async def upload(client: httpx.AsyncClient, chance: random.Random, tally: Tally) -> None:
    """A picture of one's own, each another file."""
    data = OWN.read_bytes() + chance.randbytes(8)
    sent = await client.post("/gradio_api/upload", files={"files": ("own.png", data)})
    (path,) = sent.json()
    await ask(client, "classify", [{"path": path}, DEFAULT_MODEL, 5], tally)
    await asyncio.sleep(1)


async def leave_at_once(client: httpx.AsyncClient, chance: random.Random, tally: Tally) -> None:
    """Asks and does not wait for the answer."""
    data = [chance.choice(["chelsea", "coffee"]), DEFAULT_MODEL, "saliency", -1, "", "", "", {}]
    await client.post("/gradio_api/call/explain", json={"data": data})
    await asyncio.sleep(2)


async def repeat(
    do: Callable[[httpx.AsyncClient, random.Random, Tally], Coroutine[None, None, None]],
    url: str,
    number: int,
    until: float,
    tally: Tally,
) -> None:
    """One visitor, who does that again and again."""
    chance = random.Random(number)
    async with open_client(url) as client:
        await client.get("/config")
        while time.monotonic() < until:
            try:
                await do(client, chance, tally)
            except (httpx.HTTPError, ValueError) as error:
                tally.ends["error"] += 1
                tally.problems[f"{do.__name__}: {error!r}"[:200]] += 1


async def soak(server: Server, num_clients: int, seconds: float, tell: Callable[[Look], None]) -> list[Look]:
    """Has clients ask for so long, and looks at the server meanwhile."""
    folder, tally, looks = server.runs_root.parent, Tally(), []
    process, begun = psutil.Process(server.process.pid), time.monotonic()
    until = begun + seconds

    async def watch() -> None:
        while time.monotonic() < until:
            await asyncio.sleep(SAMPLE_SECONDS)
            scratch, runs = await asyncio.to_thread(lambda: [count_files(folder / name) for name in ("tmp", "runs")])
            memory = process.memory_info().rss / 2**20
            second = time.monotonic() - begun
            ends = dict(tally.ends)
            look = Look(second, memory, process.num_threads(), process.num_fds(), scratch, runs, ends)
            looks.append(look)
            tell(look)

    async def keep(number: int) -> None:
        async with open_client(server.url) as client:
            await client.get("/config")  # and is known by its cookie from now on
            await keep_asking(client, number, until, tally, ASKED)

    others = [
        repeat(do, server.url, number, until, tally)
        for do in (come_and_go, upload, leave_at_once)
        for number in range(FEW)
    ]
    await asyncio.gather(watch(), *map(keep, range(num_clients)), *others)
    for problem, number in tally.problems.items():
        print(f"{number} x {problem}", file=sys.stderr)
    return looks


def sum_up(looks: list[Look]) -> dict:
    """What grew after the first sixth: the most and the last of each, beside the first that is settled."""
    settled = looks[int(len(looks) * SETTLED) :]
    found = {
        "memory_mb": [look.memory_mb for look in settled],
        "threads": [look.threads for look in settled],
        "descriptors": [look.descriptors for look in settled],
        "scratch_files": [look.scratch["files"] for look in settled],
        "scratch_mb": [look.scratch["mb"] for look in settled],
        "runs_files": [look.runs["files"] for look in settled],
        "runs_mb": [look.runs["mb"] for look in settled],
    }
    grew = {name: {"first": some[0], "most": max(some), "last": some[-1]} for name, some in found.items()}
    return {**grew, "memory_growth": max(found["memory_mb"]) / found["memory_mb"][0] - 1, "ends": looks[-1].ends}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--without-training", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        places = {"TMPDIR": str(folder / "tmp"), "GRADIO_TEMP_DIR": str(folder / "tmp" / "uploads")}
        with run_server(folder, "--visitors", "try", **places) as server:
            for endpoint in REQUESTS:  # which load what they need
                asyncio.run(ask_once(server.url, endpoint, Tally()))
            with nullcontext() if options.without_training else training(server):
                tell = partial(print, file=sys.stderr, flush=True)
                looks = asyncio.run(soak(server, options.clients, options.minutes * 60, tell))
    found = sum_up(looks)
    if options.json:
        print(json.dumps({"summary": found, "looks": [asdict(look) for look in looks]}, indent=2))
        return
    for what, values in found.items():
        print(f"{what:16} {values}")


if __name__ == "__main__":
    main()
