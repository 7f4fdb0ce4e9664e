"""General-MIDI instruments: notes and short phrases rendered from the FluidR3 sound font."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from encoders.training.data.drafts import Draft
from encoders.training.data.media import save_sound
from encoders.training.data.packages import debian_path

SOURCE = "midi"
LICENCE = "MIT"
PACKAGE = "fluid-soundfont-gm"
FONT = "/usr/share/sounds/sf2/FluidR3_GM.sf2"
SOUND_S = 2.5
TICKS_PER_S = 960  # division 480 at the default 120 beats per minute

# General MIDI Level 1 sound set, programmes 0 to 127.
PROGRAMMES = """
acoustic grand piano|bright acoustic piano|electric grand piano|honky-tonk piano|electric piano|
chorused electric piano|harpsichord|clavinet|celesta|glockenspiel|music box|vibraphone|marimba|
xylophone|tubular bells|dulcimer|drawbar organ|percussive organ|rock organ|church organ|reed organ|
accordion|harmonica|tango accordion|nylon string guitar|steel string guitar|jazz guitar|
clean electric guitar|muted electric guitar|overdriven guitar|distorted guitar|guitar harmonics|
acoustic bass|fingered electric bass|picked electric bass|fretless bass|slap bass|thumb slap bass|
synth bass|rubber synth bass|violin|viola|cello|double bass|tremolo strings|pizzicato strings|
orchestral harp|timpani|string ensemble|slow string ensemble|synth strings|slow synth strings|
choir aahs|voice oohs|synth voice|orchestra hit|trumpet|trombone|tuba|muted trumpet|french horn|
brass section|synth brass|soft synth brass|soprano saxophone|alto saxophone|tenor saxophone|
baritone saxophone|oboe|english horn|bassoon|clarinet|piccolo|flute|recorder|pan flute|blown bottle|
shakuhachi flute|whistle|ocarina|square wave synth lead|sawtooth synth lead|calliope lead|
chiff lead|charang lead|voice lead|fifths lead|bass and lead synth|new age pad|warm pad|
polysynth pad|choir pad|bowed pad|metallic pad|halo pad|sweep pad|rain effect|soundtrack effect|
crystal effect|atmosphere effect|brightness effect|goblins effect|echoes effect|
science fiction effect|sitar|banjo|shamisen|koto|kalimba|bagpipe|fiddle|shanai|tinkle bell|agogo|
steel drums|woodblock|taiko drum|melodic tom|synth drum|reverse cymbal|guitar fret noise|
breath noise|seashore|bird tweet|telephone ring|helicopter|applause|gunshot
""".replace("\n", "").split("|")

# Channel 10 keys worth telling apart.
DRUMS = {
    36: "bass drum",
    38: "snare drum",
    39: "hand clap",
    42: "closed hi-hat",
    46: "open hi-hat",
    45: "low tom drum",
    50: "high tom drum",
    49: "crash cymbal",
    51: "ride cymbal",
    54: "tambourine",
    56: "cowbell",
    60: "bongo drum",
    64: "conga drum",
    65: "timbale drum",
    70: "maracas",
    72: "long whistle blow",
    74: "guiro",
    75: "claves",
    76: "woodblock hit",
    78: "cuica drum",
    81: "triangle",
    83: "sleigh bells",
    84: "wind chimes",
    85: "castanets",
}

# name, caption ending, [(start s, length s, key offset)], base key
PHRASES = [
    ("low", "playing a low note", [(0.0, 1.8, 0)], 45),
    ("middle", "playing a note", [(0.0, 1.8, 0)], 60),
    ("high", "playing a high note", [(0.0, 1.8, 0)], 76),
    ("rise", "playing rising notes", [(0, 0.5, 0), (0.5, 0.5, 4), (1, 0.5, 7), (1.5, 0.5, 12)], 57),
    ("chord", "playing a chord", [(0.0, 1.8, step) for step in (0, 4, 7)], 60),
]


def midi_file(notes: list[tuple[float, float, int]], programme: int | None) -> bytes:
    """A Standard MIDI File, format 0. `notes`: (start s, length s, key). None: drum channel."""
    channel = 9 if programme is None else 0
    events = []
    for start, length, key in notes:
        events.append((start, bytes([0x90 | channel, key, 100])))
        events.append((start + length, bytes([0x80 | channel, key, 0])))
    track = b"" if programme is None else b"\x00" + bytes([0xC0, programme])
    now = 0
    for time_s, message in sorted(events):  # at one moment, ends (0x80) before starts (0x90)
        tick = round(time_s * TICKS_PER_S)
        track += _variable_length(tick - now) + message
        now = tick
    track += _variable_length(TICKS_PER_S) + b"\xff\x2f\x00"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480)
    return header + b"MTrk" + struct.pack(">I", len(track)) + track


def _variable_length(value: int) -> bytes:
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(0x80 | (value & 0x7F))
    return bytes(reversed(parts))


def drafts(out: Path, cache: Path) -> Iterator[Draft]:
    for number, name in enumerate(PROGRAMMES):
        for phrase, ending, steps, base in PHRASES:
            notes = [(start, length, base + step) for start, length, step in steps]
            path = f"{SOURCE}/{number:03}-{name.replace(' ', '-')}.{phrase}.flac"
            if _rendered(out / path, midi_file(notes, number), cache):
                yield _draft(path, f"{name} {ending}", name)
    for key, name in DRUMS.items():
        for phrase, starts in (("once", (0.0,)), ("rhythm", (0.0, 0.5, 1.0, 1.25, 1.5))):
            notes = [(start, 0.2, key) for start in starts]
            path = f"{SOURCE}/drum-{key}-{name.replace(' ', '-')}.{phrase}.flac"
            if _rendered(out / path, midi_file(notes, None), cache):
                ending = "hit once" if phrase == "once" else "playing a rhythm"
                yield _draft(path, f"{name} {ending}", name)


def _draft(path: str, caption: str, name: str) -> Draft:
    return Draft(
        path=path,
        source=SOURCE,
        style="",
        modality="audio",
        caption=caption,
        tags=(name, "music"),
        episode=path.rsplit(".", 2)[0],
        licence=LICENCE,
        concept_hint=name,
    )


def _rendered(target: Path, content: bytes, cache: Path) -> bool:
    if target.exists():
        return True
    with tempfile.TemporaryDirectory() as folder:
        song, sound = Path(folder) / "song.mid", Path(folder) / "song.wav"
        song.write_bytes(content)
        font = debian_path(PACKAGE, FONT, cache)
        command = ["fluidsynth", "-ni", "-q", "-r", "16000", "-g", "0.8", "-F", str(sound)]
        subprocess.run([*command, str(font), str(song)], check=True, capture_output=True)
        return save_sound(sound, target, SOUND_S)
