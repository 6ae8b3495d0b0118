"""What a comparison of matched arms says: means over seeds, differences paired by seed, and a sentence.

Pure: measurements in, a document out. A measurement is one trained arm of one seed:
``{arm, seed, run, val_accuracy, test_accuracy, train_accuracy, consistency, shifted_accuracy, seconds, curve, ...}``,
with ``counted``, measure -> of how many a share is one, and ``samples`` where validation was often.
"""

from collections.abc import Mapping, Sequence

from lab.comparisons.readings import Reading, average, compare
from lab.comparisons.sentences import MEASURES, describe
from lab.comparisons.steps import Guessing, StepsFound, find_steps
from lab.spreadsheet import to_csv


def summarize(
    arms: Sequence[Mapping],
    measurements: Sequence[Mapping],
    question: str,
    direction: int = 0,
    chance: float = 0.0,
    guessing: Guessing | None = None,
) -> dict:
    """The table so far, and what it says.

    Args:
        arms: ``{name, title, parameters}`` of each; the others are compared with the first.
        question: A key of ``QUESTIONS``.
        direction: What is claimed of the second arm's decisive measure: 1 larger, -1 smaller, 0 nothing.
        guessing: What the common accuracy has to be clearly above; None for no such condition.

    Returns:
        ``{rows, sentence, also, targets, reasons}``: a row has ``arm, title, parameters, n`` and for each of
        ``MEASURES`` the result of :func:`lab.comparisons.readings.average` or None, and under ``differences`` (all
        rows but the first) that of :func:`lab.comparisons.readings.compare`, this arm minus the first, with ratios
        for ``steps``. ``sentence`` answers the question, ``also`` says what belongs to it, ``targets`` is the common
        accuracy by seed, ``reasons`` says why a measure is not known.
    """
    values, found = _gather(arms, measurements, guessing)
    rows = [_make_row(arm, values[arm["name"]]) for arm in arms]
    for row in rows[1:]:
        row["differences"] = {name: _compare(values[row["arm"]], values[rows[0]["arm"]], name) for name in MEASURES}
    reasons = {"steps": found.reason} if found.reason else {}
    sentence, also = describe(rows, question, direction, chance, found.targets, reasons)
    return {"rows": rows, "sentence": sentence, "also": also, "targets": found.targets, "reasons": reasons}


def complete(arms: Sequence[Mapping], networks: Sequence[Mapping], guessing: Guessing | None = None) -> list[dict]:
    """The trained networks with their own ``gap``, and ``steps`` with the measurements around, ``steps_low`` and
    ``steps_high``; where only the latter is known, ``steps`` is None. Those that failed stay as they are.
    """
    trained = [network for network in networks if network["state"] == "finished"]
    steps, found = find_steps(arms, trained, guessing).steps, []
    for network in map(dict, networks):
        if network["state"] == "finished":
            network["gap"] = network["train_accuracy"] - network["val_accuracy"]
            reading = steps.get((network["arm"], network["seed"]))
            network["steps"] = None if reading is None or reading.is_bound else reading.value
            for end in ("low", "high"):
                network[f"steps_{end}"] = None if reading is None else getattr(reading, end)
        found.append(network)
    return found


def write_csv(document: Mapping) -> str:
    """One line for each trained network: arm, seed, run, and every measure."""
    titles = {row["arm"]: row["title"] for row in document["rows"]}
    rows = ({**network, "title": titles[network["arm"]]} for network in document["networks"])
    return to_csv(["arm", "title", "seed", "run", "state", *MEASURES, "steps_low", "steps_high"], rows)


def _gather(
    arms: Sequence[Mapping], measurements: Sequence[Mapping], guessing: Guessing | None
) -> tuple[dict[str, dict[int, dict[str, Reading | None]]], StepsFound]:
    """Arm -> seed -> measure -> number, and how the steps were found."""
    found = find_steps(arms, measurements, guessing)
    values: dict[str, dict[int, dict]] = {arm["name"]: {} for arm in arms}
    for network in measurements:
        readings = {name: _read(network, name) for name in MEASURES}
        train, validation = readings["train_accuracy"], readings["val_accuracy"]
        readings["gap"] = train and validation and train.minus(validation, MEASURES["gap"].high)
        readings["steps"] = found.steps.get((network["arm"], network["seed"]))
        values[network["arm"]][network["seed"]] = readings
    return values, found


def _read(network: Mapping, name: str) -> Reading | None:
    value = network.get(name)
    if value is None:
        return None
    return Reading.of_share(value, network.get("counted", {}).get(name), MEASURES[name].high)


def _make_row(arm: Mapping, by_seed: Mapping[int, Mapping]) -> dict:
    row = {"arm": arm["name"], "title": arm["title"], "parameters": arm["parameters"], "n": len(by_seed)}
    for name, measure in MEASURES.items():
        known = [readings[name] for readings in by_seed.values() if readings[name] is not None]
        row[name] = average(known, measure.low) if known else None
    return row


def _compare(by_seed: Mapping[int, Mapping], base: Mapping[int, Mapping], name: str) -> dict | None:
    """This arm minus the first, over the seeds that both have."""
    pairs = [(by_seed[seed][name], base[seed][name]) for seed in by_seed if seed in base]
    pairs = [pair for pair in pairs if None not in pair]
    if not pairs:
        return None
    return compare(pairs, MEASURES[name].low, ratios=name == "steps")
