"""The sidebar's picture as numbers, few enough to be looked at one by one."""

import base64

from PIL import Image, ImageOps

from ui.services import Action, Services
from ui.widgets.events import Values
from ui.widgets.html import open_picture
from ui.workbench import Workbench

SIDES = (16, 32, 64)


def write_pictures(services: Services, bench: Workbench, values: Values, action: Action) -> dict[int, str]:
    """Side -> the middle square of the picture with so many cells a side: its bytes in base 64, RGB, row by row.

    One that is smaller than the largest of ``SIDES`` comes as it is, too. Nothing where there is no picture.
    """
    path = bench.find_picture(values)
    if path is None:
        return {}
    image = open_picture(services, path, action).convert("RGB")
    own = min(image.size)
    sides = sorted({*SIDES, own}) if own < SIDES[-1] else SIDES
    squares = {side: ImageOps.fit(image, (side, side), Image.Resampling.BOX) for side in sides}
    return {side: base64.b64encode(square.tobytes()).decode() for side, square in squares.items()}
