"""Which generators can be chosen by name."""

import pytest

from encoders.base import Space
from encoders.errors import UnknownName
from generator.backends import ChatEndpoint, open_backends

SPACES = {"text": Space("bundled", 384, "f")}
CHAT = ChatEndpoint("http://127.0.0.1:1/v1")


def test_empty_choices_are_left_out() -> None:
    assert open_backends({"image": "", "text": "none", "audio": "none"}, {}) == {}


def test_texts_by_a_chat_endpoint() -> None:
    opened = open_backends({"text": "chat:small:7b"}, SPACES, chat=CHAT)
    assert opened["text"].name == "chat small:7b"
    assert opened["text"].space_id == "bundled"


@pytest.mark.parametrize("choice", ["unclip", "unclip:", "chat:x", "nothing:x", ":x"])
def test_an_unknown_name_answers_with_the_valid_ones(choice: str) -> None:
    with pytest.raises(UnknownName, match="there is: unclip:NAME"):
        open_backends({"image": choice}, SPACES)


def test_a_modality_that_the_profile_has_no_vectors_of() -> None:
    with pytest.raises(UnknownName, match="needs vectors of modality audio"):
        open_backends({"audio": "audioldm:owner/x"}, SPACES)


@pytest.mark.parametrize("address", ["", "localhost:8080", "file:///etc/passwd"])
def test_a_chat_needs_an_address(address: str) -> None:
    with pytest.raises(UnknownName, match="needs the address of its endpoint"):
        open_backends({"text": "chat:x"}, SPACES, chat=ChatEndpoint(address))
