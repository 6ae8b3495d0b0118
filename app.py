"""Starts ConvScope: reads the launch options, builds the page, serves it."""

import argparse
import logging
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

MAX_QUEUED = 64
THREADS_AT_ONCE = 4
NO_LINK = "No public link could be made (no connection to gradio's relay); the local page works."


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The launch options; all but --open can also be set as ``CONVSCOPE_<OPTION>`` in the environment."""

    def default(name: str, otherwise: str | None) -> str | None:
        return os.environ.get(f"CONVSCOPE_{name}", otherwise)

    parser = argparse.ArgumentParser(description="ConvScope: a lab for image classifiers in your browser.")
    in_a_space = "SPACE_ID" in os.environ  # Hugging Face expects a server that can be reached from outside
    parser.add_argument("--host", default=default("HOST", "0.0.0.0" if in_a_space else "127.0.0.1"))
    parser.add_argument("--port", type=int, default=default("PORT", "7860"))
    parser.add_argument("--share", action="store_true", default=default("SHARE", "").lower() in ("1", "true", "yes"))
    parser.add_argument("--auth", metavar="USER:PASSWORD", default=default("AUTH", None))
    parser.add_argument("--device", default=default("DEVICE", "auto"), help="auto, cpu, cuda or mps")
    parser.add_argument("--data-root", type=Path, default=default("DATA_ROOT", "data"))
    parser.add_argument("--runs-root", type=Path, default=default("RUNS_ROOT", "runs"))
    parser.add_argument("--open", action="store_true", help="open the browser")
    options = parser.parse_args(arguments)
    if options.auth is not None and not all(options.auth.partition(":")[::2]):
        parser.error("--auth takes USER:PASSWORD")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page until it is interrupted; returns the exit status."""
    options = parse_options(arguments)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    import gradio as gr

    from lab import Lab
    from models.errors import ModelsError
    from models.jobs import JobManager
    from models.pretrained import DEFAULT_MODEL
    from models.samples import list_samples
    from ui import Services
    from ui.page import build_page, launch_options

    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        lab = Lab(options.device, options.data_root, options.runs_root)
    except ModelsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    gr.set_static_paths([sample.path for sample in list_samples().values()])
    jobs = JobManager(options.runs_root)
    page = build_page(Services(lab, jobs))
    page.queue(max_size=MAX_QUEUED, default_concurrency_limit=THREADS_AT_ONCE)
    # The first visitor need not wait for the default model, nor for the libraries of a training.
    threading.Thread(target=lab.layers, args=(DEFAULT_MODEL,), daemon=True).start()
    jobs.warm_up()
    try:
        with redirect_stdout(StringIO()):  # gradio would print its own advice, on many lines
            _, local_url, public_url = page.launch(
                server_name=options.host,
                server_port=options.port,
                share=options.share,
                auth=tuple(options.auth.split(":", 1)) if options.auth else None,
                inbrowser=options.open,
                prevent_thread_lock=True,
                **launch_options(),
            )
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"ConvScope runs at {local_url} (Ctrl-C ends it)", flush=True)
    if options.share:
        print(f"Public link: {public_url}" if public_url else NO_LINK, flush=True)
    page.block_thread()
    return 0


if __name__ == "__main__":
    sys.exit(main())
