"""What an evaluation over a data set is told."""

from dataclasses import field
from typing import Annotated, Self

from pydantic import PlainValidator

from analysis.consistency.protocols import PROTOCOLS
from analysis.errors import UserError
from analysis.shift.move import BOUNDARIES
from models.data.shapes import ShapesConfig
from models.devices import DEVICES
from models.settings import Choice, Flag, Integer, Nested, Number, Stored, Text, checked_dataclass


def _read_models(models: object) -> tuple[str, ...]:
    if not isinstance(models, list | tuple) or not all(isinstance(name, str) for name in models):
        raise UserError("models must be a list of names.")
    if not models or len(set(models)) < len(models):
        raise UserError("Name at least one model, and none twice.")
    return tuple(models)


@checked_dataclass
class EvaluationConfig(Stored):
    """Everything that decides the outcome of an evaluation, checked when it is made.

    ``data`` is ``fashion_mnist``, ``cifar10``, ``shapes`` or the path of a folder or zip; ``boundary``,
    ``max_shift`` and ``scale`` are the protocol's own where None; ``shifts`` counts those drawn per image;
    ``limit`` keeps only so many images, chosen by the seed and their names; ``twin`` evaluates the circular
    twins; ``split_seed`` is the seed of a training whose test pictures are wanted; ``threads`` None means all
    cores, in every process; ``checks`` adds identities and layer errors on a few of the pictures.
    """

    models: Annotated[tuple[str, ...], PlainValidator(_read_models)]
    data: Annotated[str, Text("a name or the path of a folder or zip", min_length=1)] = "fashion_mnist"
    protocol: Annotated[str, Choice(PROTOCOLS)] = "exact"
    boundary: Annotated[str | None, Choice(BOUNDARIES)] = None
    max_shift: Annotated[int | None, Integer(1, 512, help="Pixels; the protocol's own if not given.")] = None
    shifts: Annotated[int, Integer(2, 2048, help="Exact: shifts drawn per picture.")] = 8
    per_image: Annotated[bool, Flag(help="Zhang, aps: draw for each picture, not per batch.")] = False
    scale: Annotated[float | None, Number(0.01, 10.0, help="Aw: size of the picture as the source defines it.")] = (
        None
    )
    limit: Annotated[int | None, Integer(1, 10**9, help="Use only so many pictures.")] = None
    seed: Annotated[int, Integer(0, 2**32 - 1, help="")] = 0
    twin: Annotated[bool, Flag(help="Let every padded layer wrap around.")] = False
    batch_size: Annotated[int, Integer(1, 8192, help="Windows in one forward pass.")] = 64
    device: Annotated[str, Choice(DEVICES)] = "auto"
    threads: Annotated[int | None, Integer(1, 1024, help="CPU threads of each process; all cores if not given.")] = (
        None
    )
    data_root: Annotated[str, Text("the path of a folder")] = "data"
    shapes: Annotated[ShapesConfig, Nested(ShapesConfig)] = field(default_factory=ShapesConfig)
    split_seed: Annotated[int, Integer(0, 2**32 - 1, help="Shapes: the seed of the training.")] = 0
    checks: Annotated[bool, Flag()] = False

    def __post_init__(self):
        allowed = PROTOCOLS[self.protocol].boundaries
        if self.boundary is None:
            object.__setattr__(self, "boundary", allowed[0])
        if self.boundary not in allowed:
            raise UserError(
                f"The protocol {self.protocol} works with boundary {' or '.join(allowed)}, not {self.boundary}."
            )

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """See :meth:`models.settings.Stored.from_dict`."""
        if isinstance(values, dict) and "models" not in values:
            raise UserError("models must be a list of names.")
        return super().from_dict(values)
