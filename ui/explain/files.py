"""The maps on the stage as files: their numbers, and where they are strongest."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from analysis.errors import Progress, UserError
from analysis.figures.overlay import find_regions
from lab.session import Explanation
from lab.spreadsheet import to_csv
from ui.explain.grid import Grid, Key, compute
from ui.explain.view import name_grid
from ui.services import Services

COLUMNS = [
    *("method", "class", "model", "region", "evidence", "left", "top", "width", "height", "area", "mass"),
    *("centre row", "centre column"),
]


def write_maps(services: Services, grid: Grid | None, progress: Progress) -> tuple[Path, str]:
    """A file with the signed maps on the stage, which are computed already, and what it is."""
    grid, found = _look_up(services, grid, progress)
    maps = {
        f"{method}-{each.target.index}-{model}": each.attribution.values.numpy() for (method, _, model), each in found
    }
    shapes = " and ".join(sorted({" x ".join(map(str, values.shape)) for values in maps.values()}))
    if len(maps) == 1:
        path = services.new_file(f"{name_grid(grid)}.npy")
        np.save(path, next(iter(maps.values())), allow_pickle=False)
        return path, f"the signed map, {shapes} (channels, rows, columns), for numpy.load."
    path = services.new_file(f"{name_grid(grid)}.npz")
    np.savez_compressed(path, allow_pickle=False, **maps)
    return path, f"{len(maps)} signed maps, {shapes} (channels, rows, columns), for numpy.load."


def write_regions(services: Services, grid: Grid | None, progress: Progress) -> tuple[Path, str]:
    """A table of the connected parts of each map's strongest tenth, for and against the class; and what it is."""
    grid, found = _look_up(services, grid, progress)
    path = services.new_file(f"{name_grid(grid)}.csv")
    path.write_text(to_csv(COLUMNS, _list_regions(found)), encoding="utf-8")
    about = "what the strongest tenth of each map consists of, largest share first: boxes in pixels of the network's "
    return path, about + "input, area as a share of the picture, mass as a share of the map."


def _list_regions(found: list[tuple[Key, Explanation]]) -> Iterator[tuple]:
    for (method, _, model), each in found:
        for sign, evidence in (("positive", "for"), ("negative", "against")):
            for number, region in enumerate(find_regions(each.attribution.values, sign), 1):
                shares = (round(share, 4) for share in (region.area, region.mass))
                centre = (round(place, 1) for place in (region.row, region.column))
                box = (region.left, region.top, region.width, region.height)
                yield (method, each.target.category, model, number, evidence, *box, *shares, *centre)


def _look_up(services: Services, grid: Grid | None, progress: Progress) -> tuple[Grid, list[tuple[Key, Explanation]]]:
    """The maps of a grid that there are. Raises UserError: there is none."""
    if grid is not None:
        picture = services.lab.open_image(grid.picture)
        cells = compute(services.lab, picture, grid, (), lambda _: progress)
        if found := [(cell.key, cell.found) for cell in cells if cell.found is not None]:
            return grid, found
    raise UserError("There is no map yet.")
