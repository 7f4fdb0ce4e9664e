"""Forgetting, as the API takes and answers it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from memory_service.api.schemas import Strict
from memory_service.records import Forgotten, Manner, NamespaceCounts

DESCENDANTS = (
    "What becomes of generations made from it: `mark` says in their record that it was deleted, "
    "`erase` deletes them, too."
)
WAIT = (
    "Answer when no file has anything of it: neither the write-ahead log, nor unused parts of the "
    "catalog's pages, which is rewritten if need be."
)
PROBE = "Search for it by its own vectors before and after, and look into every table and file."
KEEP_RECEIPT = "false: the receipt is answered, and kept nowhere. It holds hashes of the contents."


def _manner(
    descendants: Annotated[Literal["mark", "erase"], Query(description=DESCENDANTS)] = "mark",
    wait: Annotated[bool, Query(description=WAIT)] = False,
    probe: Annotated[bool, Query(description=PROBE)] = False,
    keep_receipt: Annotated[bool, Query(description=KEEP_RECEIPT)] = True,
) -> Manner:
    return Manner(descendants, wait, probe, keep_receipt)


HowParameters = Annotated[Manner, Depends(_manner)]


class ForgetRequest(Strict):
    """Which memories of one namespace are to be forgotten, and how many these are."""

    namespace: str = Field("default", examples=["default"])
    filter: dict[str, Any] | None = Field(None, examples=[{"place": "farm"}])
    modality: str | None = Field(None, description="Default: all.", examples=["text"])
    all: bool = Field(False, description="Every memory of the namespace; then without a filter.")
    dry_run: bool = Field(False, description="Only count them.")
    expected: int | None = Field(
        None, ge=0, description="How many there are, as a dry run says; else nothing is forgotten."
    )
    descendants: Literal["mark", "erase"] = Field("mark", description=DESCENDANTS)
    wait: bool = Field(False, description=WAIT)
    probe: bool = Field(False, description=PROBE)
    keep_receipt: bool = Field(True, description=KEEP_RECEIPT)

    def manner(self) -> Manner:
        return Manner(self.descendants, self.wait, self.probe, self.keep_receipt)


class ProbeOut(BaseModel):
    """What was found of the memories, at most 256 of each transaction, before and after."""

    memories: int
    searches: int = Field(description="By a memory's own vector, one for each space searched.")
    found_before: int = Field(description="Searches that found it.")
    found_after: int
    index_entries: int = Field(description="Left in the indexes.")
    rows: dict[str, int] = Field(description="Left in the tables of the catalog.")
    contents: int = Field(description="Left on the disk, those of other memories not counted.")
    absent: bool = Field(description="Nothing was found afterwards, anywhere.")


class ReceiptOut(BaseModel):
    """What is gone, and from where. Without content; hashes tell who guesses it that it was there.

    Lists name at most 10,000; the counts in `removed` are whole.
    """

    id: str
    time: float = Field(description="Unix seconds.")
    what: str = Field(examples=["memory", "episode", "filter", "namespace", "generation"])
    namespace: str
    memory_ids: list[str] = Field(description="Prototypes that went along among them.")
    episode_ids: list[str] = Field(description="Episodes that have no memory left.")
    contents: list[str] = Field(description="SHA-256 of the contents.")
    blobs_removed: list[str] = Field(
        description="Those whose bytes are gone; the others belong to other memories, too."
    )
    removed: dict[str, int] = Field(
        description="How many memories, vectors, index_entries, blobs, thumbnails, generations ..."
    )
    generations_marked: list[str]
    generations_erased: list[str]
    kept: bool = Field(description="Can be read again: GET /receipts/{receipt_id}.")
    complete: bool = Field(description="false: it was interrupted after what is told here.")
    clean: bool = Field(
        description="Nothing is left in any file, as `wait` sees to; otherwise the log "
        "will be clean within a minute."
    )
    probe: ProbeOut | None


class DryRunOut(BaseModel):
    """Nothing was forgotten."""

    dry_run: Literal[True] = True
    expected: int = Field(description="How many memories there are.")


class NamespaceOut(BaseModel):
    namespace: str
    memories: int
    by_modality: dict[str, int]
    episodes: int
    generations: int
    prototypes: int = Field(description="Not counted as memories.")
    content_bytes: int


class NamespacesOut(BaseModel):
    namespaces: list[NamespaceOut]


MOST_LISTED = 10_000


def receipt(record: Forgotten) -> ReceiptOut:
    values = {
        name: value[:MOST_LISTED] if isinstance(value, tuple) else value
        for name, value in asdict(record).items()
    }
    return ReceiptOut.model_validate(values)


def namespace(record: NamespaceCounts) -> NamespaceOut:
    return NamespaceOut.model_validate(asdict(record))
