"""Files of a model from a hub, kept in its cache, and what is told of them before they are fetched.

The cache is huggingface_hub's own: HF_HOME says where it is, HF_ENDPOINT which hub is asked,
HF_TOKEN who asks, and with HF_HUB_OFFLINE=1 only the cache is used. What the cache holds is taken
as it is, without asking the hub for a newer version: other weights would be another space, and a
store is not to change its space by itself. Knows nothing about models; imports no model library.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, metadata_load, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from encoders.errors import ModelUnavailable, UnknownName

log = logging.getLogger(__name__)

LOCAL = "local-dir:"  # before the folder of a model that is on this disk already
CARD = "README.md"
PIPELINE = "model_index.json"  # of diffusers: names the components, each a folder of its own
TOKENIZER = (  # one of these a tokenizer needs
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
)
TOKENIZER_FILES = (  # and what may lie beside it
    *TOKENIZER,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)

Alternatives = tuple[str, ...]  # names of a file, the best first: one of them is needed


def fetch(repo: str, required: Sequence[Alternatives], optional: Sequence[str] = ()) -> Path:
    """The folder that has the files of `repo` (`owner/name`): from the cache, or else fetched.

    One file of each of the `required` is there then, and of `optional` what the hub has. The last
    of the required is fetched last: while it is missing, the folder is not complete.
    Raises UnknownName when the hub has no such repository, and ModelUnavailable, at once when
    there is no network, when the files cannot be had.
    """
    try:
        if folder := _cached(repo, required):
            return folder
    except HFValidationError as error:
        raise UnknownName(f"{repo!r} is not the name of a model on a hub: {error}") from error
    info = _describe(repo)
    names = _choose(repo, _sizes(info), required, optional)
    return _announced_download(repo, info, names)


def fetch_pipeline(repo: str) -> Path:
    """The folder of a pipeline of diffusers, whole: from the cache, or else fetched.

    Of its weights only safetensors are taken, in the precision that they have no variant for.
    Raises as `fetch` does, and ModelUnavailable where a component has no such weights.
    """
    try:
        found = try_to_load_from_cache(repo, PIPELINE)
    except HFValidationError as error:
        raise UnknownName(f"{repo!r} is not the name of a model on a hub: {error}") from error
    if isinstance(found, str) and not _lacking(Path(found).parent):
        return Path(found).parent
    info = _describe(repo)
    folder = _announced_download(repo, info, _pipeline_files(repo, _sizes(info)))
    if lacking := _lacking(folder):
        raise ModelUnavailable(
            f"{repo} has no safetensors weights of {', '.join(lacking)}: load it where it may be "
            "trusted, `save_pretrained(folder)` it, and give local-dir:folder"
        )
    return folder


def pipeline_index(folder: Path) -> Mapping[str, Any]:
    """What `model_index.json` says; raises ModelUnavailable when it cannot be read."""
    try:
        index = json.loads((folder / PIPELINE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{folder / PIPELINE} cannot be read: {error}") from error
    return index if isinstance(index, dict) else {}


def _lacking(folder: Path) -> list[str]:
    """Components of a pipeline that are not in its folder, or that have a model but no weights."""
    components = [
        name
        for name, kind in pipeline_index(folder).items()
        if isinstance(kind, list) and kind[0] is not None
    ]
    return [
        name
        for name in components
        if not (folder / name).is_dir()
        or ((folder / name / "config.json").is_file() and not _plain_weights(folder / name))
    ]


def _plain_weights(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.safetensors") if not _is_variant(path.name)]


def _is_variant(name: str) -> bool:
    """`model.fp16.safetensors`, and not `model-00001-of-00002.safetensors`."""
    return name.removesuffix(".safetensors").count(".") > 0


def _pipeline_files(repo: str, sizes: Mapping[str, int]) -> list[str]:
    """The index is fetched last: while it is missing, the folder is not complete."""
    if PIPELINE not in sizes:
        raise ModelUnavailable(f"{repo} has no {PIPELINE}: it is no pipeline of diffusers")
    names = [name for name in sizes if len(PurePosixPath(name).parts) == 2]
    wanted = [name for name in names if name.endswith((".json", ".txt", ".model"))]
    weights = [name for name in names if name.endswith(".safetensors") and not _is_variant(name)]
    card = [CARD] if CARD in sizes else []
    return [*card, *sorted(wanted), *sorted(weights), PIPELINE]


def _sizes(info: Any) -> dict[str, int]:
    return {each.rfilename: each.size or 0 for each in info.siblings or ()}


def _announced_download(repo: str, info: Any, names: Sequence[str]) -> Path:
    sizes = _sizes(info)
    log.info(
        "fetching %s: %s, licence %s, into %s",
        repo,
        readable(sum(sizes[name] for name in names)),
        _licence(info.card_data or {}) or "not stated",
        constants.HF_HUB_CACHE,
    )
    return _download(repo, names)


def licence_of(folder: Path) -> str | None:
    """What the model card in the folder states; None when it states none."""
    try:
        return _licence(metadata_load(folder / CARD) or {})
    except (OSError, ValueError):  # no card, or one without readable fields
        return None


def commit_of(folder: Path) -> str | None:
    """The commit of a folder that `fetch` gave; None for any other."""
    return folder.name if folder.parent.name == "snapshots" else None


def find(folder: Path, names: Alternatives) -> Path:
    """The first of the alternatives that is in the folder; raises ModelUnavailable."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ModelUnavailable(f"{folder} holds none of {', '.join(names)}")


def readable(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _cached(repo: str, required: Sequence[Alternatives]) -> Path | None:
    folders = set()
    for names in required:
        found = [try_to_load_from_cache(repo, name) for name in names]
        paths = [Path(path) for path in found if isinstance(path, str)]
        if not paths:
            return None
        folders.add(paths[0].parent)
    return folders.pop() if len(folders) == 1 else None


def _describe(repo: str) -> Any:
    """The hub's record of the repository, in one request that is not repeated.

    huggingface_hub repeats a failed request for each file for half a minute; whether the hub can
    be reached at all is known after this one.
    """
    if constants.HF_HUB_OFFLINE:
        raise ModelUnavailable(
            f"{repo} is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE=1 forbids to "
            f"fetch it. {_ways_out(repo)}"
        )
    try:
        return HfApi().model_info(repo, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except GatedRepoError as error:
        raise ModelUnavailable(
            f"{repo} is gated: accept its terms on the hub, and give your token as HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise UnknownName(
            f"{constants.ENDPOINT} has no model {repo}, or shows it only to those who give their "
            "token as HF_TOKEN"
        ) from error
    except Exception as error:  # of requests, httpx or its successor, by version of the library
        raise ModelUnavailable(
            f"{repo} is not in the cache {constants.HF_HUB_CACHE}, and the hub "
            f"{constants.ENDPOINT} does not answer ({type(error).__name__}: {error}). "
            + _ways_out(repo)
        ) from error


def _ways_out(repo: str) -> str:
    return (
        f"On a machine with a network, `hf download {repo}` fills the cache, which can be copied "
        "(HF_HOME says where it is); or give a local folder or checkpoint file instead."
    )


def _choose(
    repo: str, sizes: Mapping[str, int], required: Sequence[Alternatives], optional: Sequence[str]
) -> list[str]:
    chosen = [name for name in (CARD, *optional) if name in sizes]
    for names in required:
        there = [name for name in names if name in sizes]
        if not there:
            raise ModelUnavailable(f"{repo} has none of {', '.join(names)}")
        chosen.append(there[0])
    last_of_each = dict.fromkeys(reversed(chosen))  # an optional one may be required, too
    return list(reversed(last_of_each))


def _download(repo: str, names: Sequence[str]) -> Path:
    """Fetch with a progress bar on stderr; what was fetched before an interruption is kept."""
    try:
        folders = {_root(hf_hub_download(repo, name), name) for name in names}
    except LocalEntryNotFoundError as error:
        raise ModelUnavailable(f"{repo}: the connection to the hub was lost: {error}") from error
    except Exception as error:  # see above; a full disk, too
        raise ModelUnavailable(
            f"{repo} could not be fetched: {type(error).__name__}: {error}. What has arrived is "
            "kept: start again to go on."
        ) from error
    if len(folders) > 1:
        raise ModelUnavailable(f"{repo} was changed on the hub meanwhile: start again")
    return folders.pop()


def _root(path: str, name: str) -> Path:
    """The folder that a file of this name lies in, or in a folder of."""
    return Path(path).parents[len(PurePosixPath(name).parts) - 1]


def _licence(card: Any) -> str | None:
    """`license`, or `license_name` where that says `other`, of a model card's fields."""
    stated = card.get("license")
    if stated == "other":
        stated = card.get("license_name") or stated
    if isinstance(stated, list):
        stated = ", ".join(map(str, stated))
    return str(stated) if stated else None
