"""Pictures to start with, from files that come with the installed packages and this repository."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from analysis.errors import UserError, explained
from models.data.decoding.formats import PICTURES, read_format
from models.data.images import SUFFIXES

_ASSETS = Path(__file__).parents[2] / "assets"
_FOLDERS = ("garments", "shapes")
"""Pictures named <number>-<name>.png: test pictures of Fashion-MNIST, and drawn shapes."""

# Those of scikit-image's photographs that hold one main object.
_PHOTOGRAPHS = {
    "chelsea": ("Cat", "chelsea.png"),
    "coffee": ("Espresso", "coffee.png"),
    "motorcycle": ("Motorcycle", "motorcycle_left.png"),
    "rocket": ("Rocket", "rocket.jpg"),
    "astronaut": ("Astronaut", "astronaut.png"),
    "camera": ("Photographer", "camera.png"),
    "coins": ("Coins", "coins.png"),
    "horse": ("Horse (drawing)", "horse.png"),
}

_KINDS = {"ImageNet-1k": "photographs", "Fashion-MNIST": "garments", "fashion_mnist": "garments", "shapes": "shapes"}
"""What a model was trained on -> the samples that fit."""


@dataclass(frozen=True)
class Sample:
    """A picture by name; ``kind`` is photographs, garments or shapes."""

    name: str
    title: str
    path: Path
    kind: str = "photographs"


@cache
def list_samples() -> dict[str, Sample]:
    """Photographs of scikit-image first, then one garment and one shape of each class, by name."""
    found_spec = find_spec("skimage")  # without importing it
    photographs = Path(found_spec.origin if found_spec and found_spec.origin else "skimage").parent / "data"
    found = [Sample(name, title, photographs / file) for name, (title, file) in _PHOTOGRAPHS.items()]
    for folder in _FOLDERS:
        for path in sorted((_ASSETS / folder).glob("*.png")):
            name = path.stem.split("-", 1)[1]
            found.append(Sample(name, name.replace("_", " ").capitalize(), path, folder))
    return {sample.name: sample for sample in found if sample.path.is_file()}


def find_pictures(names: Sequence[str]) -> list[str]:
    """Picture files and names of samples as they are given; in the place of a folder, the pictures in it, by name.

    What a file in a folder holds decides whether it is a picture; one that is named like a picture counts, too, so
    that somebody hears what is wrong with it.

    Raises:
        UserError: A folder without pictures, or one that cannot be read.
    """
    found = []
    for name in names:
        found += _list_pictures(Path(name)) if Path(name).is_dir() else [name]
    return found


def _list_pictures(folder: Path) -> list[str]:
    with explained(f"The folder {folder.name} cannot be read"):
        files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    pictures = [str(path) for path in files if path.suffix.lower() in SUFFIXES or read_format(path) in PICTURES]
    if not pictures:
        raise UserError(f"There is no picture in the folder {folder.name}; name one that has some directly in it.")
    return pictures


def find_fitting(trained_on: str) -> list[Sample]:
    """The samples of the kind that a model was trained on, by what its spec says; none where no sample is."""
    kind = _KINDS.get(trained_on)
    return [sample for sample in list_samples().values() if sample.kind == kind]


def get_sample(name: str) -> Sample:
    """The sample called ``name``. Raises UserError: no such sample; lists the names."""
    try:
        return list_samples()[name]
    except KeyError:
        raise UserError(f"There is no sample called {name}; there are {', '.join(list_samples())}.") from None
