"""Words spoken by synthesisers: names of the pictures' concepts, and common nouns.

espeak-ng builds speech by formants, Festival joins diphones of two speakers, and Flite's voices
are made of recordings of three people, which is what comes nearest to how people sound.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from encoders.training.data import stamps
from encoders.training.data.drafts import Draft
from encoders.training.data.media import save_sound
from encoders.training.data.packages import debian_path, npm_folder
from encoders.training.data.records import concept_of

SOURCE = "speech"
LICENCE = "free output of free synthesisers (GPL-3.0-or-later, BSD-like)"
NOUNS = 1800  # most frequent ones of WordNet, besides the names of pictures
LONGEST = 5  # words of a name
ESPEAK = (
    "en-us", "en-gb", "en-us+f3", "en-gb+m3", "en-us+f4", "en-gb-scotland", "en-us+m1", "en-gb+f2",
    "en-us-nyc", "en-029", "en-us+m7", "en-gb+f5",
)  # fmt: skip
# Never in a test: they are drawn apart, so that what the test voices say stays what it was.
MORE_ESPEAK = (
    "en-us+Alicia", "en-gb+Andy", "en-us+anika", "en-us+belinda", "en-gb+edward", "en-us+grandma",
    "en-us+klatt2", "en-gb+klatt4", "en-us+linda", "en-gb+Mike", "en-us+steph", "en-gb+victor",
)  # fmt: skip
FLITE = ("slt", "awb", "kal16", "rms")
FESTIVAL = {"ked": "voice_ked_diphone", "slt-hts": "voice_cmu_us_slt_arctic_hts"}
VOICES = (*ESPEAK, *MORE_ESPEAK, *FLITE, *FESTIVAL)
# Never trained on. rms is a recorded speaker; the other two are espeak-ng's.
TEST_VOICES = ("en-us+m7", "en-gb+f5", "rms")
# What is made of recordings says every name, the formant voices share the rest.
ALWAYS = ("slt", "awb", "kal16", "ked", "slt-hts")
# Three of them say every name anyway, and stay here: who is drawn for a name goes by the length.
SHARED = (*ESPEAK, "kal16", "rms", *FESTIVAL)
SHARED_PER_NAME = 3
MORE_PER_NAME = 3


def drafts(out: Path, cache: Path) -> Iterator[Draft]:
    wanted: dict[str, dict[str, Path]] = defaultdict(dict)  # voice -> name -> file
    for name in names(cache):
        for voice in voices_of(name):
            wanted[voice][name] = out / f"{SOURCE}/{voice}/{name.replace(' ', '-')}.flac"
    for voice, files in wanted.items():
        missing = {name: path for name, path in files.items() if not path.exists()}
        if voice in FESTIVAL:
            _by_festival(missing, voice)
        for name, path in files.items():
            if path.exists() or (voice not in FESTIVAL and _spoken(name, voice, path)):
                yield Draft(
                    path=path.relative_to(out).as_posix(),
                    source=SOURCE,
                    style=voice,
                    modality="audio",
                    caption=name,
                    tags=("spoken word",),
                    episode=path.relative_to(out).as_posix(),
                    licence=LICENCE,
                )


def names(cache: Path) -> list[str]:
    """Names of stamps and emoji, stamps first, then common nouns; each concept once."""
    entries = json.loads((npm_folder("emojibase-data", cache) / "en/data.json").read_text("utf-8"))
    labels = [stamp.caption for stamp in stamps.stamps(cache)]
    labels += [each["label"] for each in entries if "group" in each and each["group"] != 9]
    concepts = dict.fromkeys(concept_of(label) for label in (*labels, *common_nouns(cache)))
    return [concept for concept in concepts if len(concept.split()) <= LONGEST]


def common_nouns(cache: Path) -> list[str]:
    """The nouns that WordNet's tagged texts have most often, most frequent first."""
    path = debian_path("wordnet-base", "/usr/share/wordnet/cntlist.rev", cache)
    counts: dict[str, int] = defaultdict(int)
    for line in path.read_text().splitlines():
        key, _, count = line.split()
        lemma, _, sense = key.partition("%")
        if sense.startswith("1:") and lemma.isalpha() and lemma.islower() and len(lemma) > 2:
            counts[lemma] += int(count)
    return sorted(counts, key=lambda lemma: (-counts[lemma], lemma))[:NOUNS]


def voices_of(name: str) -> list[str]:
    """The voices that say a name: some always, others by its hash, in equal shares."""
    first, second, *_ = hashlib.sha256(name.encode()).digest()
    drawn = [SHARED[(first + 5 * n) % len(SHARED)] for n in range(SHARED_PER_NAME)]
    more = [MORE_ESPEAK[(second + 5 * n) % len(MORE_ESPEAK)] for n in range(MORE_PER_NAME)]
    return list(dict.fromkeys((*ALWAYS, *drawn, *more)))


def _spoken(name: str, voice: str, target: Path) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "word.wav"
        # espeak-ng drops the variant of en-gb without a word; its British voice is `en` by itself.
        spoken_by = voice.replace("en-gb+", "en+")
        command = ["espeak-ng", "-v", spoken_by, "-w", str(sound), "--", name]
        if voice in FLITE:
            command = ["flite", "-voice", voice, "-t", name, "-o", str(sound)]
        subprocess.run(command, check=True, capture_output=True)
        return save_sound(sound, target)


def _by_festival(wanted: dict[str, Path], voice: str) -> None:
    """All of a voice's names in one process: it takes long to start."""
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as folder:
        script = [f"({FESTIVAL[voice]})"] + [
            f'(utt.save.wave (utt.synth (Utterance Text "{name}")) "{folder}/{number}.wav" \'riff)'
            for number, name in enumerate(wanted)
        ]
        source = Path(folder) / "say.scm"
        source.write_text("\n".join(script))
        subprocess.run(["festival", "--batch", str(source)], check=True, capture_output=True)
        for number, target in enumerate(wanted.values()):
            save_sound(Path(folder) / f"{number}.wav", target)
