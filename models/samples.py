"""Pictures to start with, from files that come with the installed packages and this repository."""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from models.errors import ModelsError

_GARMENTS = Path(__file__).parent.parent / "assets" / "garments"

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


@dataclass(frozen=True)
class Sample:
    """A picture by name."""

    name: str
    title: str
    path: Path


@cache
def list_samples() -> dict[str, Sample]:
    """Photographs of scikit-image first, then one garment of each Fashion-MNIST class, by name."""
    photographs = Path(find_spec("skimage").origin).parent / "data"
    found = [Sample(name, title, photographs / file) for name, (title, file) in _PHOTOGRAPHS.items()]
    for path in sorted(_GARMENTS.glob("*.png")):
        title = path.stem.split("-", 1)[1].replace("_", " ").capitalize()
        found.append(Sample(path.stem.split("-", 1)[1], title, path))
    return {sample.name: sample for sample in found if sample.path.is_file()}


def get_sample(name: str) -> Sample:
    """The sample called ``name``.

    Raises:
        ModelsError: No such sample; lists the names.
    """
    try:
        return list_samples()[name]
    except KeyError:
        raise ModelsError(f"There is no sample called {name}; there are {', '.join(list_samples())}.") from None
