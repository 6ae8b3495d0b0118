"""Starts programs on run directories at once, by forking a process that has loaded the heavy libraries before.

``python -m models.runs.worker FD MODULE...`` is that process. It imports the modules, computes nothing (a thread pool
or a CUDA context does not survive a fork), and then forks once for each request that comes through its socket.
It ends when the socket closes, because the server has ended, however that happened; what it has started goes on.

One spare process that has imported everything would be shorter and work on every system. It was tried: the first run
begins as soon, but one submitted within a second waits until the next spare has its libraries (on two busy cores 11 s
instead of 0.7 s), and takes the processor from the first.
"""

import atexit
import errno
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil
import torch

from models.runs.files import open_to_add
from models.runs.process import record_process

PRELOADED = (
    "accelerate",
    "safetensors.torch",
    "sklearn.model_selection",
    "torchmetrics",
    "torchvision.transforms.v2",
)
"""What programs import while they work; those that are not installed are passed over."""
READY_SECONDS = 3.0
"""How long a request waits for a launcher that is still loading; a process of its own takes no longer to start."""
ANSWER_SECONDS = 5.0
END_SECONDS = 5.0
PROJECT_ROOT = Path(__file__).resolve().parents[2]
GO = b"1"
NICE = 5
"""By how much a program gives way to the page, in the units of the operating system."""


class Launcher:
    """The server's hand on its launcher; wherever it cannot help, :meth:`launch` says so and nothing has happened."""

    def __init__(self, modules: Sequence[str], environment: dict[str, str]):
        """Only stores what the launcher will import and its environment variables; :meth:`start` starts it."""
        self.modules, self.environment = tuple(modules), dict(environment)
        self._process: subprocess.Popen | None = None
        self._socket: socket.socket  # there is one as long as there is a process
        self._received = b""
        self._is_ready = False
        self._guard = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The launcher's process, while there is one."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts the launcher and returns at once, while it loads; nothing where there is one, or none can be."""
        with self._guard:
            self._start()

    def launch(self, module: str, run_dir: Path, environment: dict[str, str]) -> bool:
        """Starts ``main([run_dir])`` of a module as a process of its own, which process.json then names.

        Args:
            run_dir: Where log.txt takes what the program prints.

        Returns:
            True once the process runs; False if it does not and has to be started in another way.

        Raises:
            OSError: The run directory cannot be written.
        """
        with self._guard:
            if self._process is None or not self._wait_until_ready():
                return False
            request = {"module": module, "run_dir": str(run_dir), "environment": environment}
            try:
                self._socket.settimeout(ANSWER_SECONDS)
                self._socket.sendall(json.dumps(request).encode() + b"\n")
                answer: dict | None = self._receive(ANSWER_SECONDS)
            except (OSError, ValueError):
                answer = self._end()
                self._start()  # for the next one
        if answer is not None and answer.get("error"):
            raise OSError(answer["error"], os.strerror(answer["error"]))
        return answer is not None

    def close(self) -> None:
        """Ends the launcher; what it has started goes on."""
        with self._guard:
            self._end()

    def _start(self) -> None:
        if self._process is not None or sys.platform != "linux":  # elsewhere, libraries do not survive a fork
            return
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "models.runs.worker", str(theirs.fileno()), *self.modules],
                    cwd=PROJECT_ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    # Asking the driver whether there is a GPU would start CUDA, and no fork could use it.
                    env={**self.environment, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
                    start_new_session=True,
                )
        except OSError:
            ours.close()
            return
        self._socket, self._received, self._is_ready = ours, b"", False

    def _wait_until_ready(self) -> bool:
        if not self._is_ready:
            try:
                self._is_ready = bool(self._receive(READY_SECONDS).get("ready"))
            except TimeoutError:  # still loading: it will be ready for the next one
                return False
            except (OSError, ValueError):  # it cannot load, and could not the next time
                self._end()
        return self._is_ready

    def _receive(self, seconds: float) -> dict:
        """The next line that the launcher says."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._received:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "The launcher has ended.")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def _end(self) -> dict | None:
        """Makes sure that nothing more is started; returns an answer that was on its way."""
        if self._process is None:
            return None
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        answer = None
        with suppress(OSError, ValueError):
            answer = self._receive(END_SECONDS)
        self._socket.close()
        self._process = None
        self._is_ready = False
        return answer if answer and "pid" in answer else None


def serve(connection: socket.socket, modules: Sequence[str]) -> None:
    """Loads the modules and then starts what the connection asks for, until it closes."""
    for name in modules:
        with suppress(ImportError):
            importlib.import_module(name)
    if not _can_fork():
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that end leave no zombies
    gc.collect()
    gc.freeze()  # or the collector would touch, and so copy, every page that a child shares
    with connection, connection.makefile("rwb") as stream:
        _say(stream, {"ready": True})
        for line in stream:
            _start_child(json.loads(line), connection, stream)


def _can_fork() -> bool:
    """Whether nothing that was imported has started what a fork would lose."""
    return threading.active_count() == 1 and not torch.cuda.is_initialized()


def _start_child(request: dict, connection: socket.socket, stream) -> None:
    """Forks; the child begins once the server can have heard of it, so a launcher that is killed starts nothing."""
    run_dir = Path(request["run_dir"])
    try:
        log = open_to_add(run_dir / "log.txt")
    except OSError as error:
        return _say(stream, {"error": error.errno or errno.EIO})
    gate, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        stream.close()
        connection.close()
        _be_child(request, gate, log)
    os.close(gate)
    log.close()
    try:
        record_process(run_dir, pid)
        answer = {"pid": pid}
    except (OSError, psutil.Error) as error:
        answer = {"error": getattr(error, "errno", None) or errno.EIO}
    try:
        _say(stream, answer)
        if "pid" in answer:
            os.write(go, GO)
    finally:
        os.close(go)


def _be_child(request: dict, gate: int, log: BinaryIO) -> None:
    """The life of a child: never returns."""
    status: str | int | None = 1
    try:
        is_wanted = os.read(gate, 1) == GO
        os.close(gate)
        if is_wanted:
            _become_program(request, log)
            status = importlib.import_module(request["module"]).main([request["run_dir"]])
    except SystemExit as error:
        status = error.code
    except BaseException:
        traceback.print_exc()
    finally:
        # Without the interpreter's own end: it would tear down what only the launcher has the threads of.
        with suppress(BaseException):
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(BaseException):
                stream.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))


def _become_program(request: dict, log: BinaryIO) -> None:
    """Makes the fork what a newly started ``python -m MODULE RUN_DIR`` is."""
    os.setsid()
    _give_way()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.dup2(log.fileno(), sys.stdout.fileno())
    os.dup2(log.fileno(), sys.stderr.fileno())
    log.close()
    sys.argv = [request["module"], request["run_dir"]]
    gc.enable()
    np.random.seed()  # a fork continues the launcher's random numbers; Python's own generator knows of that


def _give_way() -> None:
    """Lets the page come first where both have something to compute; where it has nothing, that costs nothing."""
    with suppress(OSError):
        os.nice(NICE)
    with suppress(OSError):  # Linux may weigh sessions and not processes, and this process has one of its own
        Path("/proc/self/autogroup").write_text(str(NICE), encoding="ascii")


def _say(stream, message: dict) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def main(arguments: list[str]) -> int:
    """Serves the socket whose file descriptor is the first argument; the others are modules to import."""
    descriptor, *modules = arguments
    serve(socket.socket(fileno=int(descriptor)), modules)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
