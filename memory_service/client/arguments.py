"""What the client's calls take, and how media become parts of a request.

`str` means the text itself where a text is asked for, and the path of a file where a picture or a
sound is; `Path` is always a file, `bytes` always the content. A modality takes one or several.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt

Media = bytes | Path | str
Several = Media | Sequence[Media]
Upload = tuple[str, tuple[str, bytes, str]]  # modality, (file name, content, media type)


class MediaArguments(TypedDict, total=False):
    """`media` takes those of modalities that a service has besides, by name."""

    image: Several | None
    text: Several | None
    audio: Several | None
    sensor: Several | None
    media: Mapping[str, Several | None] | None


class StoreArguments(MediaArguments, total=False):
    """`if_duplicate="skip"` stores nothing when an episode with the same contents exists.

    `expires_at` (Unix seconds) or `ttl_s` (from now): when it is forgotten by itself. `vectors`
    has, by modality, the vectors of its items, (D,) or (N, D), which are then not encoded; `spaces`
    names the space that they are of, one for all or by modality.
    """

    vectors: Mapping[str, npt.ArrayLike]
    spaces: str | Mapping[str, str]
    idempotency_key: str | None  # the same store with the same key is done once

    namespace: str
    metadata: Mapping[str, Any] | None
    if_duplicate: Literal["keep", "skip"]
    expires_at: float | None
    ttl_s: float | None


class EmbedArguments(MediaArguments, total=False):
    """`space`: the id of the space; by default the home of each modality."""

    space: str | None


class QueryArguments(MediaArguments, total=False):
    """The parts of a query, any of them; `weights` by modality (or "vector"), 1 by default.

    `vector` is one of the service's own space, shape (D,); `space` is the id of that space, where
    several have D dimensions. The three weights say what else than likeness a ranking goes by;
    with `reinforce=False` it leaves no trace. What is left out, or None, takes the default of the
    service.
    """

    vector: npt.ArrayLike | None
    space: str | None
    weights: Mapping[str, float]
    namespace: str | None
    mode: Literal["direct", "associative", "auto"] | None
    k: int | None
    filter: Mapping[str, Any] | None
    context_weight: float | None
    recency_weight: float | None
    strength_weight: float | None
    reinforce: bool | None


class RetrieveArguments(QueryArguments, total=False):
    modalities: Sequence[str] | None


class GenerateArguments(QueryArguments, total=False):
    """`output`: one modality or several; `creativity` in [0, 1].

    `text_mode`: "caption", "tags" or "answer"; `audio_mode`: "sound" or "speech", the text read
    aloud.
    What is more similar to a memory than `max_similarity` (a cosine) is drawn again; of
    `candidates` (1 to 8) the best one is kept; `explain` measures what each memory did.
    """

    output: str | Sequence[str]
    creativity: float | None
    seed: int | None
    fusion: Literal["sum", "weighted", "attention", "learned"] | None
    text_mode: Literal["caption", "tags", "answer"] | None
    audio_mode: Literal["sound", "speech"] | None
    max_similarity: float | None
    candidates: int | None
    explain: bool | None
    idempotency_key: str | None  # the same generation with the same key is made once


class ForgetArguments(TypedDict, total=False):
    """`descendants`: generations made from what is forgotten are marked, or erased with it. `wait`
    until nothing is left in the write-ahead log, either. `probe`: look for it before and after.
    With `keep_receipt=False` the receipt is answered, and kept nowhere."""

    descendants: Literal["mark", "erase"]
    wait: bool
    probe: bool
    keep_receipt: bool


def require_known(arguments: Mapping[str, Any], accepted: type[Any]) -> None:
    """A misspelt argument is an error, not a default: raises TypeError, as a function would."""
    unknown = sorted(set(arguments) - set(accepted.__annotations__))
    if unknown:
        known = ", ".join(accepted.__annotations__)
        raise TypeError(f"unknown argument {', '.join(unknown)}; there are: {known}")


def media_of(arguments: Mapping[str, Any]) -> dict[str, Several | None]:
    """What is given of each modality, by name. Raises TypeError for one that is given twice."""
    named: dict[str, Several | None] = {
        name: arguments.get(name) for name in MediaArguments.__annotations__ if name != "media"
    }
    more = arguments.get("media") or {}
    twice = [name for name in more if named.get(name) is not None]
    if twice:
        raise TypeError(f"given twice: {', '.join(twice)}")
    return {**named, **more}


def uploads(arguments: Mapping[str, Any]) -> list[Upload]:
    """Multipart files of a store. The service looks at the content, so no type is declared."""
    return [
        (modality, (name, content, "application/octet-stream"))
        for modality, given in media_of(arguments).items()
        for name, content in _contents(modality, given)
    ]


def store_body(given: Mapping[str, Any]) -> dict[str, Any]:
    """A store as JSON, of which the items carry their media and vectors in base64."""
    vectors = given.get("vectors") or {}
    media = media_of(given)
    if idle := [name for name in vectors if media.get(name) is None]:
        raise ValueError(f"vectors of what is not stored: {', '.join(idle)}")
    items: list[dict[str, Any]] = []
    for modality, value in media.items():
        contents = [content for _, content in _contents(modality, value)]
        packed = _packed(modality, contents, given) if modality in vectors else [{}] * len(contents)
        for content, vector in zip(contents, packed, strict=True):
            items.append({"modality": modality, **_content(modality, content), **vector})
    return {"items": items, **store_options(given)}


def _packed(
    modality: str, contents: Sequence[bytes], given: Mapping[str, Any]
) -> list[dict[str, str]]:
    """The vector of each item, and its space if that is named."""
    rows = np.atleast_2d(np.asarray(given["vectors"][modality], dtype="<f4"))
    if len(rows) != len(contents):
        raise ValueError(f"{len(contents)} of {modality} are stored, with {len(rows)} vectors")
    spaces = given.get("spaces")
    space = spaces if isinstance(spaces, str) or spaces is None else spaces.get(modality)
    named = {} if space is None else {"space": space}
    return [{"vector": _base64(row.tobytes()), **named} for row in rows]


def _content(modality: str, content: bytes) -> dict[str, str]:
    if modality == "text":
        with suppress(UnicodeDecodeError):
            return {"text": content.decode()}
    return {"data": _base64(content)}


def embed_body(given: Mapping[str, Any]) -> dict[str, Any]:
    """In the order of the modalities, as `media_of` has them."""
    items = [
        {"modality": modality, **_content(modality, content)}
        for modality, value in media_of(given).items()
        for _, content in _contents(modality, value)
    ]
    space = given.get("space")
    return {"items": items, **({} if space is None else {"space": space})}


STORE_OPTIONS = (
    "namespace",
    "if_duplicate",
    "expires_at",
    "ttl_s",
    "metadata",
    "idempotency_key",
)


def store_options(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in STORE_OPTIONS if given.get(name) is not None}


def query_parts(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The `query` of a JSON body."""
    weights = arguments.get("weights") or {}
    media = media_of(arguments)
    given = {**media, "vector": arguments.get("vector")}
    idle = [name for name in weights if given.get(name) is None]
    if idle:
        raise ValueError(f"weights of what the query does not have: {', '.join(idle)}")
    parts: list[dict[str, Any]] = []
    for modality, items in media.items():
        for _, content in _contents(modality, items):
            value = content.decode() if modality == "text" else _base64(content)
            parts.append({modality: value, **_weight(weights, modality)})
    vector = arguments.get("vector")
    if vector is not None:
        packed = np.asarray(vector, dtype="<f4").tobytes()
        space = arguments.get("space")
        named = {} if space is None else {"space": space}
        parts.append({"vector": _base64(packed), **named, **_weight(weights, "vector")})
    elif arguments.get("space") is not None:
        raise ValueError("a space is named for a vector, and the query has none")
    return parts


def _weight(weights: Mapping[str, float], part: str) -> dict[str, float]:
    return {"weight": weights[part]} if part in weights else {}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _contents(modality: str, value: Several | None) -> Iterator[tuple[str, bytes]]:
    """(file name, bytes) of each item. Raises OSError for a file that cannot be read."""
    if value is None:
        return
    items: Sequence[Media] = [value] if isinstance(value, bytes | str | Path) else value
    for item in items:
        if isinstance(item, bytes):
            yield modality, item
        elif modality == "text" and isinstance(item, str):
            yield "text.txt", item.encode()
        else:
            path = Path(item)
            yield path.name, path.read_bytes()
