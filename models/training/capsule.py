"""A finished training in one zip: to hand in, to keep, or to drop back in as a model with equal logits.

The zip holds what somebody else needs to check the run and to do it again; pictures only if asked for, because
one's own may be private, and of the path that they came from only its last part. A zip to be opened may come from
anyone: its files have fixed names and bounded sizes, the bytes that really come out are counted,
everything is checked before the run becomes visible, and its report and script, which nobody has checked, are not
kept.
"""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import UserError, explained
from models.access import viewer
from models.checkpoints import load_checkpoint
from models.ordinary_files import MAX_JSON_BYTES, is_ordinary, open_ordinary, read_bounded, read_json
from models.runs.files import pack_lines, read_lines, try_again, write_json
from models.runs.run import MAX_METRICS_BYTES, check_name, read_run
from models.runs.submit import check_new_name, next_name, place_last
from models.settings import check_integer, check_number
from models.training.capsule_zip import add_member, extract_members
from models.training.provenance import check_data, describe_config, is_sha256

FORMAT, VERSION = "ConvScope capsule", 1
REPRODUCE = Path(__file__).parents[2] / "assets" / "reproduce.py"
MAX_WEIGHTS_BYTES = 2**30
_ACCURACIES = ("val_accuracy", "test_accuracy")


@dataclass(frozen=True)
class CapsuleFile:
    """A table entry: how large a file of a capsule may be, whether each capsule has it, and whether a run keeps it.

    ``pictures`` marks what shows them; ``check`` raises UserError for the file's content.
    """

    max_bytes: int
    required: bool = True
    kept: bool = True
    pictures: bool = False
    check: Callable[[Path], None] = lambda path: None


def pack_capsule(run_dir: str | Path, out_path: str | Path, report_html: str, *, pictures: bool = False) -> Path:
    """Writes a finished training as one zip, replacing ``out_path`` in one step; the same run gives the same bytes.

    Args:
        report_html: A page about the run, such as ``lab.runs.report.build_run_report`` makes.
        pictures: Whether to add the pictures that the run keeps, and what it says about them.

    Returns:
        ``out_path``.

    Raises:
        UserError: Not a finished training, its files are damaged or too large, or the zip cannot be written.
    """
    run_dir, out_path = Path(run_dir), Path(out_path)
    run = read_run(run_dir.parent, run_dir.name).check_own()
    if run.kind != "training" or run.state != "finished":
        what = run.state if run.kind == "training" else f"no training but of the kind {run.kind}"
        raise UserError(f"Only a finished training can be packed, and the run {run.name} is {what}.")
    result = _check_result(run.result)
    card = {"format": FORMAT, "version": VERSION, "run": run.name, "result": result}
    made = {
        "capsule.json": _write_json(card),
        "report.html": report_html.encode(errors="replace"),
        "reproduce.py": REPRODUCE.read_bytes(),
        # Without half a line that a crash may have left.
        "metrics.jsonl": pack_lines(read_lines(run_dir / "metrics.jsonl", MAX_METRICS_BYTES)),
    }
    made |= {name: _write_json(values) for name, values in _read_own(run_dir).items()}
    _check_files(run_dir, result["weights_sha256"], besides=made)
    scratch = out_path.with_name(f".{out_path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(scratch, "w") as archive:
            for name, member in MEMBERS.items():
                if name in made:
                    add_member(archive, name, made[name], member.max_bytes)
                elif is_ordinary(run_dir / name) and (pictures or not member.pictures):
                    add_member(archive, name, read_bounded(run_dir / name, member.max_bytes), member.max_bytes)
        scratch.replace(out_path)
    except OSError as error:
        raise UserError(f"The capsule {out_path.name} cannot be written ({error.strerror or error}).") from error
    finally:
        scratch.unlink(missing_ok=True)
    return out_path


def unpack_capsule(zip_path: str | Path, runs_root: str | Path, name: str | None = None) -> str:
    """Makes a finished run out of a capsule; nothing is left behind where that fails.

    Args:
        name: Of the new run; by default the old name, with a number where there is such a run.

    Returns:
        The run's name: its model is ``run/<name>``.

    Raises:
        UserError: Not a capsule, damaged, unsafe, its weights are not those it speaks of, or there is a run
            of that name.
    """
    zip_path, root = Path(zip_path), Path(runs_root)
    if name is not None:
        check_name(name)
    with explained(f"The run of {zip_path.name} cannot be stored"):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=root) as scratch:
            folder = Path(scratch) / "unpacked"
            folder.mkdir()
            card = _extract(zip_path, folder)
            name = name or (next_name(root, card["run"]) if (root / card["run"]).exists() else card["run"])
            if (root / check_new_name(root, name)).exists():
                raise UserError(f"There is already a run named {name}; choose another name or delete it first.")
            status = {"state": "finished", "kind": "training", "result": card["result"], "capsule": card["run"]}
            write_json(folder / "status.json", status | viewer().sign() | place_last(root))
            try_again(lambda: folder.rename(root / name))
    return name


def _extract(zip_path: Path, folder: Path) -> dict:
    """Copies a capsule's files into an empty folder and checks them; returns capsule.json, checked."""
    limits = {name: member.max_bytes for name, member in MEMBERS.items() if member.kept}
    extract_members(
        zip_path,
        folder,
        limits,
        required=[name for name, member in MEMBERS.items() if member.required],
        ignored=[name for name, member in MEMBERS.items() if not member.kept],
    )
    with _told_of(zip_path.name, folder):
        card = _read_card(folder / "capsule.json")
        _check_files(folder, card["result"]["weights_sha256"])
    (folder / "capsule.json").unlink()
    return card


def _read_own(run_dir: Path) -> dict[str, dict]:
    """The JSON files of a run that is to be packed, as anybody may read them: in no text is half a character."""
    names = [name for name in MEMBERS if name.endswith(".json") and is_ordinary(run_dir / name)]
    found = {name: read_json(run_dir / name, MEMBERS[name].max_bytes, is_mended=True) for name in names}
    if "data.json" in found:
        with _named("data.json"):
            check_data(found["data.json"])
    return found | {"config.json": describe_config(found["config.json"])}


def _write_json(values: dict) -> bytes:
    return json.dumps(values, indent=1).encode()


@contextmanager
def _told_of(title: str, folder: Path) -> Iterator[None]:
    """Names the files in messages by the zip that they came in, not by where they are looked at."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{title}: {str(error).replace(f'{folder.name}/', '')}") from error


def _read_card(path: Path) -> dict:
    values = read_json(path)
    if values.get("format") != FORMAT or isinstance(values.get("version"), bool):
        raise UserError("capsule.json does not say that this is a capsule.")
    check_integer("version in capsule.json", values.get("version"), 1, VERSION)
    return {"run": check_name(values.get("run")), "result": _check_result(values.get("result"))}


def _check_result(result: object) -> dict:
    """The five values that a finished training has, without any others."""
    if not isinstance(result, dict) or not is_sha256(result.get("weights_sha256")):
        raise UserError("The result lacks weights_sha256, the SHA-256 of the weights.")
    for name in _ACCURACIES:
        if result.get(name) is not None:
            check_number(name, result[name], 0.0, 1.0)
    check_number("seconds", result.get("seconds"), 0.0, 1e9)
    check_integer("epochs", result.get("epochs"), 0, 10**6)
    return {name: result.get(name) for name in (*_ACCURACIES, "seconds", "epochs", "weights_sha256")}


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Names the file in messages that do not."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error) if name in str(error) else f"{name}: {error}") from error


def _check_files(folder: Path, sha256: str, besides: Collection[str] = ()) -> None:
    """Raises UserError unless the files of a run are whole, and its weights have this SHA-256."""
    for name, member in MEMBERS.items():
        if name not in besides and is_ordinary(folder / name):
            with _named(name):
                member.check(folder / name)
    load_checkpoint(folder / "model.json", folder / "weights.safetensors")
    with open_ordinary(folder / "weights.safetensors") as file:
        weights: Any = file  # buffered, which its type does not say
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != sha256:
        raise UserError(f"the weights are not those of the result: SHA-256 {found[:12]}..., not {sha256[:12]}...")


def _check_json(path: Path) -> None:
    read_json(path, MEMBERS[path.name].max_bytes)  # says what is wrong
    # As it is, and not as whoever reads it would mend it.
    _check_values(json.loads(read_bounded(path, MEMBERS[path.name].max_bytes)))


def _check_data(path: Path) -> None:
    _check_json(path)
    check_data(read_json(path, MEMBERS[path.name].max_bytes))


def _check_values(values: object) -> None:
    """Refuses what JSON cannot write: NaN, infinities, halves of characters."""
    try:
        json.dumps(values, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise UserError("it holds a value that is no number or text.") from error


def _check_metrics(path: Path) -> None:
    lines = read_bounded(path, MAX_METRICS_BYTES).splitlines()
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"line {number} is not valid JSON.") from error
        if not isinstance(values, dict):
            raise UserError(f"line {number} does not hold a JSON object.")
        _check_values(values)


def _check_text(path: Path) -> None:
    try:
        read_bounded(path, MEMBERS[path.name].max_bytes).decode()
    except UnicodeDecodeError as error:
        raise UserError("it is not text in UTF-8.") from error


MEMBERS = {
    "capsule.json": CapsuleFile(MAX_JSON_BYTES, check=_check_json),
    "report.html": CapsuleFile(32 * 2**20, required=False, kept=False),
    "reproduce.py": CapsuleFile(2**20, required=False, kept=False),
    "config.json": CapsuleFile(MAX_JSON_BYTES, check=_check_json),
    "environment.json": CapsuleFile(MAX_JSON_BYTES, required=False, check=_check_json),
    "data.json": CapsuleFile(32 * 2**20, required=False, check=_check_data),
    "metrics.jsonl": CapsuleFile(MAX_METRICS_BYTES, check=_check_metrics),
    "notes.txt": CapsuleFile(2**20, required=False, check=_check_text),
    "model.json": CapsuleFile(MAX_JSON_BYTES, check=_check_json),
    "weights.safetensors": CapsuleFile(MAX_WEIGHTS_BYTES),
    "examples.safetensors": CapsuleFile(256 * 2**20, required=False, pictures=True),
    "predictions.safetensors": CapsuleFile(256 * 2**20, required=False, pictures=True),
    "hard_examples.safetensors": CapsuleFile(64 * 2**20, required=False, pictures=True),
    "test_examples.safetensors": CapsuleFile(256 * 2**20, required=False, pictures=True),
}
"""Every file that a capsule may have, in this order; status.json is written anew from capsule.json's result.

Pictures and predictions are checked where they are read, by ``lab.runs.examples``.
"""
