"""What can be chosen of a network: each option says what it is called and what it may be, and checks its values.

A page builds its controls, and the command line reads its text, from :func:`list_options`.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Annotated, ClassVar

from analysis.errors import UserError
from models.settings import Integer, Setting, checked_dataclass, list_settings

FROM_DATA = ("num_classes", "in_channels", "image_size")
"""What the data set decides, not the user."""

NumClasses = Annotated[int, Integer(2, 10_000, title="Classes")]
InChannels = Annotated[int, Integer(1, 16, title="Input channels")]
ImageSize = Annotated[int, Integer(1, 1024, title="Side of the picture in pixels")]


@checked_dataclass
class ArchitectureConfig(ABC):
    """What every configuration of a network has: the data it is for, and a size known before there is a network.

    Raises:
        UserError: A value is not possible, the parts do not fit each other, or there are too many weights.
    """

    title: ClassVar[str]
    max_parameters: ClassVar[int] = 200_000_000

    num_classes: NumClasses = 10
    in_channels: InChannels = 3
    image_size: ImageSize = 32

    def __post_init__(self):
        self.check_shapes()
        if self.num_parameters > self.max_parameters:
            raise UserError(
                f"This network would have {self.num_parameters / 1e6:.0f} million weights; "
                f"at most {self.max_parameters // 10**6} million are possible here."
            )

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Trainable numbers of the whole network."""

    @property
    def chosen(self) -> dict:
        """The options without those that the data decide; as a table of :class:`TrainingConfig` takes them."""
        return {name: value for name, value in asdict(self).items() if name not in FROM_DATA}

    def check_shapes(self) -> None:  # noqa: B027  (a network that takes every size has nothing to refuse)
        """Raises UserError where values that are possible by themselves do not fit each other."""


def list_options(config_class: type[ArchitectureConfig]) -> dict[str, Setting]:
    """Name -> option, in the order in which they are shown, without what the data decide."""
    return {name: option for name, option in list_settings(config_class).items() if name not in FROM_DATA}
