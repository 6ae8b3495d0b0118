"""Many clients at once on a running server, while a training runs: answers, refusals, waiting, memory, files.

    python benchmarks/bench_load.py [--json] [--clients N] [--seconds S] [--without-training]

Throughput is beside the forward passes of the best batch in the same run, waiting beside a single one. Ratios mean
something only while the machine is otherwise idle.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

import httpx
import psutil
import torch
from bench_latency import measure

from lab.jobs import JobManager
from lab.session import Lab
from models.registry import DEFAULT_MODEL
from models.training.config import TrainingConfig
from tests.server import Server, run_server

SAMPLES = ("chelsea", "coffee", "rocket")
PICTURE = "a picture"
"""In what an endpoint is asked: one that the client chooses."""
Requests = Mapping[str, tuple[int, list]]
"""Endpoint -> how often it is asked, and what."""
REQUESTS: Requests = {
    "classify": (6, [PICTURE, DEFAULT_MODEL, 5]),
    "shift": (3, [PICTURE, DEFAULT_MODEL, 3, -2, "zero"]),
    "explain": (1, [PICTURE, DEFAULT_MODEL, "saliency", -1, "", "", "", {}]),
}
FORWARDS = {"classify": 1, "shift": 2, "explain": 3}
"""Endpoint -> forward passes of one picture that its answer takes; a backward pass counts as two."""
BATCHES = (1, 2, 4, 8)
REPEATS = 20
PATIENCE_SECONDS = 120
TRAINING = {"dataset": "shapes", "shapes": {"num_images": 4000}, "epochs": 500, "device": "cpu"}
SETTLE_SECONDS = 5
"""Between two looks at memory and files."""
KEPT_OPEN = httpx.Limits(keepalive_expiry=2)
"""Connections that are not used: the server ends them after five seconds, and a request must not meet that."""


@dataclass
class Tally:
    """What clients were told, and how long that took."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    ends: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)


def open_client(url: str) -> httpx.AsyncClient:
    """A program that is a visitor of its own once it has asked for a page."""
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS, limits=KEPT_OPEN)


async def ask(client: httpx.AsyncClient, name: str, data: list, tally: Tally) -> None:
    """Calls an endpoint as a program does, and waits for its answer: "done", "refused" in words, or "error"."""
    start = time.perf_counter()
    try:
        joined = await client.post(f"/gradio_api/call/{name}", json={"data": data})
        end, said = "error", joined.text
        if joined.status_code in (429, 503):
            end = "refused"
        elif joined.status_code == 200:
            events = f"/gradio_api/call/{name}/{joined.json()['event_id']}"
            async with client.stream("GET", events) as stream:
                async for line in stream.aiter_lines():
                    if line.startswith("event: "):
                        kind = line.removeprefix("event: ")
                    elif line.startswith("data: ") and kind in ("complete", "error"):
                        said = line
                        is_sentence = kind == "error" and "busy" in line.lower()
                        end = "done" if kind == "complete" else "refused" if is_sentence else "error"
    except httpx.HTTPError as error:
        end, said = "error", repr(error)
    tally.ends[end] += 1
    if end == "done":
        tally.seconds[name].append(time.perf_counter() - start)
    elif end == "error":
        tally.problems[said[:200]] += 1


async def keep_asking(client: httpx.AsyncClient, number: int, until: float, tally: Tally, asked: Requests) -> None:
    """One client, who asks again as soon as there is an answer."""
    chance = random.Random(number)
    weights = [weight for weight, _ in asked.values()]
    while time.monotonic() < until:
        (name,) = chance.choices([*asked], weights)
        sample, before = chance.choice(SAMPLES), tally.ends["refused"]
        await ask(client, name, [sample if part is PICTURE else part for part in asked[name][1]], tally)
        if tally.ends["refused"] > before:
            await asyncio.sleep(1)


async def load(server: Server, num_clients: int, seconds: float) -> dict:
    """Has clients ask for some time; looks at the server's memory and descriptors meanwhile."""
    tally, watched = Tally(), []
    process, until = psutil.Process(server.process.pid), time.monotonic() + seconds

    async def watch() -> None:
        while time.monotonic() < until:
            watched.append((process.memory_info().rss / 2**20, process.num_fds(), process.num_threads()))
            await asyncio.sleep(SETTLE_SECONDS)

    async def keep(number: int) -> None:
        async with open_client(server.url) as client:
            await keep_asking(client, number, until, tally, REQUESTS)

    start = time.perf_counter()
    await asyncio.gather(watch(), *map(keep, range(num_clients)))
    took = time.perf_counter() - start
    waits = {
        name: {"p50": quantile(times, 0.5), "p95": quantile(times, 0.95), "number": len(times)}
        for name, times in tally.seconds.items()
    }
    forwards = sum(FORWARDS[name] * len(times) for name, times in tally.seconds.items())
    memory, descriptors, threads = zip(*watched, strict=True)
    settled = memory[len(memory) // 6 :]  # five minutes of thirty
    return {
        "clients": num_clients,
        "seconds": took,
        "ends": dict(tally.ends),
        "problems": dict(tally.problems),
        "answers_per_second": sum(map(len, tally.seconds.values())) / took,
        "forwards_per_second": forwards / took,
        "seconds_to_answer": waits,
        "memory_mb": {"first": memory[0], "settled": settled[0], "most": max(settled), "last": memory[-1]},
        "descriptors": {"most": max(descriptors), "last": descriptors[-1]},
        "threads": max(threads),
    }


def quantile(times: list[float], share: float) -> float | None:
    """The value below which a share of the times lies; None where there are none."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))] if times else None


def measure_forwards() -> dict[str, float]:
    """Milliseconds of a single forward pass, and pictures a second of the best batch, of the model alone."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(device="cpu", runs_root=Path(folder))
        image = lab.open_image(SAMPLES[0])
        with lab.models.use(DEFAULT_MODEL) as loaded, torch.inference_mode():
            one = loaded.prepare(image)
            batches = {size: torch.cat([one] * size) for size in BATCHES}
            milliseconds = {size: measure(partial(loaded.module, batch), REPEATS) for size, batch in batches.items()}
    best = max(size * 1000 / taken for size, taken in milliseconds.items())
    return {"forward_ms": milliseconds[1], "best_forwards_per_second": best}


@contextmanager
def training(server: Server) -> Iterator[None]:
    """A training that runs meanwhile, as the page starts one."""
    jobs = JobManager(server.runs_root)
    name = jobs.start(TrainingConfig.from_dict(TRAINING | {"data_root": str(server.runs_root.parent / "data")}))
    while jobs.read(name).state != "running":
        time.sleep(0.5)
    yield
    jobs.kill(name)


def count_files(folder: Path) -> dict[str, float]:
    """How many files there are below a folder, and how many megabytes."""
    sizes = []
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it is just going
                sizes.append(Path(parent, name).stat().st_size)
    return {"files": len(sizes), "mb": sum(sizes) / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--without-training", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder)) as server:
        for name in REQUESTS:  # which load what they need
            asyncio.run(ask_once(server.url, name, Tally()))
        if options.without_training:
            found = measure_all(server, options)
        else:
            with training(server):
                found = measure_all(server, options)
        found["uploads"] = count_files(Path(folder) / "uploads")
    if options.json:
        print(json.dumps(found, indent=2))
        return
    ratios = found["ratios"]
    print(f"{options.clients} clients for {found['load']['seconds']:.0f} s: {found['load']['ends']}")
    print(f"throughput of the best batch's forwards  {ratios['throughput']:.2f}")
    print(f"p95 of classify, in single forwards      {ratios['p95_classify']:.1f}")
    print(f"memory, MB {found['load']['memory_mb']}; descriptors {found['load']['descriptors']}; {found['uploads']}")
    for problem, number in found["load"]["problems"].items():
        print(f"{number} x {problem}")


async def ask_once(url: str, name: str, tally: Tally, sample: str = SAMPLES[0]) -> None:
    """One call of an endpoint by a client of its own."""
    async with open_client(url) as client:
        await ask(client, name, [sample if part is PICTURE else part for part in REQUESTS[name][1]], tally)


def measure_all(server: Server, options: argparse.Namespace) -> dict:
    """The model alone before and after, the server under load in between, and what they say of each other."""
    before = measure_forwards()
    under_load = asyncio.run(load(server, options.clients, options.seconds))
    after = measure_forwards()
    alone = {name: statistics.mean((before[name], after[name])) for name in before}
    p95 = under_load["seconds_to_answer"]["classify"]["p95"]
    ratios = {
        "throughput": under_load["forwards_per_second"] / alone["best_forwards_per_second"],
        "p95_classify": p95 and p95 * 1000 / alone["forward_ms"],
    }
    return {"alone": alone, "load": under_load, "ratios": ratios}


if __name__ == "__main__":
    main()
