"""The demonstration from start to end; files into one folder, figures to the caller."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from memory_service.client import Client
from memory_service.demo.contact_sheet import contact_sheet
from memory_service.demo.findings import Creation, Findings, Made, Section
from memory_service.demo.plan import Plan, plan
from memory_service.demo.report import report
from memory_service.demo.service import DemoError, connect, running_service
from memory_service.demo.spoken import speak
from memory_service.demo.swap import swap
from memory_service.demo.telling import creation_lines, section_lines, swap_line
from memory_service.demo.walk import Walk
from memory_service.importer import Outcome, Scan, scan

SERVICE_LOG = "service.log"  # in the output folder
ImportAll = Callable[[Client, Scan, Callable[[Outcome], None]], None]


@dataclass(frozen=True)
class Written:
    """Findings, and the files that show them."""

    findings: Findings
    report: Path
    contact_sheet: Path
    retrieval: Path
    generation: Path
    generated: tuple[Path, ...]


@dataclass
class Clock:
    """Seconds by step."""

    seconds: dict[str, float]

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


def run(
    samples: Path,
    out: Path,
    *,
    profile: str | None,
    import_all: ImportAll,
    say: Callable[[str], None],
) -> Written:
    """Raises `DemoError`, ServiceError, OSError, ValueError; the service is stopped in any case.

    `import_all` stores the bundles of a scan and reports each outcome.
    """
    found = scan(samples)
    questions = plan(found.bundles)
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock({})
    with tempfile.TemporaryDirectory(prefix="memory-service-demo-") as data_dir:
        say("Starting a service with an empty memory ...")
        with running_service(Path(data_dir), out / SERVICE_LOG, profile=profile) as service:
            clock.seconds["start"] = service.started_in_s
            say(f"  it answers at {service.url}, process {service.pid}")
            with connect(service.url) as client:
                findings = _walk(client, found, questions, out, clock, import_all, say)
        say("The service has stopped. Writing what was found ...")
    return _write(findings, out)


def _walk(
    client: Client,
    found: Scan,
    questions: Plan,
    out: Path,
    clock: Clock,
    import_all: ImportAll,
    say: Callable[[str], None],
) -> Findings:
    episodes: dict[str, str] = {}
    counts = {"image": 0, "text": 0, "audio": 0}

    def record(outcome: Outcome) -> None:
        if outcome.stored is None:
            raise DemoError(f"{outcome.bundle.path} was rejected: {outcome.reason}")
        episodes[outcome.bundle.path] = outcome.stored.episode.id
        for memory in outcome.stored.episode.memories:
            counts[memory.modality] += 1

    with clock.step("import"):
        import_all(client, found, record)
    walk = Walk(client, found.bundles, episodes, _splits(found.folder))
    sections: list[Section] = []

    def tell(section: Section) -> None:
        sections.append(section)
        for line in section_lines(section):
            say(line)

    with clock.step("recall"):
        for section in walk.recall(questions):
            tell(section)
        if spoken := _spoken(questions, found.folder):
            tell(walk.listen(spoken))
    with clock.step("generation"):
        creations = _create(walk, questions, out, say)
    with clock.step("memory swap"):
        say("The same texts and seed, with other memories:")
        swaps = swap(walk, questions.swap, out)
        for each in swaps:
            say(swap_line(each))
    if questions.forget:
        with clock.step("forgetting"):
            tell(walk.forget(questions))
    return Findings(
        samples=found.folder.name,
        profile=client.models(),
        counts=counts,
        episodes=len(episodes),
        seconds=clock.seconds,
        sections=tuple(sections),
        creations=creations,
        swaps=swaps,
    )


def _create(
    walk: Walk, questions: Plan, out: Path, say: Callable[[str], None]
) -> tuple[Creation, ...]:
    say("Generating; the first one loads the generators ...")
    creations = []
    for text, bundle in questions.generate:
        creations.append(walk.generate(text, bundle, out))
        for line in creation_lines(creations[-1]):
            say(line)
    return tuple(creations)


def _spoken(questions: Plan, samples: Path) -> dict[str, bytes]:
    """The words that can be said here, as sounds."""
    said = {word: speak(word, samples.parent / "spoken-words") for word in questions.spoken}
    return {word: sound for word, sound in said.items() if sound is not None}


def _splits(samples: Path) -> dict[str, str]:
    """What `splits.json` of the samples says, if there is one."""
    path = samples / "splits.json"
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}


def _write(findings: Findings, out: Path) -> Written:
    written = Written(
        findings,
        report=out / "report.html",
        contact_sheet=out / "contact-sheet.png",
        retrieval=out / "retrieval.json",
        generation=out / "generation.json",
        generated=tuple(out / made.file for made in _every_made(findings)),
    )
    contact_sheet(findings).save(written.contact_sheet, optimize=True)
    written.report.write_text(report(findings), encoding="utf-8")
    retrievals = [
        {
            "section": section.title,
            "query": {"modality": answer.query.modality, "caption": answer.query.caption},
            "answer": answer.raw,
        }
        for section in findings.sections
        for answer in section.answers
    ]
    _write_json(written.retrieval, {"models": findings.profile, "retrievals": retrievals})
    _write_json(written.generation, [creation.raw for creation in findings.creations])
    return written


def _every_made(findings: Findings) -> Iterator[Made]:
    for creation in findings.creations:
        yield from creation.made
    for each in findings.swaps:
        for panel in each.panels:
            yield from panel.made


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
