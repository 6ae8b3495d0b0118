"""A trust table over many pictures, as a run: ``JOB``. A stopped one goes on from the pictures it has measured."""

import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.errors import Cancelled
from analysis.trust.table import METRICS
from lab.documents import read_measurements
from lab.session import Lab
from lab.trust.config import TrustConfig
from lab.trust.picture import measure_table
from models.cache import LoadedModel
from models.data.decoding.formats import ImageError
from models.data.labelled import EvaluationData, open_evaluation_data
from models.devices import resolve_device
from models.runs.files import append_line
from models.runs.job import Job, Listener
from models.runs.queue import device_turn
from models.runs.stop import StopRequest
from models.runs.writer import RunWriter

KEY = ("picture", "version")
AVERAGED = (*METRICS, "best_shift_agrees", "sanity_ssim", "sanity_passes")
"""Numbers of a row that have a mean; of what holds or does not, that is how often it holds."""
CONFIDENCE = 0.95
REPLICATES = 2000


def summarize_rows(measured: Sequence[dict], methods: Sequence[str], seed: int) -> list[dict]:
    """Means over pictures with 95 % intervals, by Efron's percentile bootstrap over pictures.

    Args:
        measured: What was found of each picture: ``rows`` as :class:`lab.trust.picture.TrustTable` has them.

    Returns:
        For each method ``{method, pictures, reason, NAME: {value, low, high}}``: ``pictures`` are those with a map,
        ``reason`` why there are none; without numbers ``value`` is None, and with one number there is no interval.
    """
    found = []
    for method in methods:
        rows = [row for picture in measured for row in picture["rows"] if row["method"] == method]
        works = [row for row in rows if row["reason"] is None]
        reason = rows[0]["reason"] if rows and not works else None
        numbers = {name: _estimate([row.get(name) for row in works], seed) for name in AVERAGED}
        found.append({"method": method, "pictures": len(works), "reason": reason, **numbers})
    return found


def average_agreement(measured: Sequence[dict], methods: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """The mean rank correlation of every two methods over the pictures."""

    def mean(one: str, other: str) -> float | None:
        found = [picture["agreement"].get(one, {}).get(other) for picture in measured]
        known = [number for number in found if number is not None]
        return sum(known) / len(known) if known else None

    return {one: {other: mean(one, other) for other in methods} for one in methods}


def _estimate(numbers: Sequence[float | bool | None], seed: int) -> dict[str, float | None]:
    from scipy.stats import bootstrap

    known = np.array([float(number) for number in numbers if number is not None])
    value = float(known.mean()) if len(known) else None
    low = high = value if len(known) > 1 else None
    if len(known) > 1 and known.min() < known.max():
        rng = np.random.default_rng([seed, len(known)])
        drawn = bootstrap(
            (known,), np.mean, n_resamples=REPLICATES, confidence_level=CONFIDENCE, method="percentile", rng=rng
        )
        low, high = (float(end) for end in drawn.confidence_interval)
    return {"value": value, "low": low, "high": high}


def _choose(data: EvaluationData, config: TrustConfig) -> list[int]:
    """Pictures that take part, in the order of the data: a smaller limit keeps some of those of a larger."""

    def digest(row: int) -> bytes:
        return hashlib.sha256(f"trust/{config.seed}/{data.image_ids[row]}".encode()).digest()

    return sorted(sorted(range(len(data)), key=digest)[: config.limit])


def _measure_picture(
    loaded: LoadedModel,
    obstacles: dict[str, str],
    data: EvaluationData,
    row: int,
    config: TrustConfig,
    stop: StopRequest,
) -> dict:
    """A line of measurements.jsonl."""
    line = {"picture": data.image_ids[row], "version": loaded.spec.version}
    try:
        canvas = loaded.spec.preprocessing.to_canvas(data.picture(row))
    except ImageError as error:
        return line | {"problem": str(error), "rows": [], "agreement": {}, "seconds": 0.0}
    table = measure_table(loaded, obstacles, canvas, config.methods, None, config.settings, lambda *_: stop.check())
    # Curves and single shifts are for one picture: over many they would be most of the file.
    rows = [{key: row.get(key) for key in ("method", "reason", *AVERAGED)} for row in table.rows]
    found = {"rows": rows, "agreement": table.agreement, "seconds": table.seconds}
    return line | {"target": table.target.category} | found


def _measure_in_turn(config: TrustConfig, writer: RunWriter, stop: StopRequest, listen: Listener) -> dict:
    """``listen(done, total, seconds)`` is told of every picture, with the seconds that are left."""
    device = resolve_device(config.device).type
    writer.update(device=device)
    with device_turn(writer.run_dir, device, stop) as my_turn:
        if not my_turn:
            raise Cancelled
        writer.update(state="preparing")
        lab = Lab(device=config.device, data_root=Path(config.data_root), runs_root=writer.run_dir.parent)
        with (
            open_evaluation_data(config.data, data_root=config.data_root) as data,
            lab.use(config.model) as (loaded, facts),
        ):
            obstacles, rows = facts.find_obstacles(loaded), _choose(data, config)
            kept = {
                line["picture"]: line
                for line in read_measurements(writer.run_dir, "trust", KEY)
                if line["version"] == loaded.spec.version
            }
            begun, new = time.monotonic(), 0
            for number, row in enumerate(rows):
                stop.check()
                if data.image_ids[row] not in kept:
                    line = _measure_picture(loaded, obstacles, data, row, config, stop)
                    append_line(writer.run_dir / "measurements.jsonl", line)
                    kept[line["picture"]], new = line, new + 1
                left = (time.monotonic() - begun) / new * (len(rows) - number - 1) if new else None
                writer.update(state="running", message="", step=number + 1, total_steps=len(rows), seconds_left=left)
                listen(number + 1, len(rows), left)
            measured = [kept[data.image_ids[row]] for row in rows]
    good = [line for line in measured if not line.get("problem")]
    return {
        "config": config.to_dict(),
        "rows": summarize_rows(good, config.methods, config.seed),
        "agreement": average_agreement(good, config.methods),
        "data": {
            "name": data.name,
            "num_images": len(good),
            "skipped": [
                *data.skipped,
                *(f"{line['picture']}: {line['problem']}" for line in measured if line.get("problem")),
            ],
        },
        "seconds": math.fsum(line["seconds"] for line in good),
    }


JOB = Job(
    kind="trust",
    read_config=TrustConfig.from_dict,
    work=_measure_in_turn,
    summarize=lambda document: {
        "result": {"seconds": document["seconds"], "pictures": document["data"]["num_images"]}
    },
    describe=lambda document: f"{document['data']['num_images']} pictures in {document['seconds']:.1f} s",
    stopped="Stopped; the pictures that were measured are kept.",
    go_on="The run {run} was stopped; the same command goes on from the pictures that it has measured.",
)
