"""What settings of a training are called on the page."""

from pathlib import PurePath

from analysis.grammar import count
from lab.runs.mistakes import list_told
from models.data.datasets import DATASETS
from models.networks.table import ARCHITECTURES
from models.runs.run import Run


def name_data(dataset: object) -> str:
    """The title of a data set; of own pictures the name of their folder or zip."""
    if isinstance(dataset, str) and dataset in DATASETS:
        return DATASETS[dataset].title.partition(",")[0]
    return PurePath(str(dataset).replace("\\", "/")).stem


def name_network(architecture: object) -> str:
    """The title of a network."""
    known = isinstance(architecture, str) and architecture in ARCHITECTURES
    return ARCHITECTURES[str(architecture)][0].title if known else str(architecture)


def name_setting(key: str) -> str:
    """A setting in words: "learning rate", "network: dropout"."""
    return key.replace("model.", "network: ").replace(".", ": ").replace("_", " ")


def name_value(key: str, value: str) -> str:
    """The value of a setting in words; 0 and 0.0 are the same."""
    namers = {"dataset": name_data, "architecture": name_network}
    return namers[key](value) if key in namers else value.removesuffix(".0")


def describe_settings(run: Run) -> str:
    """What a run trains, in a line: "Drawn shapes, small CNN, 8 epochs, from a capsule"."""
    config = run.config
    lengths = (config.get("max_steps"), "step"), (config.get("epochs"), "epoch")
    words = [name_data(config.get("dataset") or "unknown data"), name_network(config.get("architecture") or "")]
    words += [count(number, what) for number, what in lengths if number and isinstance(number, int)][:1]
    if corrections := list_told(run):
        words.append(f"{count(len(corrections), 'label')} put right")
    if run.is_opened:
        words.append("from a capsule")
    return ", ".join(filter(None, words))
