"""A model as an ONNX file that other programs run without PyTorch, checked against PyTorch before it is kept.

The input is ``pixels (N, C, H, W)`` float32 in [0, 1]: the normalisation is part of the graph, so that whoever uses
the file cannot get mean and std wrong. What is left to do before (resize, crop) and the names of the classes are in
the file's metadata.
"""

import copy
import importlib.util
import json
import os
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from analysis.errors import UserError
from models.data.preprocessing import Preprocessing
from models.determinism import reproducible

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 20
INPUT, OUTPUT = "pixels", "logits"
MAX_WEIGHT_BYTES = 2**31 - 64 * 2**20
"""An ONNX file is one protocol buffer, which ends at 2 GB."""
TOLERANCE = 1e-3
"""How far the logits of the two programs may be apart, as a share of the largest logit or of 1."""
BATCH_SIZES = (1, 3)
_ONE_AT_A_TIME = threading.Lock()
"""PyTorch's exporter changes functions of PyTorch while it works."""


@dataclass(frozen=True)
class OnnxReport:
    """What was written; ``max_difference`` between onnxruntime's and PyTorch's logits, ``max_logit`` the largest."""

    path: str
    num_bytes: int
    opset: int
    input_name: str
    input_shape: tuple[int | str, ...]
    output_name: str
    output_shape: tuple[int | str, ...]
    max_difference: float
    max_logit: float


def export_onnx(
    module: nn.Module, preprocessing: Preprocessing, path: str | Path, *, categories: Sequence[str] = ()
) -> OnnxReport:
    """Writes a model to an ONNX file, replacing it in one step, once onnxruntime gives what PyTorch gives.

    A few seconds for most networks, about 20 for the largest of torchvision; one export at a time in this process.
    The module is left as it was (a copy on the CPU is exported), and so are the random numbers.

    Args:
        module: Maps normalised input ``(N, C, H, W)`` to logits ``(N, K)``.
        categories: K names for the file's metadata.

    Raises:
        UserError: A package is missing, the model is too large or has a part that ONNX has not, the two
            programs disagree, or the file cannot be written.
    """
    _check_packages()
    _check_size(module)
    path = Path(path)
    with _ONE_AT_A_TIME, reproducible(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        subject = _FromPixels(_copy_to_cpu(module), preprocessing).eval()
        data = _translate(subject, preprocessing, categories)
        max_difference, max_logit, num_logits = _compare(data, subject, preprocessing)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    except OSError as error:
        raise UserError(f"The ONNX file cannot be written to {path} ({error.strerror or error}).") from error
    finally:
        scratch.unlink(missing_ok=True)
    return OnnxReport(
        path=str(path),
        num_bytes=len(data),
        opset=OPSET,
        input_name=INPUT,
        input_shape=("batch", *_shape(preprocessing)),
        output_name=OUTPUT,
        output_shape=("batch", num_logits),
        max_difference=max_difference,
        max_logit=max_logit,
    )


class _FromPixels(nn.Module):
    """A network with its normalisation in front."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(-1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits ``(N, K)`` of pixels ``(N, C, H, W)`` in [0, 1]."""
        return self.network((pixels - self.mean) / self.std)


def _check_packages() -> None:
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"An ONNX export needs {' and '.join(missing)}: pip install {' '.join(missing)}.")


def _check_size(module: nn.Module) -> None:
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))
    if num_bytes > MAX_WEIGHT_BYTES:
        raise UserError(
            f"The model has {num_bytes / 2**30:.1f} GB of weights, and an ONNX file holds less than 2 GB."
        )


def _copy_to_cpu(module: nn.Module) -> nn.Module:
    """A copy without gradients, in the plain layout."""
    duplicate = copy.deepcopy(module).to("cpu", torch.float32).to(memory_format=torch.contiguous_format)
    for parameter in duplicate.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    return duplicate


def _translate(subject: nn.Module, preprocessing: Preprocessing, categories: Sequence[str]) -> bytes:
    """The ONNX file of a network that takes pixels."""
    example = torch.rand(2, *_shape(preprocessing))
    try:
        program = torch.onnx.export(
            subject,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: "batch"}},
            verbose=False,
        )
        assert program is not None  # as ever with dynamo
        _clean(program.model)
        program.model.metadata_props.update(_metadata(preprocessing, categories))
        return program.model_proto.SerializeToString()
    except Exception as error:  # whatever an operation that cannot be translated makes PyTorch raise
        raise UserError(f"This model cannot be exported to ONNX: {_reason(error)}") from error


def _clean(model) -> None:
    """Removes PyTorch's notes, which name folders of this machine."""
    graph = model.graph
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph:
        node.metadata_props.clear()
        values += node.outputs
    for part in (model, graph, *values):
        part.metadata_props.clear()


def _metadata(preprocessing: Preprocessing, categories: Sequence[str]) -> dict[str, str]:
    input_help = (
        f"{INPUT}: float32 (batch, channels, height, width) in [0, 1], after resizing the shorter side to "
        "resize_size and cropping the middle to crop_size; the graph itself subtracts mean and divides by std"
    )
    return {
        "input": input_help,
        "output": f"{OUTPUT}: float32 (batch, classes), before softmax",
        "categories": json.dumps(list(categories)),
        "preprocessing": json.dumps(preprocessing.to_dict()),
    }


@torch.inference_mode()
def _compare(data: bytes, subject: nn.Module, preprocessing: Preprocessing) -> tuple[float, float, int]:
    """Largest difference of the logits on random pixels, largest logit, and the number of classes."""
    difference = largest = 0.0
    batches = [torch.rand(size, *_shape(preprocessing)) for size in BATCH_SIZES]
    for pixels, found in zip(batches, _run_elsewhere(data, batches), strict=True):
        expected = subject(pixels)
        if found.shape != expected.shape:
            raise UserError(
                f"This model cannot be exported to ONNX: for a batch of {len(pixels)} onnxruntime gives numbers of "
                f"the shape {tuple(found.shape)} and PyTorch {tuple(expected.shape)}."
            )
        off, size = (found - expected).abs().max().item(), expected.abs().max().item()
        # Written so that a NaN fails too; max(0.0, nan) would be 0.
        if not off <= TOLERANCE * max(1.0, size):
            raise UserError(
                f"This model cannot be exported to ONNX: onnxruntime and PyTorch differ by {off:.2g} "
                f"in logits of up to {size:.2g}."
            )
        difference, largest = max(difference, off), max(largest, size)
    return difference, largest, expected.shape[1]


def _run_elsewhere(data: bytes, batches: Sequence[Tensor]) -> list[Tensor]:
    """What onnxruntime answers on the CPU."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        return [torch.from_numpy(session.run([OUTPUT], {INPUT: pixels.numpy()})[0]) for pixels in batches]
    except Exception as error:  # its errors have no common class of their own
        raise UserError(f"onnxruntime cannot run what was exported: {_reason(error)}") from error


def _shape(preprocessing: Preprocessing) -> tuple[int, int, int]:
    return preprocessing.num_channels, preprocessing.crop_size, preprocessing.crop_size


def _reason(error: BaseException) -> str:
    """The first line of what went wrong in the first place."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{lines[0][:300]}" if lines else type(error).__name__
