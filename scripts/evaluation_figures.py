"""Make the committed figures of the evaluation anew, and from them docs/evaluation.md's tables.

    python scripts/evaluation_figures.py                 # both runs, then the tables
    python scripts/evaluation_figures.py --tables-only   # the tables, from the figures at hand

Runs the shipped suite, and a run of unseen concepts alone where the training collection is.
Latencies are those of this machine while it ran: leave it idle.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from memory_service.services.evaluation.markdown import filled

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs/figures"
DOCUMENT = ROOT / "docs/evaluation.md"
# By name of the figures, what is evaluated; the second one needs the collection.
SHIPPED, UNSEEN = "evaluation", "evaluation-unseen"
UNSEEN_OPTIONS = ("--max-items", "320", "--queries", "40")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables-only", action="store_true", help="evaluate nothing")
    parser.add_argument("--collection", type=Path, default=ROOT / "collection")
    parser.add_argument("--no-memory-weights", type=Path, help="as of memory-service evaluate")
    args = parser.parse_args(argv)
    if not args.tables_only:
        apart = args.no_memory_weights
        options = [] if apart is None else ["--no-memory-weights", str(apart)]
        evaluate(SHIPPED, options)
        if (args.collection / "manifest.jsonl").is_file():
            evaluate(UNSEEN, [*options, "--collection", str(args.collection), *UNSEEN_OPTIONS])
        else:
            print(f"there is no collection in {args.collection}: {UNSEEN}.json stays as it is")
    document = DOCUMENT.read_text("utf-8")
    DOCUMENT.write_text(filled(document, read_figures()), "utf-8")
    print(DOCUMENT)


def evaluate(name: str, options: Sequence[str]) -> None:
    """`NAME.json`, and `NAME-blind.png` and `.json` for people."""
    command = [sys.executable, "-m", "memory_service.cli", "evaluate", "--suite", "shipped"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*command, "--out", folder, *options], cwd=ROOT, check=True)
        out = Path(folder)
        shutil.copyfile(out / "report.json", FIGURES / f"{name}.json")
        for ending in ("png", "json"):
            found = out / ("blind-sheet.png" if ending == "png" else "blind-key.json")
            if found.is_file():
                shutil.copyfile(found, FIGURES / f"{name}-blind.{ending}")


def read_figures() -> dict[str, dict[str, object]]:
    """Those at hand, by name."""
    paths = {name: FIGURES / f"{name}.json" for name in (SHIPPED, UNSEEN)}
    return {n: json.loads(path.read_text("utf-8")) for n, path in paths.items() if path.is_file()}


if __name__ == "__main__":
    main()
