"""What a repair bench is told."""

from dataclasses import asdict, dataclass

from analysis.consistency.protocols import PROTOCOLS
from analysis.errors import UserError
from models.data.shapes import ShapesConfig
from models.devices import DEVICES
from models.networks.repairs import ARMS
from models.settings import build_config, check_choice, check_integer, check_number

BOUNDARIES = PROTOCOLS["exact"].boundaries


@dataclass(frozen=True)
class RepairConfig:
    """Everything that decides the outcome of a repair bench, checked when it is made.

    ``start_from`` is a run ("run/NAME"), "fashion_cnn" or a ResNet of torchvision; each of ``arms`` is a key of
    ``models.networks.repairs.ARMS`` and trained for ``steps`` steps. ``image_size`` and ``shapes`` are those of the
    start model and its training where None. Consistency is measured on ``limit`` test pictures (None: all), each
    under ``shifts`` shifts of up to ``max_shift`` pixels with uncovered pixels filled by the rule ``boundary``.
    """

    start_from: str = "fashion_cnn"
    dataset: str = "fashion_mnist"
    arms: tuple[str, ...] = ("as_is", "circular", "circular_blur", "circular_aps")
    steps: int = 400
    batch_size: int = 128
    learning_rate: float = 0.05
    seed: int = 0
    blur_size: int = 3
    image_size: int | None = None
    shapes: ShapesConfig | None = None
    limit: int | None = 1000
    max_shift: int = 4
    shifts: int = 8
    boundary: str = "circular"
    data_root: str = "data"
    device: str = "auto"

    def __post_init__(self):
        for name in ("start_from", "dataset", "data_root"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise UserError(f"{name} must be a name or a path.")
        if not isinstance(self.arms, list | tuple) or not self.arms:
            raise UserError(f"arms must list at least one of {', '.join(ARMS)}.")
        for arm in self.arms:
            check_choice("arm", arm, ARMS)
        if len(set(self.arms)) < len(self.arms):
            raise UserError("Name no arm twice.")
        object.__setattr__(self, "arms", tuple(self.arms))
        for name, low, high in (
            ("steps", 1, 10**7),
            ("batch_size", 2, 8192),
            ("seed", 0, 2**32 - 1),
            ("blur_size", 2, 5),
            ("max_shift", 1, 512),
            ("shifts", 2, 2048),
        ):
            check_integer(name, getattr(self, name), low, high)
        check_number("learning_rate", self.learning_rate, 1e-8, 100.0)
        check_choice("boundary", self.boundary, BOUNDARIES)
        check_choice("device", self.device, DEVICES)
        for name, low, high in (("image_size", 8, 256), ("limit", 1, 10**9)):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), low, high)
        if self.shapes is not None and not isinstance(self.shapes, ShapesConfig):
            object.__setattr__(self, "shapes", build_config(ShapesConfig, self.shapes))

    def to_dict(self) -> dict:
        """A JSON-ready dictionary."""
        return {**asdict(self), "arms": list(self.arms)}

    @classmethod
    def from_dict(cls, values: object) -> "RepairConfig":
        """The inverse of :meth:`to_dict`, for values from a file.

        Raises:
            UserError: An unknown name or a value out of range.
        """
        return build_config(cls, values)
