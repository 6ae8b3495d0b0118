"""Methods x classes x models: which maps are compared, and how they are computed one after the other."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import product

from PIL import Image

from analysis.attribution.methods import METHODS
from analysis.errors import Cancelled, Progress, UserError
from lab.session import Explanation, Lab
from models.problems import MAYBE_PROBLEMS
from ui.explain.settings import Settings
from ui.services import Superseded
from ui.widgets.errors import describe_error

AUTO, SECOND, NOTHING = "auto", "second", ""
"""Stand for the predicted class and the second guess, of each model its own, and for no class."""
MAX_MAPS = 12
Key = tuple[str, str, str]
"""Method, class as it was chosen, and model."""
CANCELLED = "Cancelled before it was computed."


@dataclass(frozen=True)
class Grid:
    """What is compared.

    Attributes:
        picture: Its path.
        classes: ``AUTO``, ``SECOND``, or a name with its index.
        removed: Maps that are left out.
        versus: A class that each class is compared with, as in ``classes``; nothing for its score alone.
        settings: Of the methods.
    """

    picture: str
    methods: tuple[str, ...]
    classes: tuple[str, ...]
    models: tuple[str, ...]
    removed: frozenset[Key] = frozenset()
    versus: str = NOTHING
    settings: Settings = field(default_factory=Settings)

    @property
    def keys(self) -> list[Key]:
        """All that is not left out, method by method."""
        return [key for key in product(self.methods, self.classes, self.models) if key not in self.removed]

    def tidy(self) -> "Grid":
        """Without methods and classes of which everything is left out, and with one map at least."""
        keys = self.keys
        if not keys:
            return replace(self, removed=frozenset())
        methods, classes = (tuple(dict.fromkeys(key[axis] for key in keys)) for axis in (0, 1))
        there = set(product(methods, classes, self.models))
        return replace(self, methods=methods, classes=classes, removed=frozenset(self.removed & there))


@dataclass(frozen=True)
class Cell:
    """A map of the grid, or why there is none."""

    key: Key
    found: Explanation | None = None
    problem: str = ""

    @property
    def is_cancelled(self) -> bool:
        """Whether it can still be computed."""
        return self.problem == CANCELLED


def compute(
    lab: Lab, picture: Image.Image, grid: Grid, known: Iterable[Key], report: Callable[[str], Progress]
) -> list[Cell]:
    """The maps of a grid, ``MAX_MAPS`` at most; what is computed when the visitor cancels stays.

    Args:
        known: Computed before: these come first, so that a Cancel cannot take them away.
        report: Words -> a progress callback that moves the bar and may raise ``Cancelled``.
    """
    keys, known = grid.keys[:MAX_MAPS], set(known)
    cells: dict[Key, Cell] = {}
    is_cancelled = False
    for number, key in enumerate(sorted(keys, key=lambda key: key not in known), 1):
        try:
            if is_cancelled:
                raise Cancelled
            place = f", map {number} of {len(keys)}" if len(keys) > 1 else ""
            cells[key] = Cell(key, _explain(lab, picture, grid, key, report, place))
        except Superseded:
            raise
        except Cancelled:
            is_cancelled, cells[key] = True, Cell(key, problem=CANCELLED)
        except MAYBE_PROBLEMS as error:
            message = describe_error(error)
            if message is None:
                raise
            cells[key] = Cell(key, problem=message)
    return [cells[key] for key in keys]


def _explain(
    lab: Lab, picture: Image.Image, grid: Grid, key: Key, report: Callable[[str], Progress], place: str
) -> Explanation:
    method, asked, model = key
    loading = report(f"Opening {model}")
    target = find_target(lab, picture, asked, model, loading)
    settings = grid.settings
    contrast = None
    if grid.versus:
        first, second = (_find_class(lab, picture, each, model, loading) for each in (asked, grid.versus))
        target, contrast = None, (first, second)
    progress = report(f"{METHODS[method].title}{place}")
    progress(0, 1)  # what takes a single step could not be cancelled otherwise
    return lab.explain(
        picture,
        model,
        method,
        target,
        # A layer is one of the model in the sidebar.
        layer=settings.layer or None if METHODS[method].needs_layer and model == grid.models[0] else None,
        contrast=contrast,
        baseline=settings.baseline if METHODS[method].uses_baseline else None,
        options=settings.options.get(method),
        progress=progress,
        loading=loading,
    )


def _find_class(lab: Lab, picture: Image.Image, asked: str, model: str, loading: Progress) -> int:
    """The index of a class in a model, of the predicted one too."""
    target = find_target(lab, picture, asked, model, loading)
    return lab.classify(picture, model, 1, loading).predictions[0].index if target is None else target


def find_target(lab: Lab, picture: Image.Image, asked: str, model: str, loading: Progress) -> int | None:
    """The index of a class in a model, None for the predicted one.

    Raises:
        UserError: The model has no such class.
    """
    if asked == AUTO:
        return None
    if asked == SECOND:
        best = lab.classify(picture, model, 2, loading).predictions
        if len(best) < 2:
            raise UserError(f"{model} has a single class.")
        return best[1].index
    name, index = read_class(asked)
    categories = lab.registry.get(model).categories
    if index < len(categories) and categories[index] == name:
        return index
    if name in categories:
        return categories.index(name)
    raise UserError(f"{model} has no class called {name}.")


def read_class(label: str) -> tuple[str, int]:
    """Name and index of "tiger cat (282)"; the name keeps another model's class 282 from being taken.

    Raises:
        ValueError: It is none.
    """
    name, _, index = label.rpartition(" (")
    if not re.fullmatch(r"[0-9]{1,6}\)", index):
        raise ValueError(label)
    return name, int(index[:-1])


def read_classes(text: str) -> list[str]:
    """The classes of a link, such as "auto,tiger cat (282)"; names may have commas in them."""
    found = re.findall(rf"({AUTO}|{SECOND}|.+?\(\d{{1,6}}\))(?:,|$)", text)
    if not found or ",".join(found) != text:
        raise ValueError(text)
    return list(dict.fromkeys(found))


def read_versus(text: str) -> str:
    """The class of a link that others are compared with."""
    return text if text == SECOND else "{} ({})".format(*read_class(text))


def read_methods(text: str) -> str:
    """The methods of a link or of the list, such as "grad_cam,occlusion"; each once."""
    names = text.split(",")
    if not set(names) <= METHODS.keys():
        raise ValueError(text)
    return ",".join(dict.fromkeys(names))


def write_removed(keys: Iterable[Key]) -> str:
    """As :func:`read_removed` reads it."""
    return json.dumps(sorted(keys))


def read_removed(text: str) -> frozenset[Key]:
    """The maps that are left out, as the browser sends them.

    Raises:
        UserError: It is not what the page has sent.
    """
    try:
        found = json.loads(text or "[]")
        if all(isinstance(name, str) for method, asked, model in found for name in (method, asked, model)):
            return frozenset((method, asked, model) for method, asked, model in found)
    except (TypeError, ValueError, RecursionError):
        pass
    raise UserError("Which maps are left out cannot be read; open the page anew.")
