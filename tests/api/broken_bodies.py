"""A corpus of request bodies that are broken in known ways, the same at every run.

Each is (route, headers, content). What only looks broken is named in `STILL_GOOD`.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import NamedTuple

from problem_answers import PNG

JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=b"}
RAW = {"content-type": "application/octet-stream"}
STORE, RETRIEVE, GENERATE = "/store", "/retrieve", "/generate"
GOOD = {
    STORE: b'{"items": [{"modality": "text", "text": "a cat"}], "metadata": {"place": "farm"}}',
    RETRIEVE: b'{"query": [{"text": "a cat", "weight": 1.0}], "filter": {"place": "farm"}, "k": 3}',
    GENERATE: b'{"query": {"text": "a cat"}, "output": "image", "creativity": 0.5, "seed": 7}',
}
ITEM = '{"items": [{"modality": "text", "text": %s}]}'
ITEMS = '{"items": [%s]}'
DATA = '{"items": [{"modality": "image", "data": %s}]}'
METADATA = '{"items": [{"modality": "text", "text": "a"}], "metadata": %s}'
QUERY = '{"query": %s}'
DEEP = {
    "arrays": "[" * 10_000 + "]" * 10_000,
    "objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "open arrays": "[" * 10_000,
    "open objects": '{"a":' * 10_000,
}


class Body(NamedTuple):
    name: str
    route: str
    headers: dict[str, str]
    content: bytes


def every_route() -> Iterator[Body]:
    """What is no JSON, or no object, whoever is asked."""
    bad: dict[str, bytes] = {
        "nothing": b"",
        "blanks": b" \n\t ",
        "null": b"null",
        "a number": b"17",
        "a text": b'"text"',
        "a list": b"[]",
        "true": b"true",
        "NaN": b"NaN",
        "NULs": bytes(20),
        "0xFF": b"\xff" * 20,
        "a comment": b"/* a */ {}",
        "single quotes": b"{'query': 1}",
        "a name without quotes": b"{query: 1}",
        "a comma too many": b'{"query": {"text": "a"},}',
        "XML": b"<query/>",
        "a form in place of JSON": b"query=a&k=3",
        "10 MB of blanks": b" " * 2_500_000,
        "an unknown field": b'{"colour": "red"}',
        "five thousand unknown fields": json.dumps({f"f{n}": n for n in range(5000)}).encode(),
    }
    for route, good in GOOD.items():
        for name, content in bad.items():
            yield Body(f"{route} of {name}", route, JSON, content)
        for name, deep in DEEP.items():
            yield Body(f"{route} of deep {name}", route, JSON, deep.encode())
        for place in range(1, len(good), 4):
            yield Body(f"{route} cut at {place}", route, JSON, good[:place])
        yield Body(f"{route} twice", route, JSON, good + good)
        yield Body(f"{route} with a tail", route, JSON, good + b"x")
        yield Body(f"{route} with a raw NUL", route, JSON, good.replace(b"a cat", b"a \0 cat"))
        yield Body(f"{route} with a raw line end", route, JSON, good.replace(b"a cat", b"a\ncat"))
        yield Body(f"{route} in Latin-1", route, JSON, good.replace(b"a cat", b"caf\xe9"))
        yield Body(f"{route} overlong", route, JSON, good.replace(b"a cat", b"a\xc0\xafb"))
        yield Body(
            f"{route} of a raw surrogate", route, JSON, good.replace(b"cat", b"\xed\xa0\x80")
        )
        yield Body(f"{route} in UTF-16", route, JSON, good.decode().encode("utf-16"))
        yield Body(f"{route} in UTF-32", route, JSON, good.decode().encode("utf-32"))
        yield Body(f"{route} behind a mark", route, JSON, b"\xef\xbb\xbf" + good)
        yield Body(
            f"{route} of half a surrogate", route, JSON, good.replace(b"a cat", rb"a \ud800")
        )
        yield Body(f"{route} of a NUL", route, JSON, good.replace(b"a cat", rb"a \u0000 cat"))
        yield Body(f"{route} of a bad escape", route, JSON, good.replace(b"a cat", rb"\x41"))


def wrong_values() -> Iterator[Body]:
    """A value of another kind, or out of range, in each field."""
    odd = ["null", "true", "1e999", "-1", "1" + "0" * 400, '"x"', "[]", "{}", "[[1]]", '{"a": 1}']
    fields = {
        STORE: {
            "items": odd,
            "namespace": [*odd[:5], '""', '"a/b"', '"\\u0000"', '"' + "n" * 65 + '"', "[]", "{}"],
            "metadata": [*odd[1:7], DEEP["objects"], DEEP["arrays"], '{"a": NaN}', '{"a": 1e999}'],
            "if_duplicate": odd,
            "expires_at": [*odd[1:3], *odd[5:], '"soon"', "NaN", "1e308e"],
            "ttl_s": [*odd[1:4], *odd[5:], "0", "NaN", "-0.0"],
        },
        RETRIEVE: {
            "query": odd,
            "modalities": [*odd[1:6], "{}", '["smell"]', "[[]]", '[""]'],
            "mode": odd,
            "k": ["null", "0", "-1", "101", "2.5", "1e999", "1" + "0" * 400, "[]", '"x"'],
            "filter": [*odd[1:8], DEEP["objects"], '{"a": {"b": NaN}}'],
            "namespace": ["null", "1", '""', '"../x"', "[]"],
            "context_weight": ["null", "-1", "11", "1e999", "NaN", '"x"', "[]"],
            "reinforce": ["null", "7", "[]", '"perhaps"'],
        },
        GENERATE: {
            "query": odd,
            "output": ["null", "1", "[]", '"smell"', '["image", "smell"]', '""', "{}"],
            "k": ["null", "0", "-1", "65", "2.5", "1e999", '"x"'],
            "creativity": ["null", "-0.1", "1.1", "NaN", "1e999", '"x"', "[]"],
            "seed": ["1.5", "1e999", '"x"', "[]", "-1", "1" + "0" * 400, str(2**64)],
            "fusion": odd,
            "include_data": ["null", "7", "[]"],
        },
    }
    for route, by_field in fields.items():
        body = json.loads(GOOD[route])
        for field, values in by_field.items():
            for number, value in enumerate(values):
                rest = {name: each for name, each in body.items() if name != field}
                content = json.dumps(rest)[:-1] + f', "{field}": {value}}}'
                yield Body(f"{route} {field} {number} {value[:24]}", route, JSON, content.encode())


def media_in_json() -> Iterator[Body]:
    """Base64 and data URIs that are none, and what they hold cut or of another kind."""
    png = base64.b64encode(PNG).decode()
    values = {
        "no base64": "a$b",
        "padding alone": "====",
        "padding inside": "YQ==YQ==",
        "a length of one": "A",
        "no padding": base64.b64encode(b"ab").decode().rstrip("="),
        "URL alphabet": "-_-_",
        "letters beyond ASCII": "äöü=",
        "an empty text": "",
        "a data URI without data": "data:image/png;base64,",
        "a data URI of text": "data:text/plain,hello",
        "a data URI of no type": "data:;base64," + base64.b64encode(b"no picture").decode(),
        "a data URI of a path": "data:../../x;base64,YQ==",
        "a URL": "http://127.0.0.1/x.png",
        "a path": "/etc/passwd",
        "a file URL": "file:///etc/passwd",
        "a picture cut": png[: len(png) // 2 // 4 * 4],
        "zeros": base64.b64encode(bytes(100)).decode(),
    }
    for name, value in values.items():
        yield Body(f"data of {name}", STORE, JSON, (DATA % json.dumps(value)).encode())
        query = QUERY % json.dumps({"image": value})
        yield Body(f"query of {name}", RETRIEVE, JSON, query.encode())
        yield Body(f"generation of {name}", GENERATE, JSON, query.encode())
    for name, value in {
        "a blank": '" "',
        "NUL": r'"\u0000"',
        "surrogates": r'"\udc00\ud800"',
    }.items():
        yield Body(f"text of {name}", STORE, JSON, (ITEM % value).encode())
    items = ", ".join(['{"modality": "text", "text": "a"}'] * 33)
    yield Body("33 items", STORE, JSON, f'{{"items": [{items}]}}'.encode())
    for item in (
        "{}",
        "[]",
        "null",
        "1",
        '{"modality": "text"}',
        '{"modality": "image", "text": "a"}',
    ):
        yield Body(f"item {item}", STORE, JSON, f'{{"items": [{item}]}}'.encode())
    both = '{"modality": "text", "text": "a", "data": "YQ=="}'
    yield Body("text and data", STORE, JSON, f'{{"items": [{both}]}}'.encode())
    yield Body("a key twice", STORE, JSON, b'{"items": [], ' + GOOD[STORE][1:])
    twice = METADATA % '{"a": 1, "a": 2}'
    yield Body("a key of metadata twice", STORE, JSON, twice.encode())
    yield Body("metadata of surrogates", STORE, JSON, (METADATA % r'{"\ud800": "\udfff"}').encode())
    yield Body(
        "metadata of 5000 digits", STORE, JSON, (METADATA % f'{{"a": {"9" * 5000}}}').encode()
    )


def vectors() -> Iterator[Body]:
    def packed(*values: float) -> str:
        return json.dumps(base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode())

    one = "[" + ", ".join(["0.1"] * 384) + "]"
    values = {
        "nothing": "[]",
        "one value": "[1]",
        "383 values": "[" + ", ".join(["0.1"] * 383) + "]",
        "385 values": "[" + ", ".join(["0.1"] * 385) + "]",
        "zeros": "[" + ", ".join(["0"] * 384) + "]",
        "NaN": one.replace("0.1", "NaN", 1),
        "1e999": one.replace("0.1", "1e999", 1),
        "a text within": one.replace("0.1", '"one"', 1),
        "null within": one.replace("0.1", "null", 1),
        "true within": one.replace("0.1", "[1]", 1),
        "a list within": one.replace("0.1", "[0.1]", 1),
        "100,000 values": "[" + ", ".join(["1"] * 100_000) + "]",
        "base64 of nothing": '""',
        "base64 of 3 bytes": '"YWJj"',
        "base64 of one value": packed(1.0),
        "base64 of NaN": packed(*[float("nan")] * 384),
        "base64 of infinity": packed(*[float("inf")] * 384),
        "base64 of zeros": packed(*[0.0] * 384),
        "no base64": '"$$$$"',
        "an object": '{"0": 1}',
        "deep lists": DEEP["arrays"],
        "an integer of 400 digits": one.replace("0.1", "1" + "0" * 400, 1),
    }
    for name, value in values.items():
        for route in (RETRIEVE, GENERATE):
            yield Body(
                f"{route} vector of {name}",
                route,
                JSON,
                f'{{"query": {{"vector": {value}}}}}'.encode(),
            )
        if "an object" not in name:  # the same with an item that brings its vector
            item = f'{{"modality": "text", "text": "a", "space": "fake", "vector": {value}}}'
            yield Body(f"item vector of {name}", STORE, JSON, (ITEMS % item).encode())
    for item in (
        '{"modality": "text", "text": "a", "vector": %s}',
        '{"modality": "text", "text": "a", "vector": %s, "space": "nowhere"}',
        '{"modality": "text", "vector": %s, "space": "fake"}',
        '{"modality": "smell", "data": "YQ==", "vector": %s, "space": "fake"}',
        '{"modality": "image", "data": "YQ==", "vector": %s, "space": "fake"}',
    ):
        yield Body(f"item {item}", STORE, JSON, (ITEMS % (item % one)).encode())
    for part in (
        '{"vector": %s, "text": "a"}',
        '{"vector": %s, "space": "nowhere"}',
        '{"vector": %s, "space": ""}',
        '{"vector": %s, "weight": 0}',
        '{"vector": %s, "weight": -1}',
        '{"vector": %s, "weight": 1e999}',
        '{"vector": %s, "weight": NaN}',
    ):
        yield Body(f"part {part}", RETRIEVE, JSON, (QUERY % (part % one)).encode())
    yield Body(
        "a space without vector", RETRIEVE, JSON, b'{"query": {"text": "a", "space": "fake"}}'
    )
    cancel = f'[{{"vector": {one}}}, {{"vector": {one.replace("0.1", "-0.1")}}}]'
    yield Body("vectors that cancel out", RETRIEVE, JSON, (QUERY % cancel).encode())
    many = ", ".join(['{"text": "a"}'] * 17)
    yield Body("17 parts", RETRIEVE, JSON, f'{{"query": [{many}]}}'.encode())


def raw_vectors() -> Iterator[Body]:
    """Bodies that are the vector itself, and odd parameters beside a good one."""
    good = struct.pack("<384f", *[0.1] * 384)
    bad = {
        "nothing": b"",
        "a byte": b"a",
        "a byte too few": good[:-1],
        "a value too few": good[:-4],
        "a value too many": good + good[:4],
        "NaN": struct.pack("<f", float("nan")) + good[4:],
        "infinity": good[:-4] + struct.pack("<f", float("-inf")),
        "zeros": bytes(len(good)),
        "noise": b"\xff" * len(good),
        "a million values": good * 1000,
    }
    for name, content in bad.items():
        yield Body(f"raw vector of {name}", RETRIEVE, RAW, content)
    for query in (
        "k=0",
        "k=many",
        "k=1e9",
        "k=3&k=4",
        "mode=smell",
        "modalities=smell",
        "namespace=..%2Fx",
        "namespace=%00",
        "filter=%7B",
        "filter=%5B%5D",
        "space=nowhere",
        "text=a",
        "query=a",
        "colour=red",
        "context_weight=nan",
        "reinforce=perhaps",
    ):
        yield Body(f"raw vector with {query}", f"{RETRIEVE}?{query}", RAW, good)


def part(head: str, content: bytes = b"a cat") -> bytes:
    return b"--b\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"


DISPOSITION = "Content-Disposition: form-data; "
TEXT = part(DISPOSITION + 'name="text"')
KLINGON = "Content-Type: text/plain; charset=klingon"
MIXED = "Content-Type: multipart/mixed; boundary=c"
END = b"--b--\r\n"


def forms() -> Iterator[Body]:
    field = DISPOSITION + 'name="{}"'
    bad = {
        "nothing": b"",
        "an end alone": END,
        "no end": TEXT,
        "another boundary": (TEXT + END).replace(b"--b", b"--c"),
        "line ends of LF": (TEXT + END).replace(b"\r\n", b"\n"),
        "half a boundary": TEXT + b"--b",
        "a part without a header": b"--b\r\n\r\na\r\n" + END,
        "a part without a name": part(DISPOSITION[:-2]) + END,
        "a part of another disposition": part('Content-Disposition: attachment; name="text"') + END,
        "an empty name": part(field.format("")) + END,
        "an unknown name": part(field.format("colour")) + END,
        "a name of NUL": part(field.format("te\0xt")) + END,
        "a header without colon": part("Content-Disposition form-data") + END,
        "a header of 100 kB": part(field.format("text") + "\r\nX-Long: " + "x" * 100_000) + END,
        "ten thousand headers": part(field.format("text") + "\r\nX: y" * 10_000) + END,
        "an unknown charset": part(f"{KLINGON}\r\n" + field.format("k")) + END,
        "a field in Latin-1": TEXT + part(field.format("namespace"), b"caf\xe9") + END,
        "a picture as a field": part(field.format("image"), b"a field") + END,
        "a thousand parts": TEXT * 1000 + END,
        "a thousand fields": part(field.format("k"), b"1") * 1000 + END,
        "nested": part(f"{field.format('text')}\r\n{MIXED}", b"--c\r\n\r\na\r\n--c--") + END,
        "a field twice": TEXT + part(field.format("namespace"), b"a") * 2 + END,
        "noise": bytes(range(256)) * 20,
        "dashes": b"-" * 10_000,
        "ends only": END * 100,
    }  # fmt: skip
    for name, content in bad.items():
        for route in GOOD:
            yield Body(f"{route} form of {name}", route, FORM, content)
    whole = TEXT + END
    for place in range(1, len(whole) - 6, 7):
        yield Body(f"form cut at {place}", STORE, FORM, whole[:place])
    for name, value in {
        "metadata": b"{a",
        "namespace": b"../x",
        "if_duplicate": b"x",
        "ttl_s": b"soon",
        "expires_at": b"nan",
    }.items():
        yield Body(f"form field {name}", STORE, FORM, TEXT + part(field.format(name), value) + END)
    for name, value in {"k": b"many", "filter": b"[", "modalities": b",", "mode": b"x"}.items():
        yield Body(
            f"form field {name}", RETRIEVE, FORM, TEXT + part(field.format(name), value) + END
        )


def odd_headers() -> Iterator[Body]:
    kinds = (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 5000,
        'multipart/form-data; boundary="b',
        "multipart/form-data; boundary=b; boundary=c",
        "multipart/mixed; boundary=b",
        "image/png",
        "application",
        "/",
        ";",
        "*/*",
        "application/json, text/plain",
        "a" * 5000,
    )
    for route, good in GOOD.items():
        for kind in kinds:
            yield Body(f"{route} as {kind[:40]}", route, {"content-type": kind}, good)
        for kind in (
            "application/json; charset=utf-16",
            "application/JSON ;;;",
            "application/a+json",
        ):
            yield Body(f"{route} as {kind}", route, {"content-type": kind}, good)
        for name in ("gzip", "br", "identity, gzip"):
            headers = {**JSON, "content-encoding": name}
            yield Body(f"{route} in {name}", route, headers, b"\x1f\x8b" + good)
        huge = {**JSON, "content-length": str(10**30)}
        yield Body(f"{route} of 10^30 bytes", route, huge, good)
        for name in ("x-request-id", "accept", "range", "if-none-match", "idempotency-key"):
            yield Body(f"{route} with a long {name}", route, {**JSON, name: "\x7f" * 3000}, good)


MAKERS = (
    every_route,
    wrong_values,
    media_in_json,
    vectors,
    raw_vectors,
    forms,
    odd_headers,
)
# Where a header is looked at.
MATTERS = {(GENERATE, "accept"), (GENERATE, "idempotency-key"), (STORE, "idempotency-key")}
STILL_GOOD = frozenset(
    [
        # JSON allows a name twice: the last one counts.
        *("a key twice", "a key of metadata twice"),
        "/retrieve filter 6 {}",
        # The disposition may be any, and a part within a part is that part's content.
        *(f"{route} form of a part of another disposition" for route in GOOD),
        *(f"{route} form of nested" for route in GOOD),
        # No type at all is taken for JSON, and JSON knows no charset.
        *(
            f"{route} as {kind}"
            for route in GOOD
            for kind in (
                ";",
                "application/json; charset=utf-16",
                "application/JSON ;;;",
                "application/a+json",
            )
        ),
        # Headers that do not matter here.
        *(
            f"{route} with a long {name}"
            for route in GOOD
            for name in ("x-request-id", "accept", "range", "if-none-match", "idempotency-key")
            if (route, name) not in MATTERS
        ),
    ]
)


def corpus() -> dict[str, Body]:
    """By name; names are given once."""
    found = [each for make in MAKERS for each in make()]
    named = {each.name: each for each in found}
    assert len(named) == len(found)
    return named
