"""Indexes as files, so that a start does not have to build them. Never more than a copy.

Each index has a folder: a manifest, three files for each sealed segment, one more where it has a
graph, and two for what was in blocks. Files have names of their own and are on the disk before a
manifest names them; a manifest takes the place of the one before it in one step. What it does not
name is left by a crash, and removed. A snapshot that is of another format, space, dimension or
catalog, or whose checksums do not hold, is not used. Vectors that came or went since are no concern
of this module.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import re
import shutil
import uuid
import zlib
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from memory_service.storage.blobs import sync_file, sync_folder
from memory_service.storage.vectors.graph import Graph, Walk
from memory_service.storage.vectors.nearest import SubMemory, sequences_of
from memory_service.storage.vectors.parts import Block, Part, block_of
from memory_service.storage.vectors.sealed import Depth, Segment

log = logging.getLogger(__name__)

FORMAT = 1
MANIFEST = "manifest.json"
LEAST_ROWS = 4096  # fewer are read from the catalog as fast
CHECKED_AT_ONCE = 64 * 2**20
CHECKED_TOGETHER = 2  # files; a checksum is computed without the interpreter's lock
_KINDS = r"flat|lists|links|ids\.npy|buffer\.ids\.npy|buffer\.codes\.npy"
_FOLDER = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(rf"[0-9a-f]{{32}}\.({_KINDS})|manifest\.json(\.part)?")


class Unusable(Exception):
    """Why a snapshot is not used."""


@dataclass(frozen=True)
class Opening:
    """Which catalog a snapshot belongs to.

    `token` is this opening's; `last` has, for each token that the catalog knows, the last sequence
    that it gave a memory while it was open. A snapshot that knows a later one is from another
    history: the catalog is a copy that was made before.
    """

    token: str
    last: Mapping[str, int]


class Snapshots:
    """The folder of all snapshots of a store."""

    def __init__(self, folder: Path, opening: Opening) -> None:
        self._folder = folder
        self._opening = opening

    def of(self, sub_memory: SubMemory, dimension: int) -> Snapshot:
        return Snapshot(self._folder / folder_of(sub_memory), sub_memory, dimension, self._opening)

    def keep_only(self, sub_memories: Iterable[SubMemory]) -> None:
        """Remove what is left of indexes that there are no more. What others have put there stays,
        whatever it is."""
        kept = {folder_of(sub_memory) for sub_memory in sub_memories}
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.name not in kept and is_ours(path):
                    with suppress(OSError):
                        remove(path)


def folder_of(sub_memory: SubMemory) -> str:
    key = json.dumps([*asdict(sub_memory).values()])
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def is_ours(path: Path) -> bool:
    """Whether it can only be of an index, or of its snapshot: a file by its name, a folder by its
    own and by all that is in it, for others name folders by 32 hex digits, too."""
    if not _is_folder(path):
        return _FILE.fullmatch(path.name) is not None
    if not _FOLDER.fullmatch(path.name):
        return False
    try:
        return all(_FILE.fullmatch(p.name) and not _is_folder(p) for p in path.iterdir())
    except OSError:  # it may not be read, so nothing is known of what is in it
        return False


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def remove(path: Path) -> None:
    """A folder or a file. Raises OSError."""
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Snapshot:
    """Of one index. Used by one thread at a time."""

    def __init__(
        self, folder: Path, sub_memory: SubMemory, dimension: int, opening: Opening
    ) -> None:
        self.folder = folder
        self._dimension = dimension
        self._opening = opening
        self._of = {**asdict(sub_memory), "dimension": dimension}
        self._checksums: dict[str, int] = {}  # of files that are there: they never change

    # Writing.

    def seal(self, segment: Segment) -> Segment:
        """Write a segment's files; returns the segment as it is mapped from them, or, when they
        cannot be written, as it was."""
        try:
            name = self._write_segment(segment)
            mapped = self._map(name, segment.depth)
        except (OSError, RuntimeError):  # FAISS knows no other error
            log.exception("a segment of an index cannot be written, and stays in memory")
            return segment
        return mapped

    def _write_segment(self, segment: Segment) -> str:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = uuid.uuid4().hex
        paths = self._segment_paths(name)
        faiss.write_index(segment.flat, str(paths[0]))
        faiss.write_index(segment.lists, str(paths[1]))
        np.save(paths[2], segment.ids, allow_pickle=False)
        for path in paths:
            sync_file(path)
        sync_folder(self.folder)
        return name

    def write(self, parts: Iterable[Part]) -> None:
        """Make these parts the snapshot. Raises OSError or RuntimeError."""
        parts = list(parts)
        if sum(part.count for part in parts) < LEAST_ROWS:
            self.delete()
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        segments = []
        for part in parts:
            if isinstance(part, Segment):
                part.stored_as = part.stored_as or self._write_segment(part)
                entry = {"name": part.stored_as, **asdict(part.depth)}
                if (graph := part.graph) is not None:
                    graph.stored_as = graph.stored_as or self._write_graph(graph)
                    entry |= {"graph": asdict(graph.walk), "links": graph.stored_as}
                segments.append(entry)
        buffer = self._write_buffer([part for part in parts if isinstance(part, Block)])
        names = [path.name for each in segments for path in self._segment_paths(each["name"])]
        names += [self._graph_path(each["links"]).name for each in segments if "links" in each]
        names += [path.name for path in self._buffer_paths(buffer)]
        last = max(int(sequences_of(part.ids[: part.count]).max(initial=0)) for part in parts)
        body = {
            "format": FORMAT,
            "of": self._of,
            "opening": self._opening.token,
            "last_sequence": last,
            "segments": segments,
            "buffer": buffer,
            "checksums": {name: self._checksum(name) for name in names},
        }
        self._replace_manifest(body)
        self._remove_others([MANIFEST, *names])

    def _write_graph(self, graph: Graph) -> str:
        """Its name is its own: beside a segment may lie a graph of an earlier version, which the
        manifest names until there is another."""
        name = uuid.uuid4().hex
        path = self._graph_path(name)
        faiss.write_index(graph.index, str(path))
        sync_file(path)
        sync_folder(self.folder)
        return name

    def _write_buffer(self, blocks: Iterable[Block]) -> str | None:
        found = [(block, block.living()) for block in blocks]
        found = [(block, rows) for block, rows in found if len(rows)]
        if not found:
            return None
        name = uuid.uuid4().hex
        ids, codes = self._buffer_paths(name)
        np.save(ids, np.concatenate([block.ids[rows] for block, rows in found]))
        np.save(codes, np.concatenate([block.codes[rows] for block, rows in found]))
        for path in (ids, codes):
            sync_file(path)
        sync_folder(self.folder)
        return name

    def _replace_manifest(self, body: Mapping[str, Any]) -> None:
        text = json.dumps(body)
        part = self.folder / f"{MANIFEST}.part"
        part.write_text(json.dumps({"checksum": zlib.crc32(text.encode()), "body": text}))
        sync_file(part)
        part.replace(self.folder / MANIFEST)
        sync_folder(self.folder)

    def _remove_others(self, names: Collection[str]) -> None:
        for path in self.folder.iterdir():
            if path.name not in names:
                self._checksums.pop(path.name, None)
                path.unlink(missing_ok=True)

    def _checksum(self, name: str) -> int:
        if name not in self._checksums:
            self._checksums[name] = checksum(self.folder / name)
        return self._checksums[name]

    def delete(self) -> None:
        self._checksums.clear()
        if _is_folder(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.folder.unlink(missing_ok=True)

    # Reading.

    def read(self) -> list[Part]:
        """The parts; none where there is no snapshot, or none that can be used."""
        if not os.path.lexists(self.folder):
            return []
        try:
            return self._read()
        except Unusable as error:
            self._give_up(str(error))
        except Exception as error:  # whatever broken files lead NumPy, FAISS and us to
            self._give_up(f"{type(error).__name__}: {error}")
        return []

    def _give_up(self, why: str) -> None:
        log.warning(
            "the snapshot of the index of %s is not used, and the index is built from the"
            " catalog: %s",
            self._of,
            why,
        )
        self.delete()

    def _read(self) -> list[Part]:
        body = self._manifest()
        names = list(body["checksums"])
        for name in names:
            if Path(name).name != name:
                raise Unusable(f"{name} is not in its folder")
        with ThreadPoolExecutor(CHECKED_TOGETHER) as pool:
            for name, found in zip(names, pool.map(self._checksum, names), strict=True):
                if found != body["checksums"][name]:
                    raise Unusable(f"{name} is not as it was written")
        self._remove_others([MANIFEST, *names])
        parts: list[Part] = []
        if not isinstance(body["segments"], list):
            raise Unusable("it has no list of segments")
        for each in body["segments"]:
            depth = Depth(each["lists"], each["candidates"])
            if not all(
                type(count) is int and count > 0 for count in (depth.lists, depth.candidates)
            ):
                raise Unusable(f"it says {depth}")
            segment = self._map(each["name"], depth)
            if "below" in each.get("graph", ()):  # or else it was measured too coarsely
                links = each.get("links", each["name"])  # as it was called in earlier versions
                segment.graph = self._read_graph(links, segment, Walk(**each["graph"]))
                segment.linked = segment.graph is not None
            parts.append(segment)
        if body["buffer"] is not None:
            ids, codes = self._buffer_paths(body["buffer"])
            parts.append(
                block_of(
                    np.load(ids, allow_pickle=False),
                    [np.load(codes, mmap_mode="r", allow_pickle=False)],
                    self._dimension,
                )
            )
        return parts

    def _manifest(self) -> dict[str, Any]:
        try:
            envelope = json.loads((self.folder / MANIFEST).read_text())
        except FileNotFoundError:
            raise Unusable("it has no manifest") from None
        if zlib.crc32(envelope["body"].encode()) != envelope["checksum"]:
            raise Unusable("its manifest is not as it was written")
        body: dict[str, Any] = json.loads(envelope["body"])
        if body["format"] != FORMAT:
            raise Unusable(f"it has format {body['format']}, not {FORMAT}")
        if body["of"] != self._of:
            raise Unusable(f"it is of {body['of']}")
        if body["last_sequence"] > self._opening.last.get(body["opening"], -1):
            raise Unusable("it belongs to another catalog, or the catalog to an earlier time")
        return body

    def _map(self, name: str, depth: Depth) -> Segment:
        """A segment whose vectors stay in their file, and come into memory as they are needed."""
        flat, lists, ids = self._segment_paths(name)
        vectors = faiss.read_index(str(flat), faiss.IO_FLAG_MMAP_IFC)
        codes = faiss.read_index(str(lists))
        if not (
            isinstance(vectors, faiss.IndexScalarQuantizer)
            and isinstance(codes, faiss.IndexIVFRaBitQ)
        ):
            raise Unusable(f"{name} is of another kind")
        # Mapped, but plain: NumPy's own class for it takes several times as long to index.
        mapped = np.asarray(np.load(ids, mmap_mode="r", allow_pickle=False))
        segment = Segment(mapped, vectors, codes, depth)
        if int(segment.flat.ntotal) != segment.count or segment.dimension != self._dimension:
            raise Unusable(f"{name} does not fit together")
        segment.stored_as = name
        return segment

    def _read_graph(self, name: str, segment: Segment, walk: Walk) -> Graph | None:
        """None where it is of an earlier version, whose walks went by the segment's vectors."""
        index = faiss.read_index(str(self._graph_path(name)))
        if not isinstance(index, faiss.IndexHNSW) or int(index.ntotal) != segment.count:
            raise Unusable(f"the graph {name} does not fit")
        if index.storage is None:
            return None
        graph = Graph(index, segment.flat, segment.list_of, walk)
        graph.stored_as = name
        return graph

    def _graph_path(self, name: str) -> Path:
        return self.folder / f"{name}.links"

    def _segment_paths(self, name: str) -> list[Path]:
        return [self.folder / f"{name}.{kind}" for kind in ("flat", "lists", "ids.npy")]

    def _buffer_paths(self, name: str | None) -> list[Path]:
        if name is None:
            return []
        return [self.folder / f"{name}.buffer.{kind}.npy" for kind in ("ids", "codes")]


def checksum(path: Path) -> int:
    """CRC-32 of a file: against broken disks and half-written files, not against malice."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return 0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            value = 0
            with memoryview(content) as view:
                for start in range(0, len(view), CHECKED_AT_ONCE):
                    with view[start : start + CHECKED_AT_ONCE] as piece:
                        value = zlib.crc32(piece, value)
            return value
