"""Generators from elsewhere, by name: pipelines of a hub or a folder, and a chat endpoint.

`unclip:NAME` makes pictures, `audioldm:NAME` sounds (NAME: `owner/name` of the hub, or
`local-dir:folder`), `chat:MODEL` texts. torch and diffusers are imported when a pipeline is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from encoders.base import Modality, Space
from encoders.errors import UnknownName
from generator.base import Generator


@dataclass(frozen=True)
class ChatEndpoint:
    """`base_url` as OpenAI's clients take it, with `/v1`."""

    base_url: str = ""
    api_key: str = ""
    timeout_s: float = 60.0


@dataclass(frozen=True)
class _Order:
    name: str
    space: Space
    steps: int
    chat: ChatEndpoint


def open_backends(
    choices: Mapping[Modality, str],
    spaces: Mapping[Modality, Space],
    *,
    steps: int = 20,
    chat: ChatEndpoint | None = None,
) -> dict[Modality, Generator]:
    """By modality, the generator that was chosen for it; modalities with the choice `none` are left
    out. `spaces`: that which each modality's vectors live in. `steps`: of diffusion.

    Raises UnknownName for another kind, or a modality without a space, and ModelUnavailable when
    weights cannot be had or take other vectors.
    """
    opened = {}
    for modality, choice in choices.items():
        if choice in ("", "none"):
            continue
        kind, _, name = choice.partition(":")
        known = _KINDS[modality]
        if kind not in known or not name:
            accepted = ", ".join(f"{each}:NAME" for each in known)
            raise UnknownName(f"no generator {choice!r} for {modality}; there is: {accepted}")
        if modality not in spaces:
            raise UnknownName(
                f"{choice!r} needs vectors of modality {modality}, which the profile has not"
            )
        order = _Order(name, spaces[modality], steps, chat or ChatEndpoint())
        opened[modality] = known[kind](order)
    return opened


def _unclip(order: _Order) -> Generator:
    from generator.unclip import UnclipGenerator

    return UnclipGenerator.open(order.name, order.space, order.steps)


def _audioldm(order: _Order) -> Generator:
    from generator.audioldm import AudioLdmGenerator

    return AudioLdmGenerator.open(order.name, order.space, order.steps)


def _chat(order: _Order) -> Generator:
    from generator.chat import ChatGenerator

    if not order.chat.base_url.startswith(("http://", "https://")):
        raise UnknownName(
            f"chat:{order.name} needs the address of its endpoint, http(s)://.../v1, "
            f"not {order.chat.base_url!r}"
        )
    return ChatGenerator(
        order.chat.base_url,
        order.name,
        space_id=order.space.id,
        api_key=order.chat.api_key,
        timeout_s=order.chat.timeout_s,
    )


_KINDS: Mapping[Modality, Mapping[str, Callable[[_Order], Generator]]] = {
    "image": {"unclip": _unclip},
    "text": {"chat": _chat},
    "audio": {"audioldm": _audioldm},
}
