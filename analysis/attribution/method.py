"""What there is to know of a method before it runs: what it shows, needs, lets one choose, and costs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from analysis.attribution.question import Evidence
from analysis.errors import UserError

GROUPS = {
    "gradient": "Gradients of the score",
    "path": "Gradients on the way from a neutral picture",
    "rule": "Rules of their own on the way back",
    "perturbation": "What happens when parts are hidden",
    "layer": "Feature maps of a layer",
}
"""Group of methods -> what its methods look at, in the order of a picker."""


@dataclass(frozen=True)
class Parameter:
    """A number that a method lets one choose.

    Attributes:
        explanation: in plain words, what a larger or smaller one does.
        default: None where the method takes what suits the picture; then ``explanation`` says what that is.
    """

    name: str
    title: str
    explanation: str
    low: float
    high: float
    default: float | None
    is_whole: bool = True

    def check(self, value: object) -> float:
        """The number that was chosen.

        Raises:
            UserError: It is none, or outside the range.
        """
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        if self.low <= number <= self.high and (number.is_integer() or not self.is_whole):
            return int(number) if self.is_whole else number
        kind = "a whole number" if self.is_whole else "a number"
        raise UserError(f"{self.title} must be {kind} from {self.low:g} to {self.high:g}, not {value}.")

    def read(self, text: str) -> float:
        """The number that was typed. Raises UserError like :meth:`check`."""
        try:
            return self.check(float(text))
        except ValueError:
            return self.check(text)


@dataclass(frozen=True)
class Cost:
    """About how many pictures go through the network forwards, and back.

    The least, where a method goes on until it adds up. Methods with segments get about as many as they ask for.
    """

    forwards: int
    backwards: int = 0


@dataclass(frozen=True)
class Completeness:
    """What a method claims of the sum of its values.

    Attributes:
        claim: what adds up to what.
        when_open: what to say beside a gap that is not closed.
    """

    claim: str = "The map adds up to the difference in score"
    when_open: str = ""


Options = Mapping[str, Any]
"""Of a method, by the names of its parameters."""


@dataclass(frozen=True)
class Method:
    """One attribution method.

    Attributes:
        explanation: three plain sentences on what the map shows.
        formula: LaTeX; ``f`` is the logit of the explained class.
        run: finds the evidence; its keyword arguments are its parameters.
        group: key in ``GROUPS``.
        cost: of ``(options, size of the input)``; the options are complete.
        needs_layer: whether it looks at a feature map (Grad-CAM).
        looks_earlier: whether, if none is chosen, it looks at the last map that is larger than that of Grad-CAM.
        needs_relu: whether it replaces the backward pass of ReLU.
        needs_rules: key in ``analysis.attribution.rewriting.RULES``, of what needs a rule for every operation of the
            network; else empty.
        uses_baseline: whether it compares with a picture without evidence.
        completeness: what is claimed of its sum, None if nothing is.
        find_obstacle: what else stands in its way, of ``(module, inputs)``: one sentence, None for nothing.
    """

    name: str
    title: str
    explanation: str
    formula: str
    citation: str
    run: Callable[..., Evidence]
    group: str = "layer"
    parameters: tuple[Parameter, ...] = ()
    cost: Callable[[Options, tuple[int, int]], Cost] = lambda options, size: Cost(1, 1)
    needs_layer: bool = False
    looks_earlier: bool = False
    needs_relu: bool = False
    needs_rules: str = ""
    uses_baseline: bool = False
    completeness: Completeness | None = None
    find_obstacle: Callable[[nn.Module, Tensor], str | None] = lambda module, inputs: None

    def check_options(self, options: Options) -> dict[str, float]:
        """All options by name, those that are not given with their defaults.

        Raises:
            UserError: There is no such parameter, or a value does not fit.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in options:
            if name not in known:
                offered = f"it has {', '.join(known)}" if known else "it has none"
                raise UserError(f"{self.title} has no parameter called {name}; {offered}.")
        chosen = {name: parameter.default for name, parameter in known.items()}
        chosen |= {name: known[name].check(value) for name, value in options.items() if value is not None}
        return {name: value for name, value in chosen.items() if value is not None}

    def measure_cost(self, size: tuple[int, int], options: Options | None = None) -> Cost:
        """What it costs with these options for a picture of this size, height and width.

        Raises:
            UserError: The options do not fit the method.
        """
        return self.cost(self.check_options(options or {}), size)


N_SAMPLES = Parameter(
    "n_samples", "The number of samples", "More samples give a calmer map and take longer.", 1, 4096, 32
)
NOISE_LEVEL = Parameter(
    "noise_level",
    "The noise",
    "Standard deviation of the noise, as a share of the range of the picture's values; more blurs the map.",
    0,
    2,
    0.15,
    is_whole=False,
)
