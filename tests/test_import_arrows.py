"""Imports go one way, as docs/decisions.md draws them, and never in a circle."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("memory_service", "encoders", "generator")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports() -> dict[str, set[str]]:
    """Our modules, each with those of ours that it imports, function-level imports included."""
    files = {
        module_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")
    }
    return {name: _imports_of(name, path, set(files)) for name, path in files.items()}


def _imports_of(name: str, path: Path, known: set[str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                for _ in range(node.level - 1):
                    package = package.rpartition(".")[0]
                base = f"{package}.{base}".rstrip(".")
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full in known else base)
    return {module for module in found if module in known} - {name}


def within(module: str, *prefixes: str) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


# (who, whom they never import)
FORBIDDEN = [
    ("encoders", ("memory_service", "generator")),
    ("generator", ("memory_service",)),
    ("memory_service.records", PACKAGES),
    ("memory_service.errors", PACKAGES),
    ("memory_service.settings", PACKAGES),
    ("memory_service.storage", ("memory_service.services", "encoders", "generator")),
    ("memory_service.services", ("memory_service.api", "memory_service.bootstrap")),
    ("memory_service.api", ("memory_service.storage", "encoders", "generator")),
    ("memory_service.client", ("memory_service.storage", "memory_service.services")),
]


@pytest.mark.parametrize(("who", "whom"), FORBIDDEN, ids=[who for who, _ in FORBIDDEN])
def test_arrow_is_kept(who: str, whom: tuple[str, ...]) -> None:
    own = {f"{who}"}
    broken = [
        f"{module} -> {target}"
        for module, targets in imports().items()
        if within(module, who)
        for target in targets
        if within(target, *whom) and target not in own
    ]
    assert not broken


def test_models_never_import_training() -> None:
    broken = [
        f"{module} -> {target}"
        for module, targets in imports().items()
        if ".training" not in module
        for target in targets
        if ".training" in target
    ]
    assert not broken


def test_generator_knows_only_the_base_of_the_encoders() -> None:
    """`log_mel` has no model: both sides must hear alike. `torchvision_import` mends an import.
    `hub`, `checkpoints` and `errors` are how weights of any kind are found, read and missed;
    `graphs` runs compiled networks of any kind."""
    allowed = tuple(
        f"encoders.{name}"
        for name in (
            "base",
            "log_mel",
            "torchvision_import",
            "hub",
            "checkpoints",
            "errors",
            "graphs",
        )
    )
    broken = [
        f"{module} -> {target}"
        for module, targets in imports().items()
        if within(module, "generator") and not within(module, "generator.training")
        for target in targets
        if within(target, "encoders") and target not in allowed
    ]
    assert not broken


def test_only_bootstrap_chooses_concrete_classes() -> None:
    registries = ("encoders.registry", "generator.registry")
    importers = {
        module
        for module, targets in imports().items()
        if within(module, "memory_service") and targets & set(registries)
    }
    assert importers <= {"memory_service.bootstrap"}


def test_no_cycles() -> None:
    # A package's __init__ may gather its modules; parents are no dependency of their own.
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_walk_sees_what_is_there() -> None:
    assert "encoders.base" in imports()["generator.base"]
    assert len(imports()) > 20
