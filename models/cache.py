"""The server-wide store of loaded models: loaded once, lent to one caller at a time, bounded in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor, nn

from analysis.errors import Progress, UserError, no_progress
from models.devices import release_threads, resolve_device
from models.registry import Registry
from models.weights import download
from models.zoo.spec import ModelSpec

MAX_BYTES = 2 * 2**30


class NotHere(UserError):
    """The weights of a model would have to be downloaded, which nobody has agreed to yet."""

    def __init__(self, spec: ModelSpec):
        super().__init__(
            f"{spec.name} is not on this computer yet: {spec.to_download} have to be downloaded first. "
            "Press Download below its name on the left, or choose another model."
        )


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to compute: its description, and its module on a device in eval mode."""

    spec: ModelSpec
    module: nn.Module
    device: torch.device

    def to_inputs(self, pixels: Tensor) -> Tensor:
        """Network input ``(N, C, H, W)`` on the model's device from pixels ``(N, C, H, W)`` in [0, 1]."""
        inputs = self.spec.preprocessing.normalize(pixels).to(self.device)
        return inputs.contiguous(memory_format=self.spec.memory_format)

    def prepare(self, image: Image.Image) -> Tensor:
        """Network input ``(1, C, H, W)`` from a picture."""
        return self.to_inputs(self.spec.preprocessing.to_pixels(image)[None])


@dataclass
class _Slot:
    lock: threading.RLock = field(default_factory=threading.RLock)
    model: LoadedModel | None = None
    num_bytes: int = 0
    num_users: int = 0


class ModelCache:
    """Loads models on first use and keeps the most recently used ones.

    ``use`` holds the model's own lock: hooks, gradients and train/eval flags are shared by everybody who
    has the module, so only one analysis at a time may run on it. Different models run in parallel.

    Attributes:
        asks_first: Whether weights are downloaded by :meth:`fetch` only, and not when a model is used.
    """

    def __init__(self, registry: Registry, device: str = "auto", max_bytes: int = MAX_BYTES):
        self.registry = registry
        self.device = resolve_device(device)
        self.max_bytes = max_bytes
        self.asks_first = False
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._guard = threading.Lock()

    @contextmanager
    def use(self, name: str, progress: Progress = no_progress) -> Iterator[LoadedModel]:
        """Lends the model called ``name`` for the length of a ``with`` block.

        Args:
            progress: Called with bytes done and in total while weights are downloaded.

        Raises:
            UserError: Unknown name, or its weights cannot be had; a later call tries again.
        """
        self.check(name)  # no slot for names that do not exist
        with self._hold(name) as slot:
            spec = self.registry.get(name)
            if slot.model is None or slot.model.spec.version != spec.version:
                slot.model = self._load(spec, progress)
                slot.num_bytes = _count_bytes(slot.model.module)
                self._evict(keep=name)
            try:
                yield slot.model
            finally:
                release_threads()

    def check(self, name: str) -> None:
        """Raises UserError if there is no such model, or :class:`NotHere` if it may not be downloaded unasked."""
        spec = self.registry.get(name)
        if self.asks_first and not spec.is_cached:
            raise NotHere(spec)

    def fetch(self, name: str, progress: Progress = no_progress) -> None:
        """Downloads the weights of a model unless they are here. Errors and ``progress`` as of :meth:`use`."""
        spec = self.registry.get(name)
        if spec.weights is not None:
            with self._hold(name):
                download(spec.weights, progress)

    def loaded_names(self) -> list[str]:
        """The models in memory, least recently used first."""
        with self._guard:
            return [name for name, slot in self._slots.items() if slot.model is not None]

    @contextmanager
    def _hold(self, name: str) -> Iterator[_Slot]:
        with self._guard:
            slot = self._slots.setdefault(name, _Slot())
            self._slots.move_to_end(name)
            slot.num_users += 1
        try:
            with slot.lock:
                yield slot
        finally:
            with self._guard:
                slot.num_users -= 1

    def _load(self, spec: ModelSpec, progress: Progress) -> LoadedModel:
        if spec.weights is not None:
            download(spec.weights, progress)
        module = spec.build().to(self.device).to(memory_format=spec.memory_format)
        return LoadedModel(spec=spec, module=module, device=self.device)

    def _evict(self, keep: str) -> None:
        with self._guard:
            total = sum(slot.num_bytes for slot in self._slots.values())
            for name, slot in list(self._slots.items()):
                if total <= self.max_bytes:
                    return
                if name != keep and slot.num_users == 0:
                    total -= slot.num_bytes
                    del self._slots[name]


def _count_bytes(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
