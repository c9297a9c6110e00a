"""The architecture: imports point one way, every outside thing has one door, files are small."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "rwkv"

MOST_LINES = 400

# What everything may import, and what these may import of one another and of what is outside.
FOUNDATION = {
    "rwkv.errors",
    "rwkv.extras",
    "rwkv.arrays",
    "rwkv.vocab",
    "rwkv.progress_bar",
    "rwkv.runtime",
    "rwkv.stopping",
    "rwkv.standard_streams",
    "rwkv.workers",
    "rwkv.device",
    "rwkv.files",
    "rwkv.file_systems",
    "rwkv.forgetting_curve",
    "rwkv.locks",
    "rwkv.plurals",
    "rwkv.pytree",
    "rwkv.ray_pool",
    "rwkv.__version__",
}

# What commands are made of.
COMPUTATION = {
    "rwkv.data",
    "rwkv.ops.backend",
    "rwkv.model",
    "rwkv.batches",
    "rwkv.training",
    "rwkv.evaluation",
    "rwkv.recurrent",
}
# Layer -> what of ours it may import beside itself and the foundation. A package stands for all its modules; of two
# that hold a module the first counts.
LAYERS = {
    "rwkv.data": set(),
    "rwkv.native": {"rwkv._native"},
    "rwkv.ops": {"rwkv.native"},
    "rwkv.model": {"rwkv.native", "rwkv.ops"},
    "rwkv.batches": {
        "rwkv.data",
        "rwkv.model.gpu_batch",
        "rwkv.model.inputs",
        "rwkv.model.packing",
        "rwkv.model.tensor_inputs",
    },
    "rwkv.evaluation": {"rwkv.batches", "rwkv.model", "rwkv.data", "rwkv.ops.backend"},
    "rwkv.training": {"rwkv.evaluation", "rwkv.batches", "rwkv.model", "rwkv.data", "rwkv.ops.backend"},
    "rwkv.recurrent": {"rwkv.model", "rwkv.data"},
    "rwkv.collection": COMPUTATION,
    "rwkv.report.page": {"rwkv.report.content", "rwkv.evaluation"},
    "rwkv.report": COMPUTATION | {"rwkv.collection"},
    "rwkv.benchmark": COMPUTATION | {"rwkv.collection", "rwkv.config", "rwkv.config_file"},
}
# The edge: configuration, and what the command line takes and prints. They may import every layer, but no entry.
EDGE = {"rwkv.config", "rwkv.config_file", "rwkv.config_values", "rwkv.command_line"}

# Modules that run on machines and in processes without PyTorch.
WITHOUT_TORCH = {
    "rwkv.collection",
    "rwkv.command_line",
    "rwkv.data",
    "rwkv.forgetting_curve",
    "rwkv.model.card",
    "rwkv.model.columns",
    "rwkv.model.inputs",
    "rwkv.model.native_runner",
    "rwkv.model.recall",
    "rwkv.model.runner",
    "rwkv.model.safetensors_file",
    "rwkv.model.shapes",
    "rwkv.model.spec",
    "rwkv.model.stored_weights",
    "rwkv.model.torch_file",
    "rwkv.model.weight_table",
    "rwkv.model.weights_file",
    "rwkv.native",
    "rwkv.recurrent",
    "rwkv.report",
}

# Outside thing -> the only file that touches it.
DOORS = {
    "pyarrow": "rwkv/data/arrow.py",
    "lmdb": "rwkv/data/database.py",
    "huggingface_hub": "rwkv/data/hub.py",
    "anki": "rwkv/data/imports/anki/official.py",
    "wandb": "rwkv/training/tracking.py",
    "ray": "rwkv/ray_pool.py",
    "fsrs_rs_python": "rwkv/evaluation/fsrs_training.py",
    "rwkv._native": "rwkv/native/library.py",
    "torch.save": "rwkv/model/checkpoint.py",
    "torch.load": "",  # nowhere: it reads other numbers from damaged files
    "torch.distributed": "rwkv/training/processes.py",
    "torch.utils.data": "rwkv/batches/torch_workers.py",
}

SOURCES = sorted(PACKAGE.rglob("*.py"))
BY_FILE = pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(REPOSITORY)) for path in SOURCES])


def module_name(path: Path) -> str:
    """rwkv/data/keys.py -> rwkv.data.keys; a package's __init__.py is the package."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in SOURCES}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[str]:
    """Every module that is imported, wherever in the file, and `module.name` for names taken from one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> set[str]:
    return set(imports(parse(path), module_name(path), path.name == "__init__.py"))


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def within_any(name: str, packages: set[str]) -> bool:
    return any(is_within(name, package) for package in packages)


def is_entry(module: str) -> bool:
    """The modules that are run: those directly in rwkv that are neither foundation nor edge."""
    return (
        module.count(".") == 1
        and (PACKAGE / f"{module.split('.')[1]}.py").is_file()
        and module not in EDGE | FOUNDATION
    )


def allowed(module: str) -> set[str]:
    """What of ours a module may import."""
    if module == "rwkv":  # what it hands out, it imports when it is asked for
        return set(LAYERS) | EDGE | {"rwkv.extras"}
    if module in FOUNDATION:
        return FOUNDATION
    layer = next((layer for layer in LAYERS if is_within(module, layer)), None)
    if layer is not None:
        return {layer} | LAYERS[layer] | FOUNDATION
    return set(LAYERS) | FOUNDATION | EDGE


def forbidden(module: str, names: set[str]) -> list[str]:
    """Those of the imported names that the module's layer may not import."""
    ours = {name for name in names if is_within(name, "rwkv")}
    wrong = {name for name in ours if not within_any(name, allowed(module))}
    if within_any(module, WITHOUT_TORCH):
        wrong |= {name for name in names if within_any(name, {"torch", "rwkv.device", "rwkv.pytree"})}
    return sorted(wrong)


@BY_FILE
def test_imports_point_one_way(path: Path) -> None:
    module = module_name(path)
    assert forbidden(module, imports_of(path)) == [], f"it may import {', '.join(sorted(allowed(module)))}"


def test_every_module_has_its_place() -> None:
    """A new folder needs a row in the table of layers."""
    homeless = {
        module
        for module in MODULES - {"rwkv"}
        if not (within_any(module, set(LAYERS) | FOUNDATION | EDGE) or is_entry(module))
    }
    assert homeless == set()


def test_entries_are_never_imported() -> None:
    entries = {module for module in MODULES if is_entry(module)}
    assert entries
    for path in SOURCES:
        for name in imports_of(path):
            assert not within_any(name, entries), f"{path.relative_to(REPOSITORY)} imports {name}"


def touches(path: Path, thing: str) -> bool:
    """Whether a file imports a module, or names an attribute of one: `torch.save` also as `from torch import save`."""
    tree = parse(path)
    if any(is_within(name, thing) for name in imports_of(path)):
        return True
    return any(isinstance(node, ast.Attribute) and ast.unparse(node) == thing for node in ast.walk(tree))


@pytest.mark.parametrize("thing", DOORS)
def test_outside_things_have_one_door(thing: str) -> None:
    touching = {str(path.relative_to(REPOSITORY)) for path in SOURCES if touches(path, thing)}
    assert touching <= {DOORS[thing]}


def loaded_by(modules: str, packages: set[str]) -> str:
    """What of some outside packages is loaded with some of our modules."""
    program = (
        f"import sys, {modules}\n"
        f"print(*sorted(name for name in sys.modules if name.split('.')[0] in {packages}), sep=', ', end='')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_commands_of_the_data_layer_do_not_import_torch() -> None:
    """They run on machines and in workers where loading it would cost seconds and memory in every process."""
    modules = "rwkv.benchmark.process_data, rwkv.benchmark.find_keys, rwkv.collection.import_collections"
    assert loaded_by(modules, {"torch"}) == ""


def test_collections_are_read_without_optional_packages() -> None:
    """Reading one for a prediction must work where only the base of the package is installed."""
    assert loaded_by("rwkv.collection.cached_import", {"torch", "pyarrow", "scipy", "lmdb", "safetensors"}) == ""


def test_the_persons_commands_load_no_optional_packages() -> None:
    """Only fine-tuning loads PyTorch, and running a network without the native kernels."""
    collection = "card_predictions, schedule, compare, chosen_model, own_past, learner, engine_cache"
    modules = ", ".join(f"rwkv.collection.{name}" for name in collection.split(", "))
    modules += ", rwkv.recurrent.engine, rwkv.report.write_report, rwkv.model.torch_file, rwkv.command_line.parser"
    modules += ", rwkv.command_line.card_tables, rwkv.command_line.schedule_tables, rwkv.command_line.compare_table"
    assert loaded_by(modules, {"torch", "pyarrow", "scipy", "lmdb", "safetensors"}) == ""


def test_a_report_does_not_import_scipy() -> None:
    """Loading it would take a tenth of the time of a report."""
    assert loaded_by("rwkv.report.write_report", {"scipy", "sklearn"}) == ""


SMALL = sorted(
    path
    for folder in ("rwkv", "tests", "bench")
    for suffix in ("py", "c", "cpp", "cu", "h", "hpp", "cuh")
    for path in (REPOSITORY / folder).rglob(f"*.{suffix}")
)


def test_files_are_small() -> None:
    lines = {str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines()) for path in SMALL}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


@BY_FILE
def test_public_names_have_docstrings(path: Path) -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [node for node in parse(path).body if isinstance(node, kinds) and not node.name.startswith("_")]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


# --- The rules themselves


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("import rwkv.model.network", "rwkv.data.keys", "rwkv.model.network"),
        ("from rwkv import model", "rwkv.data.keys", "rwkv.model"),
        ("from ..model import network", "rwkv.data.keys", "rwkv.model.network"),
        ("def f():\n    import torch", "rwkv.data.keys", "torch"),
        ("from torch.nn import Module", "rwkv.data.keys", "torch.nn.Module"),
        ("import rwkv.device", "rwkv.data.keys", "rwkv.device"),
        ("import torch", "rwkv.native.mixers", "torch"),
        ("from torch import Tensor", "rwkv.model.inputs", "torch.Tensor"),
        ("import rwkv.data.keys", "rwkv.model.network", "rwkv.data.keys"),
        ("from rwkv.model.network import Network", "rwkv.batches.collate", "rwkv.model.network.Network"),
        ("from rwkv.batches import collate", "rwkv.recurrent.engine", "rwkv.batches.collate"),
        ("from rwkv.training.loss import loss", "rwkv.evaluation.history_predictions", "rwkv.training.loss.loss"),
        ("from rwkv.config import TrainConfig", "rwkv.training.loop", "rwkv.config.TrainConfig"),
        ("from rwkv.train_rwkv import main", "rwkv.cli", "rwkv.train_rwkv.main"),
        ("from rwkv.data import keys", "rwkv.runtime", "rwkv.data.keys"),
        ("from rwkv.model.spec import CODES", "rwkv.ops.wkv", "rwkv.model.spec.CODES"),
    ],
)
def test_forbidden_imports_are_detected(source: str, module: str, expected: str) -> None:
    assert forbidden(module, set(imports(ast.parse(source), module, is_package=False))) == [expected]


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from rwkv.data.history import Ints\nimport numpy as np", "rwkv.data.keys"),
        ("from . import history\nfrom .history import Ints", "rwkv.data.keys"),
        ("from rwkv.model import inputs\nfrom rwkv.model.packing import pack_stream", "rwkv.batches.collate"),
        ("import torch\nfrom rwkv import errors, vocab", "rwkv.ops.wkv"),
        ("from rwkv.config import TrainConfig\nfrom rwkv.training import loop", "rwkv.train_rwkv"),
    ],
)
def test_allowed_imports_pass(source: str, module: str) -> None:
    assert forbidden(module, set(imports(ast.parse(source), module, is_package=False))) == []


@pytest.mark.parametrize(
    "source", ["import torch\ntorch.save(1, 2)", "from torch import save", "import torch\nwrite = torch.save"]
)
def test_every_use_of_an_outside_thing_is_detected(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "REPOSITORY", tmp_path)
    (tmp_path / "module.py").write_text(source)
    assert touches(tmp_path / "module.py", "torch.save")
