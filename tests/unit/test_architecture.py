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


ORDER = (
    (
        "access",
        "quotas",
        "settings",
        "devices",
        "determinism",
        "names",
        "encodings",
        "ordinary_files",
        "problems",
        "terminal",
    ),
    ("weights",),
    ("runs",),
    ("data",),
    ("zoo",),
    ("networks",),
    ("checkpoints",),
    ("registry",),
    ("turns",),
    ("cache", "onnx_export"),
    ("training",),
)
"""What is in models, from the ground up."""
MAX_PAST_THE_LAB = 40
MAY_USE = {
    "comparisons": {"evaluation"},
    "experiments": {"evaluation", "comparisons"},
    "learning": {"comparisons", "evaluation"},
}
"""Rooms of lab that may use others."""


def name_module(path: Path) -> str:
    """The full name of a module, or of the package whose ``__init__`` it is."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {name_module(path): path for path in MODULES}


def used(path: Path) -> set[str]:
    """The modules of the project that a module imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= whole & NAMES.keys() or {node.module}
    return found & NAMES.keys() - {name_module(path)}


def room(name: str) -> str:
    """The folder that a module is in; the module itself, where that is a package of the top level."""
    folder = NAMES[name].relative_to(ROOT).parent
    return ".".join(folder.parts) if len(folder.parts) > 1 else name


def find_circles(arrows: dict[str, set[str]]) -> list[str]:
    """What can be reached from itself."""

    def reaches(start: str) -> bool:
        seen, todo = set(), [*arrows.get(start, ())]
        while todo:
            if (name := todo.pop()) == start:
                return True
            if name not in seen:
                seen.add(name)
                todo += arrows.get(name, ())
        return False

    return [name for name in arrows if reaches(name)]


def test_circles_are_found():
    assert find_circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_no_modules_and_no_rooms_import_each_other():
    modules = {name: used(path) for name, path in NAMES.items()}
    assert find_circles(modules) == []
    rooms: dict[str, set[str]] = {}
    for name, others in modules.items():
        rooms.setdefault(room(name), set()).update({room(other) for other in others} - {room(name)})
    assert find_circles(rooms) == []


def test_models_are_built_from_the_ground_up():
    height = {part: level for level, parts in enumerate(ORDER) for part in parts}
    for name, path in NAMES.items():
        if name.startswith("models."):
            above = {other for other in used(path) if other.startswith("models.")}
            tops = {other.split(".")[1] for other in above} - {name.split(".")[1]}
            assert {top for top in tops if height[top] > height[name.split(".")[1]]} == set(), name


def test_rooms_of_the_lab_stand_apart():
    rooms = {path.parent.name for path in (ROOT / "lab").glob("*/__init__.py")}
    assert rooms >= MAY_USE.keys()
    for name, path in NAMES.items():
        top, inside, *_ = [*name.split("."), ""]
        if top == "lab" and inside in rooms:
            others = {other.split(".")[1] for other in used(path) if other.startswith("lab.")}
            assert (others & rooms) - {inside} <= MAY_USE.get(inside, set()), name


def test_the_page_reaches_past_the_lab_for_little_but_tables_and_types():
    """What somebody can do, the lab does; a function of the rooms below it is called by the page in few places."""
    past = []
    for path in ROOT.glob("ui/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("models.", "analysis.")):
                found = [(node.module, alias.name) for alias in node.names]
                # Functions and modules have small letters, tables and types do not.
                past += [(path.name, *name) for name in found if name[1].islower()]
    everybodys = ("analysis.figures", "analysis.errors", "analysis.grammar", "models.access")
    past = [name for name in past if not name[1].startswith(everybodys)]
    assert len(past) < MAX_PAST_THE_LAB, past


def test_only_the_table_of_jobs_names_other_modules_in_strings():
    for name, path in NAMES.items():
        strings = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        named = {text for text in strings & NAMES.keys() if "." in text} - {name}
        assert bool(named) == (name == "lab.jobs"), name


def test_every_package_says_what_belongs_there():
    for path in MODULES:
        if path.stem == "__init__":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
