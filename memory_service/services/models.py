"""The models that services work with, whichever the profile: encoders, calibration, generators.

Turns what the decoders complain about into the service's own errors.
"""

from __future__ import annotations

import shlex
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from encoders.base import Encoder, Modality, Space, Weights
from encoders.media import Decoded, Limits, MediaError
from generator.base import Generator, Unavailable
from generator.errors import BackendFailed
from memory_service.decoding import Decoders, InProcess
from memory_service.errors import (
    GeneratorFailed,
    InvalidMedia,
    MemoryServiceError,
    ModalityUnavailable,
    SpaceMismatch,
    TooLarge,
    UnsupportedMedia,
)
from memory_service.services import checks
from memory_service.storage.spaces import SpaceKey
from memory_service.storage.store import Store

_ERRORS: Mapping[str, type[MemoryServiceError]] = {
    "unsupported_media": UnsupportedMedia,
    "invalid_media": InvalidMedia,
    "too_large": TooLarge,
}


class Calibration(Protocol):
    def score(self, cosine: Any, query_modality: str | None, memory_modality: str) -> Any:
        """Score in [0, 1], rising with the cosine: a float, or an array (N,) for an array."""


NO_LIMITS = Limits(
    max_pixels=sys.maxsize, max_audio_s=1e9, max_text_chars=sys.maxsize, trusted=True
)


@dataclass(frozen=True)
class Models:
    """`encoders` are the main ones: the space of each is the home of its modality. `further` are
    of modalities that live in several spaces; their memories have a vector in each of them.

    `generator_space` is the space of the vectors that the generators are conditioned on, but for
    those modalities that have another in `generator_spaces`. `modes` are further ways to make a
    modality, by name; that of `generators` is the default.
    """

    profile: str
    encoders: Mapping[Modality, Encoder]
    calibration: Calibration
    generators: Mapping[Modality, Generator] = field(default_factory=dict)
    generator_space: Space | None = None
    generator_spaces: Mapping[Modality, Space] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    further: tuple[Encoder, ...] = ()
    weights: tuple[Weights, ...] = ()
    modes: Mapping[Modality, Mapping[str, Generator]] = field(default_factory=dict)
    default_modes: Mapping[Modality, str] = field(default_factory=dict)  # what `generators` do
    decoders: Decoders = field(default_factory=InProcess)
    # Name and fingerprint of a default generator, without loading it; None: it is there already.
    identify: Callable[[Modality], tuple[str, str]] | None = None

    def encoder(self, modality: str) -> Encoder:
        """Raises InvalidInput for an unknown modality, ModalityUnavailable for a missing one."""
        return self.encoders[checks.modality(modality, self.encoders)]

    def encoders_of(self, modality: str) -> tuple[Encoder, ...]:
        """All encoders of the modality, the main one first; raises as `encoder`."""
        main = self.encoder(modality)
        return (main, *(each for each in self.further if each.modality == main.modality))

    def all_encoders(self) -> tuple[Encoder, ...]:
        return (*self.encoders.values(), *self.further)

    def close(self) -> None:
        """Nothing is encoded afterwards."""
        for encoder in self.all_encoders():
            encoder.close()

    def space(self, modality: str) -> Space:
        """The home of the modality."""
        return self.encoder(modality).space

    def spaces(self, modality: str) -> tuple[Space, ...]:
        """Those that the modality's memories live in, its home first; raises as `encoder`."""
        found = self._spaces.get(modality)
        return found or tuple(encoder.space for encoder in self.encoders_of(modality))

    @cached_property
    def every_space(self) -> tuple[Space, ...]:
        """Of all modalities, each once."""
        return distinct(encoder.space for encoder in self.all_encoders())

    @cached_property
    def _spaces(self) -> dict[Modality, tuple[Space, ...]]:
        return {
            modality: tuple(encoder.space for encoder in self.encoders_of(modality))
            for modality in self.encoders
        }

    def generator(self, modality: Modality, mode: str | None = None) -> Generator:
        """The generator; its weights are loaded at first use. `mode` None: the default one.

        Raises ModalityUnavailable where it does not fit, lacks something, or is not there.
        """
        try:
            return self.generators[modality] if mode is None else self.modes[modality][mode]
        except KeyError as error:
            raise ModalityUnavailable(
                f"the active profile cannot make {modality} in mode {mode!r}", found=mode
            ) from error
        except Unavailable as error:
            raise ModalityUnavailable(str(error), found=mode) from error
        except ValueError as error:
            raise ModalityUnavailable(
                f"the generator for {modality} does not fit the active profile: {error}",
                found=modality,
            ) from error

    def identity(self, modality: Modality) -> tuple[str, str]:
        """Name and fingerprint of the default generator of a modality that has one."""
        if self.identify is not None:
            return self.identify(modality)
        generator = self.generators[modality]
        return generator.name, generator.fingerprint

    def mode_names(self, modality: Modality) -> list[str]:
        """The default first; empty where there is one way only."""
        further = list(self.modes.get(modality, ()))
        return [self.default_modes[modality], *further] if further else []

    def space_to_generate(self, modalities: Sequence[Modality]) -> Space:
        """The space that the generators of all these are conditioned on.

        Raises ModalityUnavailable when the profile has none, or they differ.
        """
        spaces = {each: self._space_of_generator(each) for each in modalities}
        found = set(spaces.values())
        if None in found:
            raise ModalityUnavailable("the active profile has no generators", accepted=[])
        if len(found) > 1:
            together: dict[Space | None, list[Modality]] = defaultdict(list)
            for modality in self.generators:
                together[self._space_of_generator(modality)].append(modality)
            groups = list(together.values())
            raise ModalityUnavailable(
                f"{' and '.join(modalities)} are made from vectors of different spaces here: ask "
                "for them in requests of their own, with the same seed. Together can be asked for: "
                + "; ".join(" and ".join(group) for group in groups),
                found={name: space.id for name, space in spaces.items() if space},
                accepted=groups,
            )
        (space,) = found
        assert space is not None
        return space

    def _space_of_generator(self, modality: Modality) -> Space | None:
        return self.generator_spaces.get(modality, self.generator_space)

    def decode(self, modality: str, content: bytes, **where: Any) -> Decoded:
        """Raises UnsupportedMedia, InvalidMedia or TooLarge; `where` goes into the details."""
        try:
            return self.decoders.decode(modality, content, self.limits)
        except MediaError as error:
            raise _of_media(error, where) from error

    def decode_stored(self, modality: str, content: bytes, **where: Any) -> Decoded:
        """`decode` without limits: what was accepted once stays usable under stricter ones."""
        with media_errors(**where):
            return self.decoders.decode(modality, content, NO_LIMITS)

    def cut(self, content: bytes, start_s: float, end_s: float) -> bytes:
        """A part of a stored sound, in seconds, as WAV. Raises InvalidMedia."""
        with media_errors():
            return self.decoders.cut(content, start_s, end_s)


@contextmanager
def generator_errors() -> Iterator[None]:
    """What generators of other services and programs fail with, as an error of the service."""
    try:
        yield
    except Unavailable as error:
        raise ModalityUnavailable(str(error)) from error
    except BackendFailed as error:
        raise GeneratorFailed(f"nothing was generated: {error}") from error


@contextmanager
def media_errors(**where: Any) -> Iterator[None]:
    """What the decoders complain about as errors of the service; `where` goes into the details."""
    try:
        yield
    except MediaError as error:
        raise _of_media(error, where) from error


def _of_media(error: MediaError, where: dict[str, Any]) -> MemoryServiceError:
    """A limit that is a setting is told with its name."""
    message, details = error.message, {"found": error.found, "accepted": error.accepted, **where}
    if error.limit is not None:
        details["setting"] = f"MEMORY_SERVICE_{error.limit.upper()}"
        message = f"{message} ({details['setting']})"
    return _ERRORS[error.code](message, **details)


def distinct(spaces: Iterable[Space]) -> tuple[Space, ...]:
    return tuple(dict.fromkeys(spaces))


def key_of(space: Space) -> SpaceKey:
    return space.id, space.fingerprint


def require_same_space(modality: str, models: Models, store: Store) -> None:
    """Raise SpaceMismatch unless stored vectors of the modality bear just the active spaces."""
    if detail := _mismatch(modality, models, store):
        raise SpaceMismatch(
            f"{detail}. {_ways_out(models, store)}",
            modality=modality,
            recorded=[_as_json(key) for key in sorted(store.spaces(modality))],
            active=[_as_json(key_of(space)) for space in models.spaces(modality)],
        )


def mismatch(models: Models, store: Store) -> str | None:
    """What stores and retrievals will be refused with, of all modalities; None when all fits."""
    found = mismatches(models, store)
    return f"{'; '.join(found.values())}. {_ways_out(models, store)}" if found else None


def mismatches(models: Models, store: Store) -> dict[str, str]:
    """By modality, why its stores and retrievals will be refused; without those that fit."""
    details = {modality: _mismatch(modality, models, store) for modality in models.encoders}
    return {modality: detail for modality, detail in details.items() if detail}


def _mismatch(modality: str, models: Models, store: Store) -> str | None:
    """A space too many: its vectors were made by other encoders. One too few: the profile has got a
    further space since, and a search there would pass over all that was stored before; or the space
    holds vectors that are not searched (`Store.standby`).
    """
    recorded, standby = store.spaces(modality), store.standby.spaces(modality)
    keys = [key_of(space) for space in models.spaces(modality)]
    if not standby and recorded in (set(), set(keys)):
        return None
    lacking = sorted(set(keys) - recorded)
    if foreign := sorted(recorded - set(keys)):
        return (
            f"the store's {modality} vectors were made in space {_named(foreign)}; the active "
            f"profile encodes {modality} into {_named(keys)}"
        )
    if idle := [key for key in keys if key in standby]:
        return (
            f"the store's {modality} vectors in space {_named(idle)} are not in use: a "
            "re-embedding into it was not finished, or another one has replaced them"
        )
    if lacking and recorded:
        return (
            f"the store's {modality} memories have no vector in space {_named(lacking)}, which "
            "the active profile has besides"
        )
    return None


def _ways_out(models: Models, store: Store) -> str:
    folder = f"--data-dir {shlex.quote(str(store.folder))}"
    return (
        "Start the service with the profile that the store was made with, or stop it and re-embed "
        f"the store into the active one: `memory-service reembed --profile {models.profile} "
        f"{folder}` (`memory-service reembed --rollback {folder}` takes back the last "
        "re-embedding), or choose another data_dir. Reading memories and their content works as "
        "before."
    )


def _named(keys: Sequence[SpaceKey]) -> str:
    return ", ".join(f"{space_id} ({fingerprint})" for space_id, fingerprint in keys)


def _as_json(key: SpaceKey) -> dict[str, str]:
    return {"id": key[0], "fingerprint": key[1]}
