"""`store`, `retrieve`, `generate`, `stats`, `models`: one call of the service each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from rich.markup import escape

from memory_service.cli import options, tables
from memory_service.client import DEFAULT_URL, Client, Generated, Generation

SUFFIX = {"image/png": ".png", "audio/wav": ".wav", "text/plain": ".txt"}


def store(
    image: options.Images = None,
    text: options.Texts = None,
    audio: options.Sounds = None,
    sensor: options.Series = None,
    media: options.OtherMedia = None,
    metadata: Annotated[str | None, typer.Option(help="JSON object.")] = None,
    skip_duplicate: Annotated[
        bool, typer.Option("--skip-duplicate", help="Store nothing that is there already.")
    ] = False,
    ttl_s: Annotated[
        float | None, typer.Option(help="Seconds until it is forgotten by itself.")
    ] = None,
    namespace: options.Namespace = "default",
    as_json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
) -> None:
    """Store pictures, texts and sounds as one episode."""
    if not (image or text or audio or sensor or media):
        options.fail("nothing to store: give --image, --text, --audio or --sensor")
    with options.service(url) as client:
        stored = client.store(
            image=image,
            text=options.texts(text),
            audio=audio,
            sensor=sensor,
            media=options.other_media(media),
            metadata=options.json_object("--metadata", metadata),
            namespace=namespace,
            if_duplicate="skip" if skip_duplicate else "keep",
            ttl_s=ttl_s,
        )
    if as_json:
        options.print_json(asdict(stored))
        return
    title = "already there: episode" if stored.duplicate else "stored: episode"
    options.output.print(tables.episode_table(stored.episode, title))


def retrieve(
    image: options.Images = None,
    text: options.Texts = None,
    audio: options.Sounds = None,
    sensor: options.Series = None,
    media: options.OtherMedia = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(
            "--modality", "-m", help="What to find: image,text,audio,sensor; default all."
        ),
    ] = None,
    k: options.K = None,
    mode: options.Mode = None,
    filter_: options.Filter = None,
    context_weight: options.ContextWeight = None,
    recency_weight: options.RecencyWeight = None,
    strength_weight: options.StrengthWeight = None,
    no_reinforce: options.NoReinforce = False,
    namespace: options.Namespace = "default",
    as_json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
) -> None:
    """Find what is nearest to a picture, text, sound, or several together."""
    if not (image or text or audio or sensor or media):
        options.fail("no query: give --image, --text, --audio or --sensor")
    with options.service(url) as client:
        found = client.retrieve(
            image=image,
            text=options.texts(text),
            audio=audio,
            sensor=sensor,
            media=options.other_media(media),
            modalities=options.names(modality),
            k=k,
            mode=_mode(mode),
            filter=options.json_object("--filter", filter_),
            context_weight=context_weight,
            recency_weight=recency_weight,
            strength_weight=strength_weight,
            reinforce=False if no_reinforce else None,
            namespace=namespace,
        )
        held = "" if any(found.hits.values()) else _held(client, namespace)
    if as_json:
        options.print_json(found.raw)
    elif any(found.hits.values()):
        options.output.print(tables.retrieval_table(found))
    else:
        options.output.print(f"nothing found in namespace {escape(repr(namespace))}{held}")


def _held(client: Client, namespace: str) -> str:
    """Why nothing may have been found: a namespace that is empty, or misspelt."""
    names = [each["namespace"] for each in client.namespaces()]
    if namespace in names:
        return ""
    return f", which holds nothing; there are: {escape(', '.join(names) or 'none yet')}"


def generate(
    image: options.Images = None,
    text: options.Texts = None,
    audio: options.Sounds = None,
    sensor: options.Series = None,
    media: options.OtherMedia = None,
    output: Annotated[
        list[str] | None, typer.Option("--output", "-o", help="image,text,audio; default image.")
    ] = None,
    out_dir: Annotated[Path, typer.Option(help="Folder for what is generated.")] = Path(),
    creativity: Annotated[
        float | None, typer.Option(help="0: like what is remembered, 1: free.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same again.")] = None,
    fusion: Annotated[str | None, typer.Option(help="sum, weighted, attention or learned.")] = None,
    text_mode: Annotated[str | None, typer.Option(help="caption, tags or answer.")] = None,
    audio_mode: Annotated[str | None, typer.Option(help="sound or speech.")] = None,
    max_similarity: Annotated[
        float | None,
        typer.Option(
            help="Likeness to a memory (cosine, or that of the media, whichever is greater) above "
            "which it is drawn again."
        ),
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="So many are made, and the best is kept: 1 to 8.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Measure what each memory did, by leaving it out.")
    ] = False,
    k: options.Episodes = None,
    mode: options.Mode = None,
    filter_: options.Filter = None,
    context_weight: options.ContextWeight = None,
    recency_weight: options.RecencyWeight = None,
    strength_weight: options.StrengthWeight = None,
    no_reinforce: options.NoReinforce = False,
    namespace: options.Namespace = "default",
    as_json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
) -> None:
    """Generate a picture, text or sound from a query and what it recalls."""
    if not (image or text or audio or sensor or media):
        options.fail("no query: give --image, --text, --audio or --sensor")
    with options.service(url) as client:
        made = client.generate(
            image=image,
            text=options.texts(text),
            audio=audio,
            sensor=sensor,
            media=options.other_media(media),
            output=options.names(output) or ["image"],
            creativity=creativity,
            seed=seed,
            fusion=_fusion(fusion),
            text_mode=cast(Literal["caption", "tags", "answer"] | None, text_mode),
            audio_mode=cast(Literal["sound", "speech"] | None, audio_mode),
            max_similarity=max_similarity,
            candidates=candidates,
            explain=explain or None,
            k=k,
            mode=_mode(mode),
            filter=options.json_object("--filter", filter_),
            context_weight=context_weight,
            recency_weight=recency_weight,
            strength_weight=strength_weight,
            reinforce=False if no_reinforce else None,
            namespace=namespace,
        )
        files = {part.id: str(write(made, part, out_dir)) for part in made.outputs}
    if as_json:
        options.print_json(_without_data(made, files))
    else:
        options.output.print(*tables.generation_tables(made, files))


def generations(
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Those of one memory; default: all.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(help="Id of the last generation of the page before.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="1 to 100; default 50.")] = None,
    as_json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
) -> None:
    """List what was generated, the newest first."""
    with options.service(url) as client:
        page = client.generations(namespace=namespace, after=after, limit=limit)
    if as_json:
        listed = [each.raw for each in page.generations]
        options.print_json({"generations": listed, "next": page.next})
        return
    options.output.print(tables.generations_table(page.generations))
    if page.next is not None:
        options.output.print(f"there are more: --after {page.next}", highlight=False)


def write(generation: Generation, part: Generated, folder: Path) -> Path:
    """Write one output under `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{part.modality}-{generation.id}{SUFFIX.get(part.media_type, '.bin')}"
    path.write_bytes(part.content or b"")
    return path


def _without_data(made: Generation, files: Mapping[str, str]) -> dict[str, Any]:
    outputs = [
        {name: value for name, value in output.items() if name != "data"}
        | {"file": files[output["id"]]}
        for output in made.raw["outputs"]
    ]
    return {**made.raw, "outputs": outputs}


def stats(
    as_json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
) -> None:
    """Show how much each sub-memory holds."""
    with options.service(url) as client:
        _show(client.stats(), as_json)


def models(
    as_json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
) -> None:
    """Show the models of the service: spaces, size, licence, limits."""
    with options.service(url) as client:
        answer = client.models()
    if as_json:
        options.print_json(answer)
        return
    shown = ("modality", "space", "dimension", "accepted")
    encoders = [{name: each[name] for name in shown} for each in answer["encoders"]]
    _show({**answer, "encoders": encoders}, as_json=False)
    options.output.print("--json has the fingerprints, too")


def _show(answer: Mapping[str, Any], as_json: bool) -> None:
    """Lists of objects as tables, objects as tables of two columns, the rest in one."""
    if as_json:
        options.print_json(answer)
        return
    rest: dict[str, Any] = {}
    for name, value in answer.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            options.output.print(tables.rows_table(value, name.replace("_", " ")))
        elif isinstance(value, dict):
            options.output.print(tables.mapping_table(value, name.replace("_", " ")))
        else:
            rest[name] = value
    if rest:
        options.output.print(tables.mapping_table(rest, "service"))


def _mode(given: str | None) -> Literal["direct", "associative", "auto"] | None:
    # The service knows the valid names and says them: no second list here.
    return cast(Literal["direct", "associative", "auto"] | None, given)


def _fusion(given: str | None) -> Literal["sum", "weighted", "attention", "learned"] | None:
    return cast(Literal["sum", "weighted", "attention", "learned"] | None, given)
