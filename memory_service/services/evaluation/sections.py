"""What the page says of each part of the figures: its tables, its plots, and how to read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memory_service.services.evaluation import efficiency, ladder, plots

Json = Mapping[str, Any]
COLUMNS = {
    "recall_at_1": "R@1",
    "recall_at_10": "R@10",
    "cosine": "cosine",
    "ssim": "SSIM",
    "psnr_db": "PSNR dB",
    "log_mel": "log-mel",
    "mse": "MSE",
    "snr_db": "SNR dB",
    "kid": "KID",
    "mmd": "MMD",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "judge_recall_at_10": "R@10, judge 2",
    "judge_cosine": "judge 2",
    "to_memory": "to memory",
    "unseen": "unseen only",
}
KINDS = {"image": "Pictures", "audio": "Sounds", "text": "Texts"}


@dataclass(frozen=True)
class Cell:
    """`note` is smaller, beside `value`."""

    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    strong: frozenset[int] = frozenset()  # rows that matter most
    words: int = 1  # columns, from the first, that hold words


@dataclass(frozen=True)
class Plot:
    svg: bytes
    title: str


@dataclass(frozen=True)
class Section:
    anchor: str
    title: str
    note: str
    blocks: Sequence[Table | Plot]


def number(value: float) -> str:
    """Two to three digits that count."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 10:
        return f"{value:.0f}" if size >= 100 else f"{value:.1f}"
    return f"{value:.3f}" if size >= 0.001 else f"{value:.1g}"


def short(value: float) -> str:
    """Two decimals at most: of an interval, more would say nothing."""
    size = abs(value)
    if size < 0.005:
        return "0"
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def cell(value: Any) -> Cell:
    """Of a mean with its interval, of one with a deviation, of a number, or of words."""
    if value is None:
        return Cell("-")
    if isinstance(value, Mapping):
        if "sd" in value:
            return Cell(number(value["mean"]), f"± {short(value['sd'])}")
        return Cell(number(value["mean"]), f"{short(value['low'])} to {short(value['high'])}")
    if isinstance(value, float):
        return Cell(number(value))
    return Cell(str(value))


def rows_of(
    rows: Sequence[Json], columns: Sequence[str], strong: Sequence[str] = (), words: int = 1
) -> Table:
    """Columns that no row has are left out."""
    there = [name for name in columns if any(name in row for row in rows)]
    return Table(
        [COLUMNS.get(name, name.replace("_", " ")) for name in there],
        [[cell(row.get(name)) for name in there] for row in rows],
        frozenset(n for n, row in enumerate(rows) if row.get("what") in strong),
        words,
    )


def headlines(figures: Json) -> list[tuple[str, str, str]]:
    """(figure, what it is, beside what) for the top of the page."""
    found = []
    for table in figures["ladders"]:
        rows = {row["what"]: row for row in table["rows"]}
        name = table["headline"]
        own, retrieved = (rows.get(ladder.Rung(m).name) for m in ("own", "retrieved"))
        copy = rows.get("copy of the nearest")
        if own is None or retrieved is None or copy is None or name not in own:
            continue
        beside = f"own memory {number(own[name]['mean'])}, copying {number(copy[name]['mean'])}"
        if name in table["chance"]:
            beside += f", chance {number(table['chance'][name])}"
        label = f"{table['task']}: {COLUMNS[name]} of what is imagined"
        found.append((number(retrieved[name]["mean"]), label, beside))
    return found


def all_sections(figures: Json) -> list[Section]:
    """Those that there are figures for."""
    made = [
        *_ladders(figures),
        _recall(figures),
        _robustness(figures),
        _dropped(figures),
        _consistency(figures),
        _memorisation(figures),
        _generalisation(figures),
        _efficiency(figures),
    ]
    return [section for section in made if section is not None and section.blocks]


def _ladders(figures: Json) -> Iterator[Section]:
    for table in figures["ladders"]:
        asked, output = table["task"].split(" -> ")
        chance = ", ".join(
            f"{COLUMNS[name]} {number(value)}" for name, value in table["chance"].items()
        )
        steps = Table(
            ["upper rung", "lower rung", f"difference of {COLUMNS[table['headline']]}"],
            [
                [cell(step["upper"]), cell(step["lower"]), cell(step["difference"])]
                for step in table["steps"]
            ],
            words=2,
        )
        yield Section(
            f"ladder-{asked}-{output}",
            f"{KINDS[output]}, asked by {asked}",
            f"{table['queries']} queries ({table['unseen_queries']} of them known to be of "
            f"concepts that no training saw), {len(table['seeds'])} seed(s), {table['candidates']} "
            f"candidates. By chance: {chance}. Own: the target is in memory. Retrieved: it is held "
            "back, with all that means the same. R@k: encoded again, what was made finds its "
            "target's text among all texts. Judge 2 has no learned weights, and looks for the "
            "target itself." + _spread(table, output),
            [
                Plot(plots.ladder(table, ladder.ORDER), f"Ladder of {table['task']}"),
                rows_of(table["rows"], ("what", *COLUMNS), ladder.ORDER),
                steps,
            ],
        )


def _spread(table: Json, output: str) -> str:
    """What there is to say of precision, recall, density and coverage."""
    if output == "text":
        return ""
    few = min(table["queries"], table["real_items"])
    if few < table["prdc_needs"]:
        return (
            f" Precision, recall, density and coverage need {table['prdc_needs']} made and as many "
            f"real items; here are {few}: ask with --queries."
        )
    return (
        f" Precision, recall, density and coverage are of {table['queries']} made items beside "
        f"{table['real_items']} real ones that were not asked about."
    )


def _recall(figures: Json) -> Section:
    rows = [
        {
            "what": f"{row['asked']} -> {row['sought']}",
            "queries": row["queries"],
            "of": row["candidates"],
            **{f"R@{k}": row[f"recall_at_{k}"] for k in (1, 5, 10)},
            "chance@10": row["chance_at_10"],
            **({"unseen, R@10": row["unseen_at_10"]} if "unseen_at_10" in row else {}),
        }
        for row in figures["recall"]
    ]
    columns = ("what", "queries", "of", "R@1", "R@5", "R@10", "chance@10", "unseen, R@10")
    return Section(
        "recall",
        "Recall across modalities",
        "Does an item find those of another modality that mean the same, by likeness alone? "
        "Associations within an episode, which the service follows as well, are left out.",
        [rows_of(rows, columns)] if rows else [],
    )


def _robustness(figures: Json) -> Section:
    blocks: list[Table | Plot] = []
    for table in figures["robustness"]:
        blocks.append(Plot(plots.curve(table), f"{table['modality']}: {table['noise']}"))
    return Section(
        "robustness",
        "Robustness to noise",
        "What is asked with is a damaged copy of something remembered. Left: whether it still "
        "finds itself, and what means the same in another modality (dotted: chance). Right: what "
        "is made of the memory that it recalls, beside the undamaged original; log-mel is a "
        "distance. The noise levels start at none.",
        blocks,
    )


def _dropped(figures: Json) -> Section:
    rows = []
    for row in figures["dropped"]:
        made = row.get("made", {})
        rows.append(
            {
                "sought": row["sought"],
                "given": " + ".join(row["given"]),
                "queries": row["queries"],
                "R@10": row["recall_at_10"],
                "chance@10": row["chance"],
                "made: R@10": made.get("recall_at_10"),
                "made: cosine": made.get("cosine"),
            }
        )
    columns = ("sought", "given", "queries", "R@10", "chance@10", "made: R@10", "made: cosine")
    return Section(
        "dropped",
        "Modalities left out",
        "Each modality sought, and made, from every subset of the two others.",
        [rows_of(rows, columns, words=2)] if rows else [],
    )


def _consistency(figures: Json) -> Section:
    rows = []
    for row in figures["consistency"]:
        output = row["task"].split(" -> ")[1]
        name = {"image": "ssim", "audio": "log_mel", "text": "cosine"}[output]
        rows.append(
            {
                "what": row["task"],
                "creativity": row["creativity"],
                "inputs": row["inputs"],
                "same bytes, one seed": row["equal_bytes_with_one_seed"],
                "measure": COLUMNS[name],
                "sd, one seed": row["deviation_with_one_seed"][name],
                "sd over seeds": row["deviation_over_seeds"][name],
                "diversity (1 - cosine)": row["diversity"],
                "difference": row["difference"],
                "difference is": row["difference_is"],
            }
        )
    columns = list(rows[0]) if rows else []
    return Section(
        "consistency",
        "Consistency and diversity",
        "The same input again: with one seed every byte is to be the same; over seeds the "
        "measure's standard deviation stands beside how much the results differ, since a "
        "generator that always made the same would be the steadiest.",
        [rows_of(rows, columns)] if rows else [],
    )


def _memorisation(figures: Json) -> Section:
    blocks: list[Table | Plot] = []
    for table in figures["memorisation"]:
        rows = [
            {
                table["task"]: row["what"],
                "nearest memory": row.get("to_memory"),
                "copies": row.get("copies_of_memory"),
                "nearest training item": row.get("to_training"),
                "copies of training": row.get("copies_of_training"),
            }
            for row in table["rows"]
        ]
        blocks.append(rows_of(rows, list(rows[0])))
    items = max((t["training_items"] for t in figures["memorisation"]), default=0)
    return Section(
        "memorisation",
        "Is it only copied?",
        "Cosine to the nearest memory that it was made from, and to the nearest item of the "
        f"training, of which {items or 'none'} are at hand (those that mean the same passed over); "
        "“copies”: the share from .95. Real things show how near the training comes by itself.",
        blocks,
    )


def _generalisation(figures: Json) -> Section:
    blocks: list[Table | Plot] = []
    crossed = [
        {
            "from": row["modality"],
            "pairs": row["pairs"],
            "folds": row["folds"],
            "as served, R@10": row["served"],
            "mapped, R@10": row["mapped"],
            "difference": row["difference"],
            "chance": row["chance"],
        }
        for row in figures["cross_validation"]
    ]
    if crossed:
        blocks.append(rows_of(crossed, list(crossed[0])))
    classified = [
        {
            "classifier from": row["modality"],
            "of": ", ".join(row["values"]),
            "cases": row["cases"],
            "accuracy": row["accuracy"],
            "most common value": row["most_common"],
        }
        for row in figures["classification"]
    ]
    if classified:
        blocks.append(rows_of(classified, list(classified[0])))
    moved = [
        {
            "from": row["modality"],
            "tested on": row["target"],
            "cases": row["cases"],
            "as served, R@10": row["served"],
            "trained on": source,
            "mapped, R@10": value,
            "chance": row["chance"],
        }
        for row in figures["transfer"]
        for source, value in row["trained_on"].items()
    ]
    if moved:
        blocks.append(rows_of(moved, list(moved[0])))
    return Section(
        "generalisation",
        "Cross-validation and transfer",
        "A linear map to the texts, fitted by ridge regression on all folds but one and tried on "
        "that one; a classifier of the metadata field "
        f"“{figures['field']}”; and the map fitted on one of its values, tried on another. Mean ± "
        "standard deviation over folds. Cases that mean the same are never on both sides.",
        blocks,
    )


def _efficiency(figures: Json) -> Section:
    found = figures["efficiency"]
    blocks: list[Table | Plot] = []
    stages = ("total", *efficiency.STAGES)
    if found["latency"]:
        blocks.append(Plot(plots.latency(found["latency"], efficiency.STAGES), "Latency by stage"))
        blocks.append(
            Table(
                ["ms, median (95 %)", *stages],
                [
                    [
                        Cell(row["task"]),
                        *(
                            Cell(number(s["median_ms"]), f"({number(s['p95_ms'])})")
                            for s in (row["stages"][name] for name in stages)
                        ),
                    ]
                    for row in found["latency"]
                ],
            )
        )
    if found["encoders"]:
        rows = [
            {
                "encoder": r["modality"],
                "items": r["items"],
                "ms": r["median_ms"],
                "95 %": r["p95_ms"],
            }
            for r in found["encoders"]
        ]
        blocks.append(rows_of(rows, list(rows[0])))
    if found["training"]:
        rows = [
            {
                "an epoch of": f"{row['modality']} {row['network']}",
                "device": row["device"],
                "items": row["items"],
                "steps": row["steps"],
                "seconds": row["seconds"],
                "items/s": row["items"] / row["seconds"],
            }
            for row in found["training"]
        ]
        blocks.append(rows_of(rows, list(rows[0])))
    machine = found["machine"]
    return Section(
        "efficiency",
        "Time",
        f"{machine['system']} {machine['processor']}, {machine['cores']} cores, "
        f"{found['threads']} thread(s) a request; whatever else ran then has its share in it. "
        "Requests are those of the service, from the stored query to the rendered result. "
        "Training: one epoch over a few cases, by copies of the networks that are thrown away.",
        blocks,
    )
