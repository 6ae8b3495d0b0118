"""The repair bench: one start model, several cures, the same training for each, and what came of it.

:func:`run_repair`, or ``JOB`` as a run. Every arm is an ordinary
training run beside the bench's own directory, and so a model of the registry; a bench that was stopped keeps finished
arms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis.errors import Cancelled, Progress
from lab.comparisons.repair_config import RepairConfig
from lab.comparisons.repair_measure import compare_models
from lab.comparisons.train import train_arm
from lab.session import Lab
from models.networks.repairs import Arm, find_arm
from models.networks.resnet import BUILDERS
from models.ordinary_files import read_json
from models.registry import RUN_PREFIX
from models.runs.job import Job, Listener
from models.runs.queue import device_turn
from models.runs.run import read_run
from models.runs.stop import StopRequest
from models.runs.writer import RunWriter
from models.training.config import TrainingConfig
from models.training.run import load_data
from models.training.warm_start import Start, find_start

SUMMARY = ("arm", "run", "circular_logit_error")
"""What status.json has of each arm in the end."""
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
    start = find_start(config.start_from, run_dir.parent)
    common = _common_training(config, start, run_dir.parent)
    network = start.config if common.image_size is None else replace(start.config, image_size=common.image_size)
    treatments = []
    for name in config.arms:
        arm = find_arm(name, network, blur_size=config.blur_size)
        assert arm.config is not None  # it has no obstacle
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
        run_dir: The bench's own run; the arms are called after it.

    Returns:
        The JSON-ready document.

    Raises:
        Cancelled: It was stopped.
        UserError: The start model, an arm or the data cannot be used; the shifts do not fit the pictures.
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
        return _compare(lab, config, treatments, run_dir, stop.check)


def _common_training(config: RepairConfig, start: Start, runs_root: Path) -> TrainingConfig:
    """What all arms share. A run's own division of the data is kept, so that no arm has met the test pictures."""
    known: dict[str, Any] = {}
    if start.name.startswith(RUN_PREFIX):
        run, _, _ = start.name.removeprefix(RUN_PREFIX).partition("@")
        before = TrainingConfig.from_dict(read_json(read_run(runs_root, run).path / "config.json"))
        if before.dataset == config.dataset:
            known = {"split_seed": before.data_seed, "shapes": before.shapes}
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


def _compare(
    lab: Lab, config: RepairConfig, treatments: Sequence[Treatment], run_dir: Path, progress: Progress
) -> dict:
    dataset = load_data(treatments[0].training)
    models = [RUN_PREFIX + treatment.run for treatment in treatments]
    compared = compare_models(lab, models, dataset, config, run_dir, progress)
    arms = [
        {"arm": t.arm.name, "title": t.arm.title, "explanation": t.arm.explanation, "run": t.run, **figures}
        for t, figures in zip(treatments, compared.pop("models"), strict=True)
    ]
    return {"start_from": config.start_from, "arms": arms, **compared, "config": config.to_dict()}


def _work(config: RepairConfig, writer: RunWriter, stop: StopRequest, listen: Listener) -> dict:
    lab = Lab(device=config.device, data_root=Path(config.data_root), runs_root=writer.run_dir.parent)
    return run_repair(lab, config, writer.run_dir, stop=stop, report=writer.update)


def _summarize(document: dict) -> dict:
    return {"result": {"arms": [{key: arm[key] for key in SUMMARY} for arm in document["arms"]]}}


JOB = Job(
    kind="repair",
    read_config=RepairConfig.from_dict,
    work=_work,
    summarize=_summarize,
    describe=lambda document: "finished",
    stopped="Stopped; the arms that were finished are kept.",
    go_on="The bench was stopped; the same command goes on from the arms that were finished.",
)
