"""Nothing is ever unpickled: neither by our code, nor in what is shipped as weights."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for folder in ("memory_service", "encoders", "generator", "benchmarks", "examples", "scripts")
    for path in (ROOT / folder).rglob("*.py")
]
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# multiprocessing sends objects by pickle.
MODULES |= {"multiprocessing"}


def names(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if [each.name for each in node.names] == ["UnpicklingError"]:
                continue  # to refuse one, its error has to be known
            found.add(node.module.partition(".")[0])
    return found


def unsafe_calls(tree: ast.AST) -> list[str]:
    """torch.load without weights_only=True, numpy.load with allow_pickle."""
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        given = {each.arg: each.value for each in node.keywords}
        module = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        weights_only = given.get("weights_only")
        safe = isinstance(weights_only, ast.Constant) and weights_only.value is True
        if node.func.attr == "load" and module == "torch" and not safe:
            found.append(f"torch.load in line {node.lineno}")
        allowed = given.get("allow_pickle")
        if allowed is not None and not (isinstance(allowed, ast.Constant) and not allowed.value):
            found.append(f"allow_pickle in line {node.lineno}")
    return found


def test_no_source_unpickles() -> None:
    found = {}
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        if wrong := [*(names(tree) & MODULES), *unsafe_calls(tree)]:
            found[str(path.relative_to(ROOT))] = wrong
    assert not found
    assert len(SOURCES) > 200


def test_the_search_finds_what_it_is_for() -> None:
    assert names(ast.parse("from pickle import loads\nimport joblib.x")) & MODULES
    assert len(unsafe_calls(ast.parse("torch.load(f)\nnp.load(f, allow_pickle=True)"))) == 2
    assert not unsafe_calls(ast.parse("torch.load(f, weights_only=True)\nnp.load(f)"))


def test_weights_are_safetensors_or_graphs() -> None:
    kinds = {
        path.suffix
        for folder in ("encoders/weights", "generator/weights")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.stat().st_size > 1_000_000
    }
    assert kinds <= {".safetensors", ".onnx", ".json", ".txt"}
    assert ".safetensors" in kinds
    pickled = {".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".npy", ".npz"}
    every = {path.suffix for path in (ROOT / "encoders/weights").rglob("*")}
    every |= {path.suffix for path in (ROOT / "generator/weights").rglob("*")}
    assert not every & pickled
