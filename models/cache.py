"""The server-wide store of loaded models: loaded once, lent to whoever has the turn, bounded in bytes."""

import copy
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from analysis.errors import Progress, UserError, no_progress
from models.access import viewer
from models.devices import release_threads, resolve_device
from models.registry import Registry
from models.turns import Turns
from models.weights import download
from models.zoo.spec import ModelSpec

MAX_BYTES = 2 * 2**30
MAX_PIXELS = 8 * 224 * 224
"""Of pictures of several callers that are computed in one forward pass; more are no faster on a CPU."""
MAX_IDLE = 4
"""Modules of a model that wait for somebody to use them."""


class NotHere(UserError):
    """The weights of a model would have to be downloaded, which nobody has agreed to yet."""

    def __init__(self, spec: ModelSpec):
        way = "Press Download below its name on the left, or choose another model."
        if not viewer().is_owner:
            way = "Only the owner of this page can do that; choose another model."
        super().__init__(
            f"{spec.name} is not on this computer yet: {spec.to_download} have to be downloaded first. {way}"
        )


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to compute: its description, and its module on a device in eval mode."""

    spec: ModelSpec
    module: nn.Module
    device: torch.device

    def to_inputs(self, pixels: Tensor) -> Tensor:
        """Network input ``(N, C, H, W)`` on the model's device from pixels ``(N, C, H, W)`` in [0, 1]."""
        return self.spec.to_inputs(pixels, self.device)

    def prepare(self, image: Image.Image) -> Tensor:
        """Network input ``(1, C, H, W)`` from a picture."""
        return self.to_inputs(self.spec.preprocessing.to_pixels(image)[None])


def as_it_is(module: nn.Module) -> nn.Module:
    """The network itself, where something could be made of it."""
    return module


@dataclass(eq=False)
class _Part:
    """What one caller wants computed, ``inputs`` ``(N, C, H, W)``, and in which context."""

    inputs: Tensor
    context: Context = field(default_factory=copy_context)
    logits: Tensor | None = None
    seconds: float = 0.0

    def is_done(self) -> bool:
        return self.logits is not None


@dataclass
class _Slot:
    """A model; ``pattern`` is never lent, so that nothing of an analysis is in what is copied from it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    pattern: LoadedModel | None = None
    idle: list[LoadedModel] = field(default_factory=list)
    num_bytes: int = 0
    num_users: int = 0


class ModelCache:
    """Loads models on first use and keeps the most recently used ones.

    Whoever uses one has the turn to compute (:class:`models.turns.Turns`), and a module of their own: hooks,
    gradients and train/eval flags are nobody else's, the weights are everybody's. So a long work can give way to
    others between two of its parts.

    Attributes:
        asks_first: Whether weights are downloaded by :meth:`fetch` only, and not when a model is used.
        turns: Who computes, and who waits.
    """

    def __init__(self, registry: Registry, device: str = "auto", max_bytes: int = MAX_BYTES):
        self.registry = registry
        self.device = resolve_device(device)
        self.max_bytes = max_bytes
        self.asks_first = False
        self.turns = Turns()
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._parts: dict[Hashable, list[_Part]] = {}
        self._guard = threading.Lock()
        self._mine = threading.local()

    @contextmanager
    def use(self, name: str, progress: Progress = no_progress) -> Iterator[LoadedModel]:
        """Lends the model called ``name``, and the turn to compute, for the length of a ``with`` block.

        Args:
            progress: Called with bytes done and in total while weights are downloaded.

        Raises:
            UserError: Unknown name, or its weights cannot be had; a later call tries again.
        """
        lent: dict[str, LoadedModel] = self._mine.__dict__.setdefault("lent", {})
        if name in lent:
            yield lent[name]
            return
        with self._hold(name, progress) as slot, self.turns.take():
            lent[name] = model = self._lend(slot)
            try:
                yield model
            finally:
                del lent[name]
                self._take_back(slot, model)
                release_threads()

    def compute(
        self,
        name: str,
        inputs: Tensor,
        network: Callable[[nn.Module], Callable[[Tensor], Tensor]] = as_it_is,
        progress: Progress = no_progress,
    ) -> tuple[Tensor, float]:
        """The logits of a model, in one forward pass with what others want of it at that moment.

        Args:
            inputs: ``(N, C, H, W)``, on the device.
            network: Makes what is asked from the model's module; who gives the same function asks the same.
            progress: As of :meth:`use`, as are the errors.

        Returns:
            ``(N, K)`` logits, and the seconds that each picture took.
        """
        part = _Part(inputs)
        with (
            self._hold(name, progress) as slot,
            self._offer((id(slot), network, inputs.shape[1:]), part) as parts,
            self.turns.take(part.is_done) as is_ours,
        ):
            if is_ours and not part.is_done():
                with self.use(name) as model:
                    for other in _compute(network(model.module), part, parts):
                        other.context.run(self.turns.hand_on, other.seconds * len(other.inputs))
        assert part.logits is not None
        return part.logits, part.seconds

    def check(self, name: str) -> ModelSpec:
        """What is known of a model.

        Raises:
            UserError: There is none of that name.
            NotHere: It may not be downloaded unasked.
        """
        spec = self.registry.get(name)
        if self.asks_first and not spec.is_cached:
            raise NotHere(spec)
        return spec

    def fetch(self, name: str, progress: Progress = no_progress) -> None:
        """Downloads the weights of a model unless they are here. Errors and ``progress`` as of :meth:`use`."""
        spec = self.registry.get(name)
        if spec.weights is not None:
            with self._count_user(name) as slot, slot.lock:
                download(spec.weights, progress)

    def loaded_names(self) -> list[str]:
        """The models in memory, least recently used first."""
        with self._guard:
            return [name for name, slot in self._slots.items() if slot.pattern is not None]

    @contextmanager
    def _hold(self, name: str, progress: Progress) -> Iterator[_Slot]:
        """Keeps a model, loaded, from being evicted."""
        spec = self.check(name)  # no slot for names that do not exist
        with self._count_user(name) as slot:
            with slot.lock:
                if slot.pattern is None or slot.pattern.spec.version != spec.version:
                    slot.pattern, slot.idle = self._load(spec, progress), []
                    slot.num_bytes = _count_bytes(slot.pattern.module)
                    self._evict(keep=name)
            yield slot

    @contextmanager
    def _count_user(self, name: str) -> Iterator[_Slot]:
        with self._guard:
            slot = self._slots.setdefault(name, _Slot())
            self._slots.move_to_end(name)
            slot.num_users += 1
        try:
            yield slot
        finally:
            with self._guard:
                slot.num_users -= 1

    def _lend(self, slot: _Slot) -> LoadedModel:
        with slot.lock:
            assert slot.pattern is not None
            return slot.idle.pop() if slot.idle else replace(slot.pattern, module=copy_sharing(slot.pattern.module))

    def _take_back(self, slot: _Slot, model: LoadedModel) -> None:
        with slot.lock:
            if slot.pattern is not None and slot.pattern.spec.version == model.spec.version:
                slot.idle = [*slot.idle, model][:MAX_IDLE]

    @contextmanager
    def _offer(self, key: Hashable, part: _Part) -> Iterator[list[_Part]]:
        """Puts a part with those that can be computed together with it."""
        with self._guard:
            parts = self._parts.setdefault(key, [])
            parts.append(part)
        try:
            yield parts
        finally:
            with self._guard:
                parts.remove(part)
                if not parts:
                    del self._parts[key]

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


def copy_sharing(module: nn.Module) -> nn.Module:
    """A copy with hooks, flags and gradients of its own, and the same weights and buffers in memory."""
    shared: dict[int, Any] = {id(buffer): buffer for buffer in module.buffers()}
    shared |= {id(each): nn.Parameter(each.detach(), each.requires_grad) for each in module.parameters()}
    return copy.deepcopy(module, shared)


def _compute(network: Callable[[Tensor], Tensor], own: _Part, waiting: Sequence[_Part]) -> list[_Part]:
    """Computes a part, and with it as many of those that wait as are faster together, which it gives."""
    parts, room = [own], MAX_PIXELS // own.inputs[0, 0].numel() - len(own.inputs)
    for part in [*waiting]:
        if part is not own and not part.is_done() and len(part.inputs) <= room:
            parts.append(part)
            room -= len(part.inputs)
    start = time.perf_counter()
    with torch.inference_mode():
        try:
            logits = network(torch.cat([part.inputs for part in parts]))
        except (RuntimeError, MemoryError):
            if len(parts) == 1:
                raise
            parts = [own]  # the others may be what does not work
            logits = network(own.inputs)
    seconds = (time.perf_counter() - start) / len(logits)
    for part, rows in zip(parts, logits.split([len(part.inputs) for part in parts]), strict=True):
        part.logits, part.seconds = rows, seconds
    return parts[1:]


def _count_bytes(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
