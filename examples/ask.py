"""Question answering with a picture: the answer is a sentence that was stored, with its place.

    python examples/ask.py "What does it eat?" --image cow.png

Stores three notes with their pictures in a namespace of their own, then asks. `--speak` writes the
answer as speech, too (needs espeak-ng). Needs a running service: memory-service serve
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from memory_service.client import DEFAULT_URL, Client
from memory_service.client.scripts import plain_errors

SAMPLES = Path("samples/tuxpaint-stamps")
NOTES = {
    "animals/mammals/bovines/cow": "Cows eat grass and clover. A cow gives 25 litres of milk.",
    "animals/mammals/cats/tiger": "The tiger eats deer and wild boar. It hunts mostly at night.",
    "hobbies/music/string/violin": "A violin has four strings. The bow is strung with horsehair.",
}


def main(question: str, image: Path | None, speak: Path | None) -> None:
    with Client(os.environ.get("MEMORY_SERVICE_URL", DEFAULT_URL)) as memory:
        for stem, note in NOTES.items():
            picture = SAMPLES / f"{stem}.png"
            memory.store(text=note, image=picture, namespace="ask", if_duplicate="skip")
        made = memory.generate(
            text=question,
            image=image,
            output=["text", "audio"] if speak else ["text"],
            text_mode="answer",
            audio_mode="speech" if speak else None,
            creativity=0.0,
            namespace="ask",
        )
        answer = made.outputs[0]
        print(answer.text)
        if answer.details["found"]:
            start, end = answer.details["start"], answer.details["end"]
            source = memory.memory(answer.details["memory_id"])
            print(f"  characters {start} to {end} of memory {source.id}: {source.text!r}")
        for each in answer.details["candidates"]:
            print(f"  {each['score']:.2f} {each['text']}")
        if speak:
            speak.write_bytes(made.outputs[1].content or b"")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("question")
    parser.add_argument("--image", type=Path, help="a picture that the question is about")
    parser.add_argument("--speak", type=Path, metavar="WAV", help="write the answer as speech")
    arguments = parser.parse_args()
    with plain_errors():
        main(arguments.question, arguments.image, arguments.speak)
