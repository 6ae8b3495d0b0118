"""The import rules of docs/architecture.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = {"app", "cli", "commands", "lab", "ui", "analysis", "models", "tests", "benchmarks"}
HEAVY = {"captum", "torchvision", "cv2", "sklearn", "skimage", "timm", "plotly", "gradio", "accelerate"}
HEAVY |= {"torchmetrics", "imagehash", "onnx", "onnxscript", "onnxruntime", "matplotlib", "safetensors"}
PACKAGES = ("ui", "commands", "lab", "analysis", "models")
MODULES = sorted([*ROOT.glob("*.py"), *(path for name in PACKAGES for path in ROOT.glob(f"{name}/**/*.py"))])
ALLOWED = {
    "app": PROJECT - {"tests"},
    "ui": {"ui", "lab", "analysis", "models"},
    "analysis": {"analysis"},
    "models": {"models", "analysis"},
}
ALLOWED |= {"lab": {"lab", "analysis", "models"}, "commands": {"commands", "lab", "analysis", "models"}}
ALLOWED |= {"cli": ALLOWED["commands"]}


def imported(path: Path) -> set[str]:
    """The top-level names that a module imports anywhere, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0] if not node.level else path.relative_to(ROOT).parts[0])
        elif (
            isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module"
        ):
            names |= {arg.value.split(".")[0] for arg in node.args if isinstance(arg, ast.Constant)}
    return names


def place(path: Path) -> str:
    """The package or top-level module that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_the_rules_cover_every_module():
    assert {place(path) for path in MODULES} == set(ALLOWED)
    assert len(MODULES) > 30


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_import_only_what_their_layer_may(path):
    names = imported(path)
    assert names & PROJECT <= ALLOWED[place(path)]
    if place(path) not in ("app", "ui"):
        assert "gradio" not in names


def test_heavy_libraries_wait_until_they_are_used():
    packages = [path for path in MODULES if place(path) in ("analysis", "models") and path.stem != "__init__"]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in packages]
    code = f"import sys, {', '.join([*names, 'lab', 'cli'])}\nprint(*sorted(set({sorted(HEAVY)}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
