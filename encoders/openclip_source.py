"""Where an OpenCLIP model comes from: any of its names becomes files on this disk.

What is not here yet is fetched from the hub (`encoders.hub`); open_clip itself and transformers
then find all they need, and are never let at the network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import encoders.torchvision_import  # noqa: F401 - before open_clip

import open_clip  # isort: skip

from encoders import hub
from encoders.errors import ModelUnavailable, UnknownName
from encoders.hub import LOCAL

HUB = "hf-hub:"
CONFIG = "open_clip_config.json"
# Of weights with several files, safetensors first; pickles are read with weights_only.
CHECKPOINTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class Source:
    """The files of a model. `name` is what open_clip builds it by: built in, or `local-dir:`."""

    name: str
    config: Mapping[str, Any]  # of the two towers
    origin: str  # for people: where the weights come from
    weights: tuple[Path, ...]
    licence: str | None
    checkpoint: Path | None = None  # None: open_clip looks into the folder that `name` says
    tokenizer: Path | None = None  # folder; None: the one that open_clip has for `name`
    overrides: Mapping[str, Any] = field(default_factory=dict)  # further arguments of create_model

    @property
    def folder(self) -> Path | None:
        return Path(self.name.removeprefix(LOCAL)) if self.name.startswith(LOCAL) else None


def locate(name: str, pretrained: str | None) -> Source:
    """The files of `name`; raises UnknownName, or ModelUnavailable when they cannot be had."""
    if name.startswith(LOCAL):
        return _local(Path(name.removeprefix(LOCAL)).resolve())
    if name.startswith(HUB):
        return _from_hub(name.removeprefix(HUB))
    builtin = name.replace("/", "-")
    if builtin not in open_clip.list_models():
        raise UnknownName(
            f"no OpenCLIP model {name!r}; give {HUB}owner/name, {LOCAL}folder, or one of: "
            + ", ".join(open_clip.list_models())
        )
    if tag := open_clip.get_pretrained_cfg(builtin, pretrained or ""):
        return _tagged(builtin, f"{name} ({pretrained})", tag)
    if pretrained and Path(pretrained).is_file():
        return _with_towers(_of_file(builtin, Path(pretrained).resolve()))
    tags = open_clip.list_pretrained_tags_by_model(builtin)
    raise UnknownName(
        f"no weights {pretrained!r} of {name}; give a checkpoint file, or one of: "
        + ", ".join(tags)
    )


def has_schema(name: str) -> bool:
    return name.startswith((LOCAL, HUB))


def _local(folder: Path) -> Source:
    config = _config(folder)
    text_cfg = config["text_cfg"]
    overrides = {}
    if text_cfg.get("hf_model_name", "").startswith("."):
        # open_clip takes the name as it stands: relative to the working directory.
        overrides["text_cfg"] = _offline(text_cfg, (folder / text_cfg["hf_model_name"]).resolve())
    weights = (*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*.pth"))
    return Source(
        name=f"{LOCAL}{folder}",
        config=config,
        origin=str(folder),
        weights=tuple(sorted(weights)),
        licence=hub.licence_of(folder),
        overrides=overrides,
    )


def _from_hub(repo: str) -> Source:
    folder = hub.fetch(repo, ((CONFIG,), CHECKPOINTS), hub.TOKENIZER_FILES)
    weights = hub.find(folder, CHECKPOINTS)
    source = Source(
        name=f"{LOCAL}{folder}",
        config=_config(folder),
        origin=f"{repo} at {hub.commit_of(folder)}",
        weights=(weights,),
        licence=hub.licence_of(folder),
    )
    return _with_towers(source)


def _tagged(builtin: str, label: str, tag: Mapping[str, Any]) -> Source:
    """`tag`: open_clip's record of pretrained weights."""
    repo, _, file = tag.get("hf_hub", "").rpartition("/")
    if not repo:
        raise ModelUnavailable(
            f"the weights of {label} are on no hub: download {tag.get('url')} and give the file"
        )
    names = (f"{Path(file).stem}.safetensors", file) if file else CHECKPOINTS
    folder = hub.fetch(repo, (names,))
    weights = hub.find(folder, names)
    source = Source(
        name=builtin,
        config=_builtin_config(builtin),
        origin=f"{repo} at {hub.commit_of(folder)}",
        weights=(weights,),
        licence=hub.licence_of(folder),
        checkpoint=weights,
        # As open_clip itself does with a tag. But weights trained with QuickGELU get it, where
        # open_clip warns that the built-in model of this name is without.
        overrides={
            "force_preprocess_cfg": dict(tag),
            "force_quick_gelu": bool(tag.get("quick_gelu")),
        },
    )
    return _with_towers(source)


def _of_file(builtin: str, file: Path) -> Source:
    return Source(
        name=builtin,
        config=_builtin_config(builtin),
        origin=str(file),
        weights=(file,),
        licence=hub.licence_of(file.parent),
        checkpoint=file,
    )


def _with_towers(source: Source) -> Source:
    """With the configuration and tokenizer of a text tower that lies in another repository."""
    text_cfg = source.config["text_cfg"]
    overrides = dict(source.overrides)
    if tower := text_cfg.get("hf_model_name"):
        folder = hub.fetch(tower, (("config.json",),), hub.TOKENIZER_FILES)
        overrides["text_cfg"] = _offline(text_cfg, folder)
    tokenizer = None
    if named := text_cfg.get("hf_tokenizer_name"):
        tokenizer = hub.fetch(named, (hub.TOKENIZER,), hub.TOKENIZER_FILES)
    return replace(source, tokenizer=tokenizer, overrides=overrides)


def _offline(text_cfg: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The tower's configuration from a folder; its weights come with the model's own."""
    return {**text_cfg, "hf_model_name": str(folder), "hf_model_pretrained": False}


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise UnknownName(f"{folder} holds no {CONFIG}")
    try:
        config: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        _ = config["text_cfg"], config["vision_cfg"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(f"{path} is no configuration of OpenCLIP: {error!r}") from error
    return config


def _builtin_config(builtin: str) -> Mapping[str, Any]:
    config: Mapping[str, Any] = open_clip.get_model_config(builtin)
    return config
