"""Pooling under one's hands: what each way makes of the picture, and of the picture one pixel further on."""

import json

from analysis.convolution.pooling import POOLINGS
from ui.learn.bench import Bench, browser_bench
from ui.learn.link import build_link, read_controls
from ui.learn.pictures import write_pictures
from ui.services import Action, Services
from ui.widgets.events import Values
from ui.widgets.html import explain_this
from ui.workbench import Workbench

GRID = [[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]
EXPLANATION = """
Pooling makes a map smaller, channel by channel. *Changed by* is
$\\|p(T x) - p(x)\\| / \\|p(x)\\|$, where $T$ moves the input to the right and what leaves it comes in at the left. No
pooling can move its map by half a cell, so something always changes; what BlurPool keeps is what the smaller map can
hold (Zhang 2019). By whole strides the map moves along. *Its mean* is what global average pooling behind it
would see. A way to pool is *linear* if pooling $a + b$ gives the sum of pooled $a$ and pooled $b$.
"""


def build_pooling(services: Services, bench: Workbench) -> Bench:
    """Lays it out; all is computed in the browser."""
    stage = browser_bench("pooling", parts=("cells.js", "link.js"))
    explain_this(EXPLANATION)
    link = build_link("pool", stage)

    def show(values: Values, action: Action) -> Values:
        """The picture as numbers."""
        told = {"pictures": write_pictures(services, bench, values, action), "link": values[link]}
        return {stage: json.dumps(_TABLES | told)}

    return Bench(show, [link], [stage], linked={"pool": (link, read_controls)})


_TABLES = {
    "poolings": [
        {"name": name, "title": each.title, "about": each.about, "code": each.code, "is_linear": each.is_linear}
        for name, each in POOLINGS.items()
    ],
    "grid": GRID,
}
