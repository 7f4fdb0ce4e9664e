"""Teaches schemathesis NDJSON: a body of one line, which is answered by one."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def one_line(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"


@schemathesis.deserializer("application/x-ndjson")
def only_line(context: schemathesis.DeserializationContext, response: Any) -> Any:
    (line,) = response.content.splitlines()
    return json.loads(line)
