"""Pictures to start with, from files that come with the installed packages and this repository."""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from models.errors import ModelsError

_ASSETS = Path(__file__).parent.parent / "assets"
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
    photographs = Path(find_spec("skimage").origin).parent / "data"
    found = [Sample(name, title, photographs / file) for name, (title, file) in _PHOTOGRAPHS.items()]
    for folder in _FOLDERS:
        for path in sorted((_ASSETS / folder).glob("*.png")):
            name = path.stem.split("-", 1)[1]
            found.append(Sample(name, name.replace("_", " ").capitalize(), path, folder))
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
