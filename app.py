"""Starts ConvScope: reads the launch options, builds the page, serves it."""

import argparse
import atexit
import errno
import logging
import os
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Sequence
from contextlib import closing, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from analysis.errors import UserError, is_out_of_memory
from models.access import ROLES, is_loopback
from models.problems import MAYBE_PROBLEMS, TOO_LITTLE_MEMORY_TO_START
from models.quotas import Quotas, read_quotas
from models.terminal import INTERRUPTED, ends_as_interrupted, ends_at_once, printable, printable_output

if TYPE_CHECKING:
    import gradio as gr

    from lab.session import Lab
    from ui.services import Services

MAX_QUEUED = 512
THREADS_AT_ONCE = 40
"""Of which one computes; the others wait for their turns, in which no visitor comes before another's first."""
CLOSE_SECONDS = 1
"""How long the end waits for answers that are on their way; every open page keeps a connection."""
PORT_TAKEN = "Port {} is taken; choose another with --port."
NO_LINK = "No public link could be made (no connection to gradio's relay); the local page works."

OWNERS_ADDRESS = (
    "As its owner, in one browser of this machine, open {} (it serves once; a restart prints another). "
    "Whoever comes without it is a visitor (--visitors {})."
)
VISITORS = [role for role in ROLES if role not in ("nobody", "owner")]
_YES = ("1", "true", "yes")


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The launch options; all but --open can also be set as ``CONVSCOPE_<OPTION>`` in the environment."""

    def default(name: str, otherwise: str) -> str:
        return os.environ.get(f"CONVSCOPE_{name}", otherwise)

    parser = argparse.ArgumentParser(description="ConvScope: a lab for image classifiers in your browser.")
    in_a_space = "SPACE_ID" in os.environ  # Hugging Face expects a server that can be reached from outside
    parser.add_argument("--host", default=default("HOST", "0.0.0.0" if in_a_space else "127.0.0.1"))
    parser.add_argument("--port", type=int, default=default("PORT", "7860"))
    parser.add_argument("--share", action="store_true", default=default("SHARE", "").lower() in _YES)
    parser.add_argument(
        "--auth",
        metavar="USER[:PASSWORD]",
        default=os.environ.get("CONVSCOPE_AUTH"),
        help="ask every visitor for this password; without one it is asked for here, where others cannot read it",
    )
    parser.add_argument(
        "--auth-file", type=Path, default=os.environ.get("CONVSCOPE_AUTH_FILE"), help="has USER:PASSWORD on each line"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        metavar="NAME",
        default=default("ALLOW_HOST", "").replace(",", " ").split(),
        help="a further name that browsers may ask for this server by, such as that of a proxy; repeatable",
    )
    parser.add_argument(
        "--visitors",
        choices=VISITORS,
        default=os.environ.get("CONVSCOPE_VISITORS"),
        help="what may do whoever is not the owner: look at samples, try own pictures, or train as well; without it, "
        "where only this machine can reach the page, everybody is the owner, else visitors may try",
    )
    parser.add_argument(
        "--quota",
        action="append",
        metavar="NAME=NUMBER",
        default=default("QUOTAS", "").replace(",", " ").split(),
        help="another number of the table in docs/sharing.md, of what each visitor may use; repeatable",
    )
    parser.add_argument("--device", default=default("DEVICE", "auto"), help="auto, cpu, cuda or mps")
    parser.add_argument("--data-root", type=Path, default=default("DATA_ROOT", "data"))
    parser.add_argument("--runs-root", type=Path, default=default("RUNS_ROOT", "runs"))
    parser.add_argument(
        "--lessons", type=Path, metavar="DIR", help="a folder of lessons of one's own, see docs/lessons.md"
    )
    parser.add_argument("--open", action="store_true", help="open the browser")
    options = parser.parse_args(arguments)
    if options.visitors is None and (options.share or in_a_space or not is_loopback(options.host)):
        options.visitors = "try"
    if options.visitors not in (None, *VISITORS):  # in the environment
        parser.error(f"--visitors takes {', '.join(VISITORS)}")
    try:
        options.quotas = read_quotas(options.quota)
    except UserError as error:
        parser.error(str(error))
    if options.lessons is not None and not options.lessons.is_dir():
        parser.error(f"--lessons takes a folder, and {options.lessons} is none")
    if not 1 <= options.port <= 65535:
        parser.error("--port takes a number from 1 to 65535")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page until it is interrupted; returns the exit status."""
    with printable_output():
        options = parse_options(arguments)
        os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
        try:
            with ends_at_once():  # importing takes seconds
                import ui.page  # noqa: F401
            with ends_as_interrupted():
                return _serve(options)
        except KeyboardInterrupt:
            return INTERRUPTED
        except MAYBE_PROBLEMS as error:
            if not is_out_of_memory(error):
                raise
            return _refuse(TOO_LITTLE_MEMORY_TO_START)


def _serve(options: argparse.Namespace) -> int:
    import gradio as gr

    from lab.jobs import JobManager
    from lab.learning.lessons import Shelf
    from lab.session import Lab
    from models.data.samples import list_samples
    from models.registry import DEFAULT_MODEL
    from models.runs.memory import share_freed_memory
    from models.runs.scratch import sweep_scratch
    from ui.doors.connections import bound_connections
    from ui.doors.door import Doors
    from ui.doors.hosts import Hosts
    from ui.doors.line import Line
    from ui.doors.login import SHOWN, read_users
    from ui.page import build_page, launch_options
    from ui.services import Services
    from ui.visitors import TOKEN, Visitors, read_key

    logging.getLogger("httpx").setLevel(logging.WARNING)
    share_freed_memory()
    try:
        doors = Doors(Hosts(options.host, options.allow_host), read_users(options.auth, options.auth_file))
        if ":" in (options.auth or "") and options.auth != os.environ.get("CONVSCOPE_AUTH"):
            print(f"warning: {SHOWN}", file=sys.stderr)
        check_address(options.host, options.port)
        lab = Lab(options.device, options.data_root, options.runs_root)
    except (UserError, AddressError) as error:
        return _refuse(error)
    samples = [sample.path for sample in list_samples().values()]
    gr.set_static_paths(samples)
    is_in_a_space = "SPACE_ID" in os.environ  # in a frame of Hugging Face
    quotas = Quotas(options.quotas)
    visitors = Visitors(read_key(lab.runs_root), options.visitors, samples, quotas, is_embedded=is_in_a_space)
    jobs = JobManager(options.runs_root, quotas.table)
    with closing(jobs), closing(Services(lab, jobs, shelf=Shelf(options.lessons))) as services:
        os.environ.setdefault("GRADIO_TEMP_DIR", services.uploads)
        page = build_page(services, visitors)
        page.queue(max_size=MAX_QUEUED, default_concurrency_limit=THREADS_AT_ONCE, api_open=False)
        page._queue = Line(page._queue, lambda: lab.models.turns.num_waiting)
        try:
            with redirect_stdout(StringIO()):  # gradio would print its own advice, on many lines
                _, local_url, public_url = page.launch(
                    server_name=options.host,
                    server_port=options.port,
                    share=options.share,
                    prevent_thread_lock=True,
                    **doors.guard(launch_options(visitors)),
                )
        except OSError:  # somebody was faster
            return _refuse(PORT_TAKEN.format(options.port))
        # The first visitor need not wait for the default model, nor for the libraries of a training.
        threading.Thread(target=_warm_up, args=(lab, DEFAULT_MODEL), daemon=True).start()
        threading.Thread(target=sweep_scratch, daemon=True).start()
        jobs.warm_up()
        bound_connections(page.server)
        if public_url:
            doors.hosts.add_public(public_url)
        print(f"ConvScope runs at {local_url} (Ctrl-C ends it)", flush=True)
        own_url = local_url
        if visitors.token is not None:
            host = "127.0.0.1" if options.host in ("", "0.0.0.0", "::") else options.host
            own_url = f"http://{f'[{host}]' if ':' in host else host}:{options.port}/?{TOKEN}={visitors.token}"
            print(OWNERS_ADDRESS.format(own_url, options.visitors), flush=True)
        if options.open:
            webbrowser.open(own_url)
        if options.share:
            print(f"Public link: {public_url}" if public_url else NO_LINK, flush=True)
        _wait_for_signal(page, services)
    return 0


def _warm_up(lab: "Lab", model: str) -> None:
    with suppress(*MAYBE_PROBLEMS):  # who chooses the model will be told
        lab.layers(model)
        lab.obstacles(model)  # which also loads what explains models


def _wait_for_signal(page: "gr.Blocks", services: "Services") -> None:
    """Until one comes; neither what visitors have under way nor the pages they have open then hold up the end."""
    try:
        while page.is_running:
            time.sleep(0.1)
    finally:
        services.cancel_all()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it would show a traceback for each of them
        page.server.config.timeout_graceful_shutdown = CLOSE_SECONDS
        page.close(verbose=False)


class AddressError(Exception):
    """Where the page cannot be served, and which option to change."""


def check_address(host: str, port: int) -> None:
    """Raises AddressError unless this machine can listen there; gradio would only say that no port is free."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressError(PORT_TAKEN.format(port)) from error
        if error.errno == errno.EACCES:
            raise AddressError(f"Port {port} is not yours to use; choose one from 1024 on with --port.") from error
        raise AddressError(f"{host} is no address of this machine; choose another with --host.") from error


def end(status: int) -> NoReturn:
    """Ends the process without the interpreter's own end.

    That would take seconds to free what goes with the process, and abort on a thread that still computes.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _refuse(problem: object) -> int:
    print(f"error: {printable(problem)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    end(main())
