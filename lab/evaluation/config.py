"""What an evaluation over a data set is told."""

from dataclasses import asdict, dataclass, field

from analysis.consistency.protocols import PROTOCOLS
from analysis.errors import UserError
from analysis.shift.move import BOUNDARIES
from models.data.shapes import ShapesConfig
from models.devices import DEVICES
from models.settings import build_config, check_choice, check_flag, check_integer, check_number


@dataclass(frozen=True)
class EvaluationConfig:
    """Everything that decides the outcome of an evaluation, checked when it is made.

    ``data`` is ``fashion_mnist``, ``cifar10``, ``shapes`` or the path of a folder or zip; ``boundary``,
    ``max_shift`` and ``scale`` are the protocol's own where None; ``shifts`` counts those drawn per image;
    ``limit`` keeps only so many images, chosen by the seed and their names; ``twin`` evaluates the circular
    twins; ``split_seed`` is the seed of a training whose test pictures are wanted; ``threads`` None means all
    cores, in every process; ``checks`` adds identities and layer errors on a few of the pictures.
    """

    models: tuple[str, ...]
    data: str = "fashion_mnist"
    protocol: str = "exact"
    boundary: str | None = None
    max_shift: int | None = None
    shifts: int = 8
    per_image: bool = False
    scale: float | None = None
    limit: int | None = None
    seed: int = 0
    twin: bool = False
    batch_size: int = 64
    device: str = "auto"
    threads: int | None = None
    data_root: str = "data"
    shapes: ShapesConfig = field(default_factory=ShapesConfig)
    split_seed: int = 0
    checks: bool = False

    def __post_init__(self):
        if not isinstance(self.models, list | tuple) or not all(isinstance(name, str) for name in self.models):
            raise UserError("models must be a list of names.")
        object.__setattr__(self, "models", tuple(self.models))
        if not self.models or len(set(self.models)) < len(self.models):
            raise UserError("Name at least one model, and none twice.")
        if not isinstance(self.data, str) or not self.data:
            raise UserError("data must be a name or the path of a folder or zip.")
        check_choice("protocol", self.protocol, PROTOCOLS)
        allowed = PROTOCOLS[self.protocol].boundaries
        if self.boundary is None:
            object.__setattr__(self, "boundary", allowed[0])
        check_choice("boundary", self.boundary, BOUNDARIES)
        if self.boundary not in allowed:
            raise UserError(
                f"The protocol {self.protocol} works with boundary {' or '.join(allowed)}, not {self.boundary}."
            )
        check_integer("shifts", self.shifts, 2, 2048)
        check_flag("per_image", self.per_image)
        check_integer("seed", self.seed, 0, 2**32 - 1)
        check_flag("twin", self.twin)
        check_flag("checks", self.checks)
        check_integer("batch_size", self.batch_size, 1, 8192)
        check_choice("device", self.device, DEVICES)
        if not isinstance(self.data_root, str):
            raise UserError("data_root must be the path of a folder.")
        check_integer("split_seed", self.split_seed, 0, 2**32 - 1)
        for name, low, high in (("max_shift", 1, 512), ("limit", 1, 10**9), ("threads", 1, 1024)):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), low, high)
        if self.scale is not None:
            check_number("scale", self.scale, 0.01, 10.0)
        if not isinstance(self.shapes, ShapesConfig):
            object.__setattr__(self, "shapes", build_config(ShapesConfig, self.shapes))

    def to_dict(self) -> dict:
        """A JSON-ready dictionary."""
        return {**asdict(self), "models": list(self.models)}

    @classmethod
    def from_dict(cls, values: object) -> "EvaluationConfig":
        """The inverse of :meth:`to_dict`, for values from a file.

        Raises:
            UserError: An unknown name or a value out of range.
        """
        if isinstance(values, dict) and "models" not in values:
            raise UserError("models must be a list of names.")
        return build_config(cls, values)
