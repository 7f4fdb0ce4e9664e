"""Forgetting, as the API takes and answers it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from memory_service.access import Caller
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
    """What was found of the memories, of many the first 1,024, before and after."""

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

    Lists name the first 10,000; the counts in `removed`, and `digest`, are of all.
    """

    id: str
    time: float = Field(description="Unix seconds.")
    what: str = Field(examples=["memory", "episode", "filter", "namespace", "generation"])
    namespace: str
    memory_ids: list[str] = Field(description="Prototypes that went along among them.")
    episode_ids: list[str] = Field(description="Episodes that have no memory left.")
    contents: list[str] = Field(description="SHA-256 of the contents.")
    blobs_removed: list[str] = Field(
        description="Those whose bytes are gone; the others belong to other memories, too. Keys "
        "that are bound to namespaces are not told, nor in `removed`: it says what others have."
    )
    removed: dict[str, int] = Field(
        description="How many memories, vectors, index_entries, blobs, thumbnails, generations ..."
    )
    generations_marked: list[str]
    generations_erased: list[str]
    kept: bool = Field(description="Can be read again: GET /receipts/{receipt_id}.")
    complete: bool = Field(
        description="false: it goes on, or was interrupted after what is told here."
    )
    clean: bool = Field(
        description="Nothing is left in any file, as `wait` sees to; otherwise the log "
        "will be clean within a minute."
    )
    probe: ProbeOut | None
    digest: str | None = Field(
        description="Sum, modulo 2^256, of the SHA-256 of `ID SHA256` of all memories: id and "
        "SHA-256 of the content, with a space between. null: of an earlier version."
    )
    job: str | None = Field(description="That forgets it, or did: GET /jobs/{job}.")
    damaged: list[str] = Field(
        description="What was not as it had been stored, so that it could not be verified: `ID "
        "KIND`, as fsck calls it. Contents that are files are looked at by their size, or with "
        "`probe`, those of the first memories, by their hash."
    )


class ReceiptSummary(BaseModel):
    """A receipt without its lists."""

    id: str
    time: float = Field(description="Unix seconds.")
    what: str
    namespace: str
    removed: dict[str, int]
    complete: bool
    clean: bool
    digest: str | None
    job: str | None


class ReceiptsOut(BaseModel):
    receipts: list[ReceiptSummary]
    next: str | None = Field(description="`before` of the next page; null: that was all.")


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


# Whether the bytes of a content are gone says whether another namespace has the same.
OF_ALL = ("blobs", "thumbnails", "quarantined")


def receipt(record: Forgotten, caller: Caller) -> ReceiptOut:
    return ReceiptOut.model_validate(_told(record, caller))


def summary(record: Forgotten, caller: Caller) -> ReceiptSummary:
    told = _told(record, caller)
    return ReceiptSummary(**{name: told[name] for name in ReceiptSummary.model_fields})


def _told(record: Forgotten, caller: Caller) -> dict[str, Any]:
    values = dict(vars(record))
    if caller.namespaces is not None:
        values["blobs_removed"] = ()
        values["removed"] = {k: v for k, v in record.removed.items() if k not in OF_ALL}
    return values


def namespace(record: NamespaceCounts) -> NamespaceOut:
    return NamespaceOut.model_validate(asdict(record))
