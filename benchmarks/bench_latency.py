"""Round trips through the running server, and its start-up, against bare baselines in the same run.

    python benchmarks/bench_latency.py [--json] [--repeats N]

Ratios mean something only while the machine is otherwise idle.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

import gradio
import torch
from gradio_client import Client

from lab.session import Lab
from models.registry import DEFAULT_MODEL
from tests.browser.chromium import ARGUMENTS, find_chromium
from tests.server import run_server

if TYPE_CHECKING:
    from playwright.sync_api import Page

SAMPLE = "chelsea"
STARTS = 3
WARM_UP_SECONDS = 15
"""Until the process that trainings are forked from has loaded its libraries."""


def measure(action: Callable[[], object], repeats: int) -> float:
    """Median milliseconds of ``action``, after two runs that do not count."""
    times = []
    for index in range(repeats + 2):
        start = time.perf_counter()
        action()
        if index >= 2:
            times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def measure_forward(repeats: int) -> dict[str, float]:
    """The model alone on one and on two pictures, and the analysis without server and page."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(device="cpu", runs_root=Path(folder))
        image = lab.open_image(SAMPLE)
        with lab.models.use(DEFAULT_MODEL) as loaded, torch.inference_mode():
            inputs = loaded.prepare(image)
            pair = torch.cat([inputs, inputs]).contiguous(memory_format=loaded.spec.memory_format)
            one = measure(lambda: loaded.module(inputs), repeats)
            two = measure(lambda: loaded.module(pair), repeats)
        classify = measure(lambda: lab.classify(image, DEFAULT_MODEL), repeats)
        shift = measure(lambda: lab.shift(image, DEFAULT_MODEL, 3, -2, layer="blocks.4"), repeats)
    return {
        "forward_1_ms": one,
        "forward_2_ms": two,
        "lab_classify_ms": classify,
        "lab_shift_ms": shift,
    }


def measure_endpoints(url: str, repeats: int) -> dict[str, float]:
    """Calls of the running server by ``gradio_client``."""
    client = Client(url, verbose=False)
    return {
        "api_classify_ms": measure(lambda: client.predict(image=SAMPLE, api_name="/classify"), repeats),
        "api_shift_ms": measure(lambda: client.predict(image=SAMPLE, dx=3, dy=-2, api_name="/shift"), repeats),
    }


def measure_page(url: str, repeats: int) -> dict[str, float]:
    """In a real browser: from opening the page, a click on a sample and a step of the picture to the new result."""
    chromium = find_chromium()
    if chromium is None:
        return {}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})

        def open_page() -> None:
            page.goto(url)
            page.wait_for_selector("#classify-result .finding")

        first = measure(open_page, 3)
        samples = iter(["nth=1", "nth=0"] * repeats * 2)

        def classify() -> None:
            page.evaluate("document.querySelector('#classify-result .finding').dataset.old = '1'")
            page.locator(f"#samples button >> {next(samples)}").click()
            page.wait_for_selector("#classify-result .finding:not([data-old])")

        found = {"browser_first_result_ms": first, "browser_classify_ms": measure(classify, repeats)}
        page.goto(f"{url}/?tab=shift&dx=1&dy=0")
        samples = iter(["nth=1", "nth=0"] * repeats)  # the page shows the first one again
        whole = "document.querySelector('#shift-stage .caption')?.textContent.includes('consistency')"
        page.wait_for_function(whole)

        def map_shifts() -> None:
            page.locator(f"#samples button >> {next(samples)}").click()
            page.wait_for_function(f"!({whole})")
            page.wait_for_function(whole)

        found["browser_map_ms"] = measure(map_shifts, min(repeats, 5))
        for name, distance in (("inside", 2), ("beyond", 12)):
            found[f"browser_shift_{name}_map_ms"] = measure(_steps(page, distance, repeats), repeats)
        found["browser_empty_ms"] = _measure_empty_page(page, repeats)
        browser.close()
    return found


def _measure_empty_page(page: "Page", repeats: int) -> float:
    """From a click to its answer where there is nothing but a button and a number: what gradio itself takes."""
    with gradio.Blocks() as empty:
        button, number = gradio.Button(), gradio.Number(0)
        button.click(lambda count: count + 1, number, number)
    _, url, _ = empty.launch(prevent_thread_lock=True, quiet=True)
    page.goto(url)
    page.wait_for_selector("input[type=number]")
    counts = iter(range(1, 2 * repeats + 10))

    def click() -> None:
        page.locator("button").first.click()
        page.wait_for_function(f"document.querySelector('input[type=number]').value === '{next(counts)}'")

    found = measure(click, repeats)
    empty.close()
    return found


def _steps(page: "Page", distance: int, repeats: int) -> Callable[[], None]:
    """Moves the picture to and fro by a pixel at a distance, until the stage says what the network makes of it."""
    places = iter([distance, distance + 1] * repeats * 2)
    finding = "document.querySelector('#shift-stage .finding').textContent"
    said = f"dx => RegExp(`Shifted ${{dx}} px right: (?!measuring)`).test({finding})"

    def move() -> None:
        dx = next(places)
        page.evaluate("dx => window.convscopeMoveTo(dx, 0)", dx)
        page.wait_for_function(said, arg=dx)

    return move


def measure_training(url: str, repeats: int) -> dict[str, float]:
    """From the click that starts a training to its first sign of life and its first numbers; a call meanwhile."""
    chromium = find_chromium()
    if chromium is None:
        return {}
    from playwright.sync_api import sync_playwright

    says = "word => RegExp(word).test(document.querySelector('#train-status').innerText)"
    signs = {"progress": ": (preparing|running)", "numbers": "pictures a second"}
    times: dict[str, list[float]] = {sign: [] for sign in signs}
    calls = []
    client = Client(url, verbose=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{url}/?tab=train")
        page.wait_for_selector("#train-start")
        time.sleep(WARM_UP_SECONDS)
        for _ in range(STARTS):
            if not page.is_visible("#train-start"):  # the form has folded away
                page.click("#train-new")
                page.wait_for_selector("#train-start")
            start = time.perf_counter()
            page.click("#train-start")
            for sign, words in signs.items():
                page.wait_for_function(says, arg=words)
                times[sign].append(time.perf_counter() - start)
            calls.append(measure(lambda: client.predict(image=SAMPLE, api_name="/classify"), repeats))
            page.locator("#train-status").get_by_role("button", name="Stop…").click()
            page.locator("#job-list .actions button:focus").press("Enter")
            page.keyboard.press("Escape")
            page.wait_for_function(says, arg=": stopped")
        browser.close()
    return {
        "training_first_progress_s": statistics.median(times["progress"]),
        "training_first_numbers_s": statistics.median(times["numbers"]),
        "training_first_numbers_max_s": max(times["numbers"]),
        "api_classify_while_training_ms": statistics.median(calls),
    }


def measure_startup() -> dict[str, float]:
    """Seconds until the page is served, against importing torch and gradio; medians, taken in turns."""
    imports, starts = [], []
    for _ in range(STARTS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch, gradio"], check=True)
        imports.append(time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            with run_server(Path(folder)):
                starts.append(time.perf_counter() - start)
    return {"imports_s": statistics.median(imports), "startup_s": statistics.median(starts)}


def main() -> None:
    """Measures everything and prints one JSON object, or a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    result = measure_startup()
    result |= measure_forward(options.repeats)
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder)) as server:
        result |= measure_endpoints(server.url, options.repeats)
        result |= measure_page(server.url, options.repeats)
        result |= measure_training(server.url, options.repeats)
    result = {name: round(value, 3) for name, value in result.items()}
    for name in ("api_classify", "browser_classify"):
        if f"{name}_ms" in result:
            result[f"{name}_vs_forward"] = round(result[f"{name}_ms"] / result["forward_1_ms"], 2)
    for name in ("api_shift", "browser_shift_beyond_map"):
        if f"{name}_ms" in result:
            result[f"{name}_vs_forward"] = round(result[f"{name}_ms"] / result["forward_2_ms"], 2)
    for name in ("browser_classify", "browser_shift_beyond_map"):
        if "browser_empty_ms" in result:
            result[f"{name}_vs_empty_page"] = round(result[f"{name}_ms"] / result["browser_empty_ms"], 2)
    if "api_classify_while_training_ms" in result:
        slower = result["api_classify_while_training_ms"] / result["api_classify_ms"]
        result["api_classify_while_training_vs_idle"] = round(slower, 2)
    result["startup_vs_imports"] = round(result["startup_s"] / result["imports_s"], 2)
    result |= {
        "n": options.repeats,
        "model": DEFAULT_MODEL,
        "device": f"cpu, {torch.get_num_threads()} threads, {platform.machine()}",
        "versions": f"torch {torch.__version__}, gradio {gradio.__version__}, python {platform.python_version()}",
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
