"""What only a GPU can show. All other tests run on it too: ``CONVSCOPE_TEST_DEVICE=cuda make test``."""

import json
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from analysis.errors import UserError
from lab.session import Lab
from models.networks.parts import HEADS, NORMS, POOLING
from models.runs.run import read_run
from models.runs.stop import StopRequest
from models.runs.submit import create_run
from models.runs.writer import RunWriter
from models.training import loop
from models.training import setup as training_setup
from models.training.config import TrainingConfig
from models.training.cuda_graphs import record_passes
from models.training.metrics import RunningSums
from models.training.precision import choose_precision
from models.training.resume import read_resume_point
from models.training.run import load_data, resume, train
from models.training.setup import prepared
from models.training.steps import train_step
from tests.unit.models.training.test_resuming import break_off, saved_always, without_times  # noqa: F401 (a fixture)

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
ALL_AUGMENTS = {
    "flip": 1.0,
    "crop": 0.3,
    "translate": 0.5,
    "rotate": 0.3,
    "color": 0.5,
    "noise": 0.2,
    "blur": 0.5,
    "erase": 0.5,
}


def config(**options) -> TrainingConfig:
    values = {
        "dataset": "shapes",
        "shapes": {"num_images": 600, "clutter": 0.0, "color": "by_class"},
        "model": {"channels": [8, 12]},
        "epochs": 6,
        "batch_size": 20,
        "device": "cuda",
    }
    return TrainingConfig.from_dict(values | options)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "float16"])
def test_it_learns_and_the_seed_decides(tmp_path, precision):
    results = [train(config(precision=precision), tmp_path / name) for name in "ab"]
    assert results[0].test_accuracy > 0.9
    assert results[0].weights_sha256 == results[1].weights_sha256
    environment = json.loads((tmp_path / "a" / "environment.json").read_text())
    assert environment["device_name"] == torch.cuda.get_device_name()
    assert environment["precision"] == choose_precision(precision, "cuda")


def test_without_rounding_it_begins_as_on_the_cpu(tmp_path):
    losses = []
    for device in ("cpu", "cuda"):
        train(config(device=device, precision="float32", epochs=1), tmp_path / device)
        losses.append([line["train_loss"] for line in read_run(tmp_path, device).metrics if line["kind"] == "epoch"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.usefixtures("saved_always")
@pytest.mark.parametrize("at_step", [1, 20, 30])
def test_a_broken_off_training_keeps_its_loss_scale(tmp_path, monkeypatch, at_step):
    """float16 multiplies the loss by a number that grows and falls with what happened before."""
    wanted = config(precision="float16", epochs=2, augment=True, model={"channels": [8, 12], "dropout": 0.2})
    whole = train(wanted, tmp_path / "whole")
    break_off(monkeypatch, wanted, tmp_path / "a", at_step)
    kept = {}

    def read(run_dir, module, optimizer):
        kept.update(zip(("sums", "progress"), read_resume_point(run_dir, module, optimizer), strict=True))
        return kept["sums"], kept["progress"]

    monkeypatch.setattr(loop, "read_resume_point", read)
    again = resume(tmp_path / "a")
    assert kept["progress"]["step"] == at_step and kept["progress"]["scaler"]["scale"] > 1
    assert (again.weights_sha256, again.test_accuracy) == (whole.weights_sha256, whole.test_accuracy)
    lines = [without_times(read_run(tmp_path, name).metrics) for name in ("whole", "a")]
    assert [line for line in lines[0] if line["kind"] == "epoch"] == [
        line for line in lines[1] if line["kind"] == "epoch"
    ]


@pytest.mark.parametrize("options", [{}, {"augment": ALL_AUGMENTS, "shift_augment": "zero", "l1": 1e-5}])
def test_a_step_does_not_wait_for_the_device(tmp_path, options):
    wanted = config(**options)
    run_dir = create_run(tmp_path, "a", wanted.to_dict())
    with (
        RunWriter(run_dir) as writer,
        StopRequest(run_dir) as stop,
        prepared(wanted, load_data(wanted), "cuda", writer, stop) as found,
    ):
        meter = RunningSums(found.accelerator.device)
        found.model.train()
        train_step(found, meter, 0, 0.1)  # the first one looks for algorithms
        torch.cuda.set_sync_debug_mode("error")
        try:
            for step in range(1, 4):
                train_step(found, meter, step, 0.1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert meter.count == 80 and meter.bad_step is None


SMALL = {"channels": [8, 12]}
NETWORKS = {
    **{norm: ("small_cnn", SMALL | {"norm": norm, "dropout": 0.2}) for norm in NORMS},
    **{pooling: ("small_cnn", SMALL | {"pooling": pooling}) for pooling in POOLING},
    **{head: ("small_cnn", SMALL | {"head": head}) for head in HEADS},
    "reflect": ("small_cnn", SMALL | {"padding_mode": "reflect"}),
    **{name: (name, {}) for name in ("linear", "mlp", "lenet5", "cifar_resnet")},
    "vgg": ("vgg", {"width": 0.125}),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_replayed_steps_are_those_that_python_asks_for(tmp_path, monkeypatch, caplog, name, precision):
    architecture, model = NETWORKS[name]
    wanted = config(architecture=architecture, model=model, epochs=1, max_steps=12, precision=precision)
    with caplog.at_level("INFO"):
        replayed = train(wanted, tmp_path / "replayed")
    assert "not recorded" not in caplog.text
    monkeypatch.setattr(training_setup, "_can_record", lambda found: False)
    assert train(wanted, tmp_path / "asked").weights_sha256 == replayed.weights_sha256


class Peeking(nn.Module):
    """What it does depends on a value, which the processor has to wait for."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        return self.linear(x if x.sum().item() > 0 else x * 2)


def test_what_cannot_be_recorded_stays_as_it_was(caplog):
    net = Peeking().cuda().train()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    inputs = torch.randn(6, 4, device="cuda")
    with caplog.at_level("INFO"):
        record_passes(net, inputs, nullcontext())
    assert "not recorded" in caplog.text
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.cuda.empty_cache()
    net(inputs).sum().backward()
    assert net.linear.weight.grad.isfinite().all()


def test_pictures_live_there_as_bytes(tmp_path):
    """A set of pictures takes its own size and no more, however many steps there are."""
    wanted = config(shapes={"num_images": 20_000}, max_steps=3)
    data = load_data(wanted)
    own = sum(split.images.nbytes for split in (data.train, data.validation, data.test))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    train(wanted, tmp_path / "a")
    assert own <= torch.cuda.max_memory_allocated() - before < own + 2**28


def test_too_little_memory_is_said_in_words_and_can_be_mended(tmp_path):
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**24) / total)
    try:
        with pytest.raises(UserError, match=r"too little memory.*smaller batch"):
            train(config(shapes={"num_images": 20_000}), tmp_path / "a")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert read_run(tmp_path, "a").state == "failed" and "too little memory" in read_run(tmp_path, "a").message
    assert resume(tmp_path / "a").state == "finished"


def test_weights_of_a_gpu_are_read_on_any_machine(tmp_path):
    train(config(), tmp_path / "a")
    labs = [Lab(device=device, runs_root=tmp_path) for device in ("cpu", "cuda")]
    found = [each.classify(each.open_image("chelsea"), "run/a").predictions for each in labs]
    assert [one.category for one in found[0]] == [one.category for one in found[1]]
    one, other = ([prediction.probability for prediction in each] for each in found)
    assert one == pytest.approx(other, abs=2e-3)
