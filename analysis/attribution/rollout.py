"""Attention rollout, each head weighted by the gradient of the class, for transformers with a class token."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from analysis.attribution.method import Method
from analysis.attribution.placement import enlarge, find_centres
from analysis.attribution.question import Evidence, Question
from analysis.errors import UserError
from analysis.network.hooks import find_tensor, trace_calls
from analysis.network.windows import find_size

Note = Callable[[Tensor], object]


def attention_rollout(question: Question) -> Evidence:
    """``R <- R + mean_h(max(grad A * A, 0)) R`` from block to block, from ``R = 1`` on (Chefer et al. 2021).

    Equations 5 and 6 of "Generic Attention-model Explainability". The map is the row of the class token, without its
    own column. It has no sign: what speaks against the class is left out in every head. One forward and one backward
    pass, with attention computed step by step instead of by a fused kernel: the logits are the same but for rounding.
    """
    question.progress(0, 1)
    seen = _look(question.module, question.inputs)
    if (obstacle := seen.obstacle) is not None:
        raise UserError(obstacle)
    gradients = torch.autograd.grad(seen.logits[0, question.target], seen.attentions)
    relevance = torch.eye(seen.num_tokens, dtype=seen.logits.dtype, device=seen.logits.device)
    for attention, gradient in zip(seen.attentions, gradients, strict=True):
        relevance = relevance + (attention.detach() * gradient).clamp(min=0).flatten(0, -3).mean(0) @ relevance
    rows, columns = seen.grid
    cells = relevance[0, -rows * columns :].reshape(1, 1, rows, columns)
    centres = find_centres(question.module, question.inputs, seen.patches)
    values = enlarge(cells, find_size(question.inputs), centres)
    question.progress(1, 1)
    return Evidence(values, placement="even" if centres is None else "centres")


def find_obstacle(module: nn.Module, inputs: Tensor) -> str | None:
    """Why attention rollout cannot explain this model, in one sentence; None if it can.

    Args:
        module: a classifier in eval mode; runs once where it has attention.
        inputs: one normalised image ``(1, C, H, W)``.
    """
    if not any(_find_source(part) for part in module.modules()):
        return NO_ATTENTION
    with torch.no_grad():
        return _look(module, inputs.detach()).obstacle


NO_ATTENTION = (
    "Attention rollout needs a transformer whose blocks let a class token look at all patches (torchvision's and "
    "timm's VisionTransformer), and this model has none: it is convolutional, or its attention stays within windows."
)


@dataclass
class _Seen:
    """One forward pass.

    Attributes:
        attentions: of every block ``(heads, N, N)`` or ``(1, heads, N, N)``: by rows, what a token takes.
        maps: name of a module -> the rows and columns of its ``(1, D, h, w)``, until there are tokens ``(1, N, D)``.
        pools: whether the logits come from all patches and not from the class token, as far as the model says.
    """

    pools: bool

    attentions: list[Tensor] = field(default_factory=list)
    maps: dict[str, tuple[int, int]] = field(default_factory=dict)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def num_tokens(self) -> int:
        return self.attentions[0].shape[-1]

    @property
    def patches(self) -> str:
        """The module that gave the map whose cells became tokens."""
        return next(reversed(self.maps))

    @property
    def grid(self) -> tuple[int, int]:
        return self.maps[self.patches]

    @property
    def obstacle(self) -> str | None:
        if not self.attentions or not self.maps:
            return NO_ATTENTION
        if any(attention.shape[-2:] != 2 * (self.num_tokens,) for attention in self.attentions):
            return "Attention rollout follows one sequence of tokens, and in this model its length changes."
        if self.pools or self.num_tokens <= self.grid[0] * self.grid[1]:
            return "Attention rollout shows what a class token looks at, and this model pools its patches instead."
        return None


def _look(module: nn.Module, inputs: Tensor) -> _Seen:
    seen = _Seen(pools=getattr(module, "global_pool", "token") not in ("token", ""))  # timm's name for it
    has_tokens = False

    def note_map(name: str, output: object) -> None:
        nonlocal has_tokens
        tensor = find_tensor(output)
        has_tokens = has_tokens or (tensor is not None and tensor.ndim == 3)
        if not has_tokens and name and tensor is not None and tensor.ndim == 4:
            seen.maps.pop(name, None)
            seen.maps[name] = (tensor.shape[-2], tensor.shape[-1])

    with _attending(module, seen.attentions.append), trace_calls(module.named_modules(), end=note_map):
        seen.logits = module(inputs)
    return seen


@contextmanager
def _attending(module: nn.Module, note: Note) -> Iterator[None]:
    """Calls ``note(weights)`` with the attention of every call of a known module inside."""
    with ExitStack() as hooks:
        for part in module.modules():
            if (watch := _find_source(part)) is not None:
                watch(part, note, hooks)
        yield


def _find_source(part: nn.Module) -> Callable[[nn.Module, Note, ExitStack], None] | None:
    kind = type(part)  # exact: a subclass may compute something else
    return SOURCES.get(f"{kind.__module__}.{kind.__qualname__}")


def _watch_torch(part: nn.Module, note: Note, hooks: ExitStack) -> None:
    """``nn.MultiheadAttention`` gives its weights to whoever asks for them."""

    def ask(_module: nn.Module, inputs: tuple, options: dict) -> tuple[tuple, dict]:
        return inputs, options | {"need_weights": True, "average_attn_weights": False}

    def keep(_module: nn.Module, _inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        weights = output[1]
        # A view for whoever asked: the gradient is that of the tensor behind it, (N * heads, L, S), which was used.
        note(weights if weights._base is None else weights._base)

    hooks.enter_context(part.register_forward_pre_hook(ask, with_kwargs=True))
    hooks.enter_context(part.register_forward_hook(keep))


def _watch_timm(part: nn.Module, note: Note, hooks: ExitStack) -> None:
    """timm's ``Attention`` hands its weights to a dropout layer, unless a fused kernel does it all."""
    fused = part.fused_attn
    hooks.callback(setattr, part, "fused_attn", fused)
    part.fused_attn = False  # type: ignore[assignment]
    dropout: nn.Module = part.attn_drop  # type: ignore[assignment]

    def keep(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        note(output)

    hooks.enter_context(dropout.register_forward_hook(keep))


SOURCES: Mapping[str, Callable[[nn.Module, Note, ExitStack], None]] = {
    "torch.nn.modules.activation.MultiheadAttention": _watch_torch,
    "timm.layers.attention.Attention": _watch_timm,
}
"""Kind of attention -> how its weights are obtained."""


METHODS = (
    Method(
        name="attention_rollout",
        title="Attention rollout, weighted by gradients",
        explanation="Follows, from block to block of a transformer, which patches the class token takes from. "
        "A head counts where more of its attention would raise the score. "
        "Nothing speaks against the class here, and what happens between attentions is left out.",
        formula=r"R \leftarrow R + \tfrac{1}{H} \sum_h \max(A_h \cdot \partial f / \partial A_h, 0) \, R",
        citation="Chefer et al., Generic Attention-model Explainability, 2021, arXiv:2103.15679",
        run=attention_rollout,
        find_obstacle=find_obstacle,
    ),
)
