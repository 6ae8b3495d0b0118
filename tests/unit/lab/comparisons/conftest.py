"""What benches and comparisons are tested with alike."""

import threading
from contextlib import contextmanager

import pytest

from lab.comparisons import train as arm_training
from models.runs.run import request_stop


@pytest.fixture
def stopped_in_training(monkeypatch):
    """A context in which a run is asked to stop as soon as an arm trains; nobody who watches is left after it."""

    @contextmanager
    def stopped_in_training(run_dir):
        trained, real = threading.Event(), arm_training.train
        monkeypatch.setattr(arm_training, "train", lambda *arguments: trained.set() or real(*arguments))
        stopper = threading.Thread(target=lambda: trained.wait(30) and request_stop(run_dir))
        stopper.start()
        yield
        stopper.join()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith(f"stop {run_dir.name}")]

    return stopped_in_training
