"""What the page says of the ladders: what was to be reached, the order, each task's rows, and of
the memory swap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memory_service.services.evaluation import ladder, plots
from memory_service.services.evaluation.blocks import (
    KINDS,
    NAMES,
    Cell,
    Json,
    Plot,
    Section,
    Table,
    interval,
    number,
    rows_of,
)
from memory_service.services.evaluation.novelty import COPY_BELOW, SAME
from memory_service.services.evaluation.targets import FEWEST, MET, MISSED, UNDECIDED
from memory_service.services.likeness import MEASURES as MEDIA

# What tells whether a thing is right, and apart from it what it is like.
RIGHT = (
    "recall_at_1", "recall_at_10", "judge_recall_at_10", "meaning_recall_at_10", "cosine", "cider",
    "novelty", "media_novelty", "novel",
)  # fmt: skip
LIKE = (
    "ssim", "psnr_db", "log_mel", "mse", "snr_db", "judge_cosine", "meaning_cosine", "to_memory",
    "to_shown", "quoted", "distinct_1", "distinct_2", "kid", "meaning_kid", "mmd", "precision",
    "recall", "density", "coverage",
)  # fmt: skip
VERDICTS = (MET, UNDECIDED, MISSED)
MARKS = {MET: "met", UNDECIDED: "undecided", MISSED: "missed"}
SIGNS = {"at least": "≥", "at most": "≤", "above": ">"}


def tiles(figures: Json) -> list[tuple[str, str, str]]:
    """(figure, what it is, beside what) for the top of the page."""
    found = []
    for table in figures["ladders"]:
        rows = {row["what"]: row for row in table["rows"]}
        name = table["headline"]
        own, retrieved = (rows.get(ladder.Rung(m).name) for m in ("own", "retrieved"))
        copy = rows.get(ladder.COPY)
        if own is None or retrieved is None or copy is None or name not in own:
            continue
        beside = f"own memory {number(own[name]['mean'])}, copying {number(copy[name]['mean'])}"
        if name in table["chance"]:
            beside += f", chance {number(table['chance'][name])}"
        value = retrieved[name]
        label = f"{table['task']}: {NAMES[name]} of what is imagined, {interval(value)}"
        found.append((number(value["mean"]), f"{label}, n = {value['n']}", beside))
    return found


def tally(rows: Sequence[Json]) -> str:
    """How many are met, undecided, and not met."""
    counts = {each: sum(row["verdict"] == each for row in rows) for each in VERDICTS}
    return ", ".join(f"{count} {each}" for each, count in counts.items())


def asked(row: Json) -> str:
    """What was to be reached, in words."""
    sign, name = SIGNS[row["sense"]], NAMES.get(row["measure"], row["measure"])
    if row["beside"] is None:
        return f"{name} {sign} {row['value']:g}"
    if row["ratio"]:
        return f"{name} {sign} {row['value']:g} times that of {row['beside']}"
    return f"{name} {sign} that of {row['beside']}"


def reached(row: Json) -> str:
    """The figures that a verdict is of: both sides, or the ratio with them."""
    sides = " beside ".join(number(value) for value in row["of"])
    if row["ratio"]:
        return f"{number(row['estimate']['mean'])} times ({sides})"
    return sides


def reason(row: Json) -> str:
    """The verdict, and where it is too few queries that leave it open, that."""
    return f"{row['verdict']}: {row['why']}" if row.get("why") else str(row["verdict"])


def asked_for(figures: Json) -> list[Json]:
    """All that was to be reached, latencies last."""
    return [*figures["targets"], *figures["efficiency"]["targets"]]


def targets(figures: Json) -> Section | None:
    rows = asked_for(figures)
    if not rows:
        return None
    unseen = [row["unseen"] for row in rows if "unseen" in row]
    columns = ["what", "asked", *JUDGED]
    cells = [[Cell(row["title"], row["row"]), Cell(asked(row)), *_judged(row)] for row in rows]
    if unseen:
        columns += JUDGED
        cells = [
            [*line, *(_judged({**row, **row["unseen"]}) if "unseen" in row else [Cell("-")] * 3)]
            for line, row in zip(cells, rows, strict=True)
        ]
    return Section(
        "targets",
        "What was to be reached",
        f"Of {len(rows)} rungs: {tally(rows)}"
        + (f"; of {len(unseen)} by unseen concepts alone: {tally(unseen)}. " if unseen else ". ")
        + "Met: the estimate is on the right side, and all of its interval. Undecided: the "
        f"estimate is, but the interval reaches to the wrong side; or it is of fewer than {FEWEST} "
        "queries, whichever side it is on. Not met: the estimate is on the wrong side, however "
        "near. Hits that are the same of all queries have Wilson's interval. Beside another row, "
        "the estimate is the difference of the same queries (paired bootstrap). Latencies are of "
        "this run, whatever else the machine did.",
        [
            Table(
                columns,
                cells,
                words=2,
                groups=(("", 2), ("all", 3), ("unseen concepts", 3)) if unseen else (),
            )
        ],
    )


JUDGED = ("reached", "estimate", "verdict")


def _judged(row: Json) -> list[Cell]:
    found, value = row["verdict"], row["estimate"]
    return [
        Cell(reached(row)),
        Cell(number(value["mean"]), f"{interval(value)}; n = {value['n']}"),
        Cell(found, row.get("why", ""), MARKS[found]),
    ]


def order(figures: Json) -> Section | None:
    """The order that was asked for, step by step and judge by judge."""
    rows = figures["order"]
    if not rows:
        return None
    cells = []
    for row in rows:
        few = row.get("unseen")
        cells.append(
            [
                Cell(f"{row['row']} {SIGNS[row['sense']]} {row['beside']}", row["task"]),
                Cell(NAMES[row["measure"]]),
                *_judged(row),
                *(
                    [Cell(few["verdict"], few["why"], MARKS[few["verdict"]])]
                    if few
                    else [Cell("-")]
                ),
            ]
        )
    return Section(
        "order",
        "The order of the ladder",
        "Each rung beside the next one of the order that was asked for, by the same queries: "
        f"{tally(rows)}. Where the judges, which no loss has seen, see it otherwise than the "
        "encoder, believe the judges.",
        [Table(["step", "measure", *JUDGED, "unseen alone"], cells, words=2)],
    )


def ladders(figures: Json) -> Iterator[Section]:
    for table in figures["ladders"]:
        query, output = table["task"].split(" -> ")
        chance = ", ".join(
            f"{NAMES[name]} {number(value)}" for name, value in table["chance"].items()
        )
        meaning = (
            " By meaning: a network that has a part in nothing else does the same."
            if "meaning_recall_at_10" in table["chance"]
            else ""
        )
        yield Section(
            f"ladder-{query}-{output}",
            f"{KINDS[output]}, asked by {query}",
            f"{table['queries']} queries ({table['unseen_queries']} of them known to be of "
            f"concepts that no training saw), {len(table['seeds'])} seed(s), {table['candidates']} "
            f"candidates. By chance: {chance}. Own: the target is in memory. Retrieved: it is held "
            "back, with all that means the same. R@k: encoded again, what was made finds its "
            "target's text among all texts. By form: a judge without learned weights looks for the "
            f"target itself among all items.{meaning} Novelty: 1 less the cosine to the nearest "
            "memory that it was made from, or to that at the generator's size and through its "
            "autoencoder, whichever is nearer: blur is not novelty. As media: the distance to the "
            f"most alike memory ({MEDIA[output]}). No copy: the share whose novelty is "
            f"{1 - SAME:.2f} and, as media, {COPY_BELOW[output]:g} at least."
            + _spread(table, output),
            [
                Plot(plots.ladder(table, ladder.ORDER), f"Ladder of {table['task']}"),
                rows_of(
                    table["rows"], ("what", *RIGHT), ladder.ORDER, caption="Is it the right thing?"
                ),
                rows_of(table["rows"], ("what", *LIKE), ladder.ORDER, caption="What is it like?"),
            ],
        )


def _spread(table: Json, output: str) -> str:
    """What there is to say of precision, recall, density and coverage."""
    if output == "text":
        return (
            " CIDEr: how far the words are those of the target (0 to 10). Quoted: share that has "
            "the words of a text that it was made from."
        )
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


def swap(figures: Json) -> Section | None:
    if not figures["swap"]:
        return None
    rows = [
        {"creativity": f"{row['creativity']:g}", "share taken": row["share"]}
        for row in figures["swap"]
    ]
    return Section(
        "swap",
        "Memory swap",
        "The same queries and seed with another memory in its place, and nothing trained between: "
        "prints of the same pictures, blue or brown. Told is the share of the memories' difference "
        "in tint that is between the pictures made from them: 1 all of it, 0 none.",
        [rows_of(rows, tuple(rows[0]))],
    )


def terminal(figures: Json) -> list[Json]:
    """What was to be reached, for a narrow table."""
    return [
        {
            "what was to be reached": row["title"],
            "asked": asked(row),
            "reached": reached(row),
            "95 %": interval(row["estimate"]),
            "n": str(row["estimate"]["n"]),
            "verdict": reason(row),
            **({"unseen": row["unseen"]["verdict"]} if "unseen" in row else {}),
        }
        for row in asked_for(figures)
    ]
