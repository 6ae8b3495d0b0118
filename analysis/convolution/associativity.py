"""Two kernels one after the other, or first joined into one: the same only for true convolution."""

from dataclasses import dataclass

from torch import Tensor

from analysis.convolution.convolve import Convolution, convolve


@dataclass(frozen=True, eq=False)
class Associativity:
    """Both orders of two kernels over one input, every place at which they overlap taken along.

    Attributes:
        one_by_one: ``(input * first) * second``.
        joined: ``input * (first * second)``, of the same shape.
    """

    one_by_one: Tensor
    joined: Tensor

    @property
    def difference(self) -> float:
        """The largest, of a cell: 0 where the order of the brackets does not matter."""
        return (self.one_by_one - self.joined).abs().max().item()


def compare_orders(values: Tensor, first: Tensor, second: Tensor, *, flip: bool) -> Associativity:
    """Applies two kernels in both orders of the brackets.

    Args:
        values: ``(*sizes)``, one channel; the kernels have as many axes.
        flip: Whether with true convolution; else with cross-correlation, where the second order gives
            ``input * first * flipped second`` instead.
    """

    def apply(inputs: Tensor, kernel: Tensor) -> Tensor:
        room = tuple(side - 1 for side in kernel.shape)
        return convolve(Convolution(kernel[None, None], padding=room, flip=flip), inputs).output

    return Associativity(apply(apply(values, first), second), apply(values, apply(first, second)))
