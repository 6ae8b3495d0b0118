"""The repair bench: one start model, several cures, the same training for each, and what came of it.

:func:`run_repair`, or ``python -m lab.comparisons.repair RUN_DIR`` as a job of its own. Every arm is an ordinary
training run beside the bench's own directory, and so a model of the registry; a bench that was stopped keeps finished
arms.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.errors import Cancelled, Progress, UserError
from lab.comparisons.repair_config import RepairConfig
from lab.comparisons.repair_measure import compare_models
from lab.comparisons.train import train_arm
from lab.session import Lab
from models.checkpoints import read_json
from models.data.datasets import load_dataset
from models.networks.repairs import Arm, find_arm
from models.networks.resnet import BUILDERS
from models.registry import RUN_PREFIX
from models.runs.job import open_job, run_program
from models.runs.queue import device_turn
from models.runs.run import read_run, take_up_run, write_json
from models.runs.stop import StopRequest
from models.training.run import TrainingConfig
from models.training.warm_start import Start, read_start

Report = Callable[..., None]
"""Called with entries of status.json: what the bench is doing."""


@dataclass(frozen=True)
class Treatment:
    """An arm with the training that makes it; ``run`` is the name of the run that holds its model."""

    arm: Arm
    run: str
    training: TrainingConfig


def plan_repair(config: RepairConfig, run_dir: Path) -> tuple[Treatment, ...]:
    """The trainings of a bench, which differ in nothing but their arms.

    Raises:
        UserError: The start model cannot be used, or has no use for one of the arms.
    """
    start = read_start(config.start_from, run_dir.parent)
    common = _common_training(config, start, run_dir.parent)
    network = start.config if common.image_size is None else replace(start.config, image_size=common.image_size)
    treatments = []
    for name in config.arms:
        arm = find_arm(name, network, blur_size=config.blur_size)
        shifts = "none" if not arm.shifts_pictures else "circular" if config.boundary == "circular" else "zero"
        training = replace(common, model=arm.config.chosen, shift_augment=shifts)
        treatments.append(Treatment(arm, f"{run_dir.name}-{name}", training))
    return tuple(treatments)


def run_repair(
    lab: Lab, config: RepairConfig, run_dir: Path, *, stop: StopRequest, report: Report = lambda **values: None
) -> dict:
    """Trains every arm and compares them on the same test pictures.

    Args:
        lab: Its runs are those beside ``run_dir``.
        config: What to compare.
        run_dir: The bench's own run; the arms are called after it.
        stop: Ends the current arm, and the bench.
        report: Told what is going on.

    Returns:
        The JSON-ready document.

    Raises:
        Cancelled: It was stopped.
        UserError: The start model, an arm or the data cannot be used.
        UserError: The shifts do not fit the pictures.
    """
    treatments = plan_repair(config, run_dir)
    for number, treatment in enumerate(treatments):
        message = f"Arm {number + 1} of {len(treatments)}: {treatment.arm.title}"
        report(state="running", message=message, step=number, total_steps=len(treatments))
        train_arm(treatment.training, run_dir.parent / treatment.run, stop)
    device = lab.models.device.type
    report(state="queued", message="", step=len(treatments), device=device)  # as a rival of other waiting runs
    with device_turn(run_dir, device, stop) as my_turn:
        if not my_turn:
            raise Cancelled
        report(state="running", message="Comparing the arms")
        return _compare(lab, config, treatments, run_dir, _until(stop))


def _common_training(config: RepairConfig, start: Start, runs_root: Path) -> TrainingConfig:
    """What all arms share. A run's own division of the data is kept, so that no arm has met the test pictures."""
    known = {}
    if start.name.startswith(RUN_PREFIX):
        run, _, _ = start.name.removeprefix(RUN_PREFIX).partition("@")
        before = TrainingConfig.from_dict(read_json(read_run(runs_root, run).path / "config.json"))
        if before.dataset == config.dataset:
            seed = before.seed if before.split_seed is None else before.split_seed
            known = {"split_seed": seed, "shapes": before.shapes}
    if config.shapes is not None:
        known["shapes"] = config.shapes
    # torchvision's networks take pictures of any size: the data set's own is enough.
    own_size = None if start.name in BUILDERS else start.config.image_size
    return TrainingConfig(
        dataset=config.dataset,
        architecture=start.architecture,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seed=config.seed,
        device=config.device,
        data_root=config.data_root,
        image_size=config.image_size or own_size,
        start_from=config.start_from,
        max_steps=config.steps,
        **known,
    )


def _compare(lab: Lab, config: RepairConfig, treatments: Sequence[Treatment], run_dir: Path, progress) -> dict:
    training = treatments[0].training
    dataset = load_dataset(
        training.dataset,
        data_root=training.data_root,
        seed=training.seed if training.split_seed is None else training.split_seed,
        image_size=training.image_size,
        shapes=training.shapes,
    )
    models = [RUN_PREFIX + treatment.run for treatment in treatments]
    compared = compare_models(lab, models, dataset, config, run_dir, progress)
    arms = [
        {"arm": t.arm.name, "title": t.arm.title, "explanation": t.arm.explanation, "run": t.run, **figures}
        for t, figures in zip(treatments, compared.pop("models"), strict=True)
    ]
    return {"start_from": config.start_from, "arms": arms, **compared, "config": config.to_dict()}


def _until(stop: StopRequest) -> Progress:
    def check(done: int, total: int) -> None:
        if stop.requested:
            raise Cancelled

    return check


def run_job(run_dir: Path) -> dict | None:
    """Runs the bench that the config.json of a run directory describes; its document goes to result.json.

    Returns:
        The document, or None if the bench was stopped.

    Raises:
        UserError: The configuration, a model or the data cannot be used; the run's state is then "failed".
    """
    with open_job(run_dir) as writer, StopRequest(run_dir) as stop:
        try:
            config = RepairConfig.from_dict(read_json(run_dir / "config.json"))
            lab = Lab(device=config.device, data_root=config.data_root, runs_root=run_dir.parent)
            document = run_repair(lab, config, run_dir, stop=stop, report=writer.update)
        except Cancelled:
            writer.update(state="stopped", message="Stopped; the arms that were finished are kept.")
            return None
        write_json(run_dir / "result.json", document)
        summary = [{key: arm[key] for key in ("arm", "run", "circular_logit_error")} for arm in document["arms"]]
        writer.update(state="finished", message="", result={"arms": summary})
        return document


def start_here(config: RepairConfig, run_dir: Path) -> dict:
    """Runs a bench in this process; one of the same name and configuration that was broken off goes on.

    Raises:
        UserError: There is another run of that name, the bench was stopped, or see :func:`run_job`.
    """
    take_up_run(run_dir, config.to_dict(), "repair")
    document = run_job(run_dir)
    if document is None:
        raise UserError("The bench was stopped; the same command goes on from the arms that were finished.")
    return document


def main(arguments: list[str]) -> int:
    """Runs the config.json of the run directory named by the only argument; returns the exit status."""
    return run_program(
        "lab.comparisons.repair", arguments, run_job, lambda document: "finished" if document else "stopped"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
