"""What the page says of each part of the figures: its tables, its plots, and how to read them."""

from __future__ import annotations

from memory_service.services.evaluation import efficiency, ladder_sections, plots
from memory_service.services.evaluation.blocks import (
    NAMES,
    Cell,
    Json,
    Plot,
    Section,
    Table,
    number,
    rows_of,
)


def verdicts(figures: Json) -> list[Section]:
    """What stands before all else, where there are figures for it."""
    made = (ladder_sections.targets(figures), ladder_sections.order(figures))
    return [section for section in made if section is not None]


def parts(figures: Json) -> list[Section]:
    """The rest, those that there are figures for."""
    made = [
        *ladder_sections.ladders(figures),
        ladder_sections.swap(figures),
        _recall(figures),
        _robustness(figures),
        _dropped(figures),
        _consistency(figures),
        _memorisation(figures),
        _generalisation(figures),
        _efficiency(figures),
    ]
    return [section for section in made if section is not None and section.blocks]


def _recall(figures: Json) -> Section:
    rows = [
        {
            "what": f"{row['asked']} -> {row['sought']}",
            "of": row["candidates"],
            **{f"R@{k}": row[f"recall_at_{k}"] for k in (1, 5, 10)},
            "chance@10": row["chance_at_10"],
        }
        for row in figures["recall"]
    ]
    columns = ("what", "of", "R@1", "R@5", "R@10", "chance@10")
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
                "R@10": row["recall_at_10"],
                "chance@10": row["chance"],
                "made: R@10": made.get("recall_at_10"),
                "made: cosine": made.get("cosine"),
            }
        )
    columns = ("sought", "given", "R@10", "chance@10", "made: R@10", "made: cosine")
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
                "same bytes, one seed": row["equal_bytes_with_one_seed"],
                "measure": NAMES[name],
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
                "the same, as shown": row.get("to_shown"),
                "novelty": row.get("novelty"),
                "copies by cosine": row.get("copies_of_memory"),
                "as media": row.get("media_novelty"),
                "copies as media": row.get("copies_as_media"),
                "copies by either": row.get("copies"),
                "quoted": row.get("quoted"),
                "nearest training item": row.get("to_training"),
                "copies of training": row.get("copies_of_training"),
            }
            for row in table["rows"]
        ]
        there = [name for name in rows[0] if any(row[name] is not None for row in rows)]
        blocks.append(rows_of(rows, there))
    items = max((t["training_items"] for t in figures["memorisation"]), default=0)
    return Section(
        "memorisation",
        "Is it only copied?",
        "Cosine to the nearest memory that it was made from, to the nearest of these as "
        "shown (at the generator's size, and through its autoencoder), and to the nearest item of "
        "the "
        f"training, of which {items or 'none'} are at hand (those that mean the same passed over); "
        "copies by cosine: the share whose novelty is below .05, or that is as near to the "
        "training. Blurred copies are far from the memory and near to it as shown: both count. As "
        f"media: {_media(figures)}. Quoted: texts "
        "with the very words of a memory. Real things show how near the training comes by itself.",
        blocks,
    )


def _media(figures: Json) -> str:
    """By what the media are compared, and below what a thing is a copy."""
    by = {t["media_measure"]: t["copy_below"] for t in figures["memorisation"]}
    return "; ".join(f"{measure}, a copy below {limit:g}" for measure, limit in by.items())


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
                        Cell(row["task"], f"creativity {row['creativity']:g}"),
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
