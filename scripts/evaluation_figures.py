"""Make the committed figures of the evaluation anew, and from them docs/evaluation.md's tables.

    python scripts/evaluation_figures.py                   # both runs, then the tables
    python scripts/evaluation_figures.py --only unseen     # one of them
    python scripts/evaluation_figures.py --tables-only     # the tables, from the figures at hand
    python scripts/evaluation_figures.py --queries 3 --max-items 12 --into /tmp/try   # a trial

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
from collections.abc import Mapping, Sequence
from pathlib import Path

from memory_service.services.evaluation.markdown import filled

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs/figures"
DOCUMENT = ROOT / "docs/evaluation.md"
# By name of the figures, what is evaluated; the second one needs the collection.
SHIPPED, UNSEEN = "evaluation", "evaluation-unseen"
UNSEEN_ITEMS, UNSEEN_QUERIES = 320, 24
# In the document as long as there are no figures of it, so that no table stands empty.
NOT_MADE = f"Not made yet: `python scripts/{Path(__file__).name}` makes it where the collection is."


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables-only", action="store_true", help="evaluate nothing")
    parser.add_argument("--only", choices=("shipped", "unseen"), help="one of the two runs")
    parser.add_argument("--collection", type=Path, default=ROOT / "collection")
    parser.add_argument("--no-memory-weights", type=Path, help="as of memory-service evaluate")
    parser.add_argument("--queries", type=int, help="per task; by default as the document says")
    parser.add_argument("--max-items", type=int, help="episodes; by default as the document says")
    parser.add_argument(
        "--into", type=Path, default=FIGURES, help="another folder leaves the document as it is"
    )
    args = parser.parse_args(argv)
    if not args.tables_only:
        args.into.mkdir(parents=True, exist_ok=True)
        if args.only != "unseen":
            evaluate(SHIPPED, args.into, options_of(args, None, None))
        if args.only != "shipped":
            if not (args.collection / "manifest.jsonl").is_file():
                sys.exit(
                    f"there is no collection in {args.collection}, {UNSEEN}.json stays as it is: "
                    "build it by python -m encoders.training.data, or say --only shipped"
                )
            more = options_of(args, UNSEEN_ITEMS, UNSEEN_QUERIES)
            evaluate(UNSEEN, args.into, [*more, "--collection", str(args.collection)])
    if args.into != FIGURES:
        return
    figures = read_figures()
    DOCUMENT.write_text(filled(with_unseen(DOCUMENT.read_text("utf-8"), figures), figures), "utf-8")
    print(DOCUMENT)


def with_unseen(document: str, figures: Mapping[str, object]) -> str:
    """The document with marks for the tables of the second run, once there are figures of it."""
    if UNSEEN not in figures:
        return document
    tables = ("about", "targets", "order", "ladders")
    marks = "\n\n".join(f"<!-- {UNSEEN}: {table} -->\n<!-- end -->" for table in tables)
    return document.replace(NOT_MADE, marks)


def options_of(args: argparse.Namespace, items: int | None, queries: int | None) -> list[str]:
    """What is given, or else these, as of memory-service evaluate."""
    given = {
        "--max-items": args.max_items or items,
        "--queries": args.queries or queries,
        "--no-memory-weights": args.no_memory_weights,
    }
    return [each for name, value in given.items() if value for each in (name, str(value))]


def evaluate(name: str, into: Path, options: Sequence[str]) -> None:
    """In the folder `into`: `NAME.json`, and of the package's own pictures `NAME-blind.png` and
    `.json` for people; pictures of the collection are not ours to show."""
    command = [sys.executable, "-m", "memory_service.cli", "evaluate", "--suite", "shipped"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*command, "--out", folder, *options], cwd=ROOT, check=True)
        out = Path(folder)
        shutil.copyfile(out / "report.json", into / f"{name}.json")
        for ending in ("png", "json") if name == SHIPPED else ():
            found = out / ("blind-sheet.png" if ending == "png" else "blind-key.json")
            if found.is_file():
                shutil.copyfile(found, into / f"{name}-blind.{ending}")


def read_figures() -> dict[str, dict[str, object]]:
    """Those at hand, by name."""
    paths = {name: FIGURES / f"{name}.json" for name in (SHIPPED, UNSEEN)}
    return {n: json.loads(path.read_text("utf-8")) for n, path in paths.items() if path.is_file()}


if __name__ == "__main__":
    main()
