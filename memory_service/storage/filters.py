"""Filters over memories, checked and turned into SQL. Values are always bound, never spliced in.

{"place": "farm"} · {"place": ["farm", "zoo"]} · {"legs": {"$gte": 2, "$lt": 5}} ·
{"tags": {"$contains": "bird"}} · {"$or": [{...}, {...}], "$not": {...}, "$created_at": {"$gte":
"2026-11-01"}}. What stands in one object must all hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from memory_service.errors import InvalidInput

Scalar = str | int | float | bool | None

# A name goes into a quoted JSON path, which has no way to write a quote or a backslash.
FIELD = re.compile(r'(?!\$)[^"\\\x00-\x1f\ud800-\udfff]{1,64}')
FIELD_NAMES = "1 to 64 characters, no quote, backslash or control character, no $ in front"
INTEGERS = range(-(2**63), 2**63)  # what SQLite can compare
MAX_FIELDS = 16  # of one object
MAX_VALUES = 256  # of one list
MAX_CONDITIONS = 64
MAX_DEPTH = 8

ORDERED = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
OPERATORS = ("$eq", "$ne", "$in", "$nin", *ORDERED, "$exists", "$contains")
JUNCTIONS = ("$and", "$or", "$not")
# What a memory has besides its metadata: the column, and what is compared with it.
COLUMNS = {
    "$created_at": ("created_at", "a time"),
    "$modality": ("modality", "a text"),
    "$media_type": ("media_type", "a text"),
}


@dataclass(frozen=True)
class Compared:
    """A field with an operator; of `$in` the values are alternatives. `$ne` is `Not` of `$in`."""

    field: str
    operator: str  # $in, $exists, $contains, or one of ORDERED
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class AnyOf:
    alternatives: tuple[Filter, ...]


@dataclass(frozen=True)
class Not:
    filter: Filter


Filter = tuple[Compared | AnyOf | Not, ...]  # all of these


def parse(filter: Mapping[str, Any] | Filter | None) -> Filter:
    """Raises InvalidInput, saying what is accepted. What is parsed already stays as it is."""
    if filter is None:
        return ()
    if isinstance(filter, tuple):
        return filter
    parsed = _object(filter, MAX_DEPTH)
    if (count := _conditions(parsed)) > MAX_CONDITIONS:
        raise InvalidInput(
            f"the filter has {count} conditions, at most {MAX_CONDITIONS} are accepted",
            found=count,
            accepted=MAX_CONDITIONS,
        )
    return parsed


def _conditions(filter: Filter) -> int:
    count = 0
    for each in filter:
        if isinstance(each, AnyOf):
            count += sum(map(_conditions, each.alternatives))
        else:
            count += _conditions(each.filter) if isinstance(each, Not) else 1
    return count


def _object(filter: Any, depth: int) -> Filter:
    if not depth:
        raise InvalidInput(
            f"the filter is nested more than {MAX_DEPTH} levels deep", accepted=MAX_DEPTH
        )
    if not isinstance(filter, Mapping) or len(filter) > MAX_FIELDS:
        raise InvalidInput(
            f"filter must be an object of at most {MAX_FIELDS} fields",
            accepted={
                "field": ["value", ["value", "..."], {"operator": "value"}],
                "operators": list(OPERATORS),
                "junctions": list(JUNCTIONS),
            },
        )
    return tuple(each for name, value in filter.items() for each in _entry(name, value, depth))


def _entry(name: Any, value: Any, depth: int) -> Filter:
    if name == "$not":
        return (Not(_object(value, depth - 1)),)
    if name in ("$and", "$or"):
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_FIELDS:
            raise InvalidInput(
                f"{name} must have a list of 1 to {MAX_FIELDS} filters", accepted="list of objects"
            )
        filters = tuple(_object(each, depth - 1) for each in value)
        return (AnyOf(filters),) if name == "$or" else tuple(e for each in filters for e in each)
    field = _field(name)
    if isinstance(value, Mapping):
        return _operators(field, value)
    return (_in(field, value, many=isinstance(value, list | tuple)),)


def _field(name: Any) -> str:
    if isinstance(name, str) and (name in COLUMNS or FIELD.fullmatch(name)):
        return name
    if isinstance(name, str) and name.startswith("$"):
        raise InvalidInput(
            f"there is no {name[:80]!r} in a filter",
            found=name[:80],
            accepted=[*JUNCTIONS, *COLUMNS],
        )
    raise InvalidInput(
        f"filter field {name!r} is not a metadata field name",
        accepted=FIELD_NAMES,
    )


def _operators(field: str, conditions: Mapping[Any, Any]) -> Filter:
    if not conditions:
        raise InvalidInput(
            f"filter field {field!r} has an object without an operator", accepted=list(OPERATORS)
        )
    return tuple(_operator(field, name, value) for name, value in conditions.items())


def _operator(field: str, name: Any, value: Any) -> Compared | Not:
    if name not in OPERATORS:
        raise InvalidInput(
            f"filter field {field!r} has {str(name)[:80]!r}, which is no operator",
            found=str(name)[:80],
            accepted=list(OPERATORS),
        )
    if name == "$exists":
        if not isinstance(value, bool):
            raise InvalidInput(f"$exists of filter field {field!r} must be true or false")
        return Compared(field, name, (value,))
    if name in ORDERED:
        (bound,) = _values(field, (value,))
        if isinstance(bound, bool) or bound is None:
            raise InvalidInput(
                f"{name} of filter field {field!r} compares numbers, or texts by code point",
                accepted=["string", "number"],
            )
        return Compared(field, name, (bound,))
    if name == "$contains":
        if field in COLUMNS:
            raise InvalidInput(f"{field} is no list, which $contains looks into", accepted="$in")
        return Compared(field, name, _values(field, (value,)))
    many = name in ("$in", "$nin")
    if many and not isinstance(value, list | tuple):
        raise InvalidInput(f"{name} of filter field {field!r} must have a list", accepted="list")
    found = _in(field, value, many=many)
    return Not((found,)) if name in ("$ne", "$nin") else found


def _in(field: str, value: Any, *, many: bool) -> Compared:
    return Compared(field, "$in", _values(field, tuple(value) if many else (value,)))


def _values(field: str, values: Sequence[Any]) -> tuple[Scalar, ...]:
    if not 1 <= len(values) <= MAX_VALUES or not all(map(_is_scalar, values)):
        raise InvalidInput(
            f"filter field {field!r} must have a scalar, a list of 1 to {MAX_VALUES} scalars, or "
            "an object of operators",
            accepted=["string", "number", "boolean", "null", *OPERATORS],
        )
    wanted = COLUMNS.get(field, ("", ""))[1]
    if wanted == "a time":
        return tuple(_seconds(field, value) for value in values)
    if wanted == "a text" and not all(isinstance(value, str) for value in values):
        raise InvalidInput(f"{field} is compared with texts", accepted="string")
    return tuple(values)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int):
        return value in INTEGERS
    return isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def _seconds(field: str, value: Scalar) -> float:
    """Unix seconds, as given or of an ISO 8601 time; without an offset it is UTC."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise InvalidInput(
            f"{field} is compared with a time, and {str(value)[:80]!r} is none",
            found=str(value)[:80],
            accepted=["Unix seconds", "2026-11-24", "2026-11-24T10:00:00Z"],
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


# SQL.


def where(namespace: str | None, modality: str | None, filter: Filter) -> tuple[str, list[Any]]:
    """SQL after a WHERE that already has a condition, and the values that it binds."""
    clauses: list[str] = []
    bound: list[Any] = []
    for column, wanted in (("namespace", namespace), ("modality", modality)):
        if wanted is not None:
            clauses.append(f"{column} = ?")
            bound.append(wanted)
    if filter:  # SQLite gives up a statement that takes a field of what is no JSON
        clauses.append("json_valid(metadata)")
    for each in filter:
        clause, more = _condition(each)
        clauses.append(clause)
        bound += more
    return "".join(f" AND {clause}" for clause in clauses), bound


def expression(field: str) -> str:
    """The value of a metadata field in SQL: the same text in statements and in indexes, or SQLite
    does not use these. The name holds no quote or backslash but, perhaps, an apostrophe."""
    return f"json_extract(metadata, {_path(field)})"


def _path(field: str) -> str:
    escaped = field.replace("'", "''")
    return f"'$.\"{escaped}\"'"


def _condition(each: Compared | AnyOf | Not) -> tuple[str, list[Any]]:
    """Of a field that is not there, any comparison is false: NULL does not leave a condition."""
    if isinstance(each, Not):
        clause, bound = _all(each.filter)
        return f"({clause}) IS NOT TRUE", bound
    if isinstance(each, AnyOf):
        clauses, bounds = zip(*map(_all, each.alternatives), strict=True)
        return f"({' OR '.join(clauses)})", [value for bound in bounds for value in bound]
    if each.field in COLUMNS:
        return _column(COLUMNS[each.field][0], each)
    return _compared(each)


def _all(filter: Filter) -> tuple[str, list[Any]]:
    parts = [_condition(each) for each in filter]
    clause = " AND ".join(clause for clause, _ in parts) or "TRUE"
    return f"({clause})", [value for _, bound in parts for value in bound]


def _column(column: str, each: Compared) -> tuple[str, list[Any]]:
    if each.operator == "$exists":
        return ("TRUE" if each.values[0] else "FALSE"), []
    if each.operator in ORDERED:
        return f"{column} {ORDERED[each.operator]} ?", list(each.values)
    return f"{column} IN ({_marks(each.values)})", list(each.values)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _compared(each: Compared) -> tuple[str, list[Any]]:
    kind, value = f"json_type(metadata, {_path(each.field)})", expression(each.field)
    if each.operator == "$exists":
        return f"{kind} IS {'NOT ' if each.values[0] else ''}NULL", []
    if each.operator == "$contains":
        clause, bounds = _in_values("item.type", "item.atom", each.values)
        items = f"json_each(metadata, {_path(each.field)}) item"
        return f"({kind} = 'array' AND EXISTS (SELECT 1 FROM {items} WHERE {clause}))", bounds
    if each.operator in ORDERED:
        (bound,) = each.values
        return f"({value} {ORDERED[each.operator]} ? AND {_of_kind(kind, bound)})", [bound]
    return _in_values(kind, value, each.values)


def _of_kind(kind: str, value: Scalar) -> str:
    return f"{kind} = 'text'" if isinstance(value, str) else f"{kind} IN ('integer', 'real')"


def _in_values(kind: str, value: str, wanted: Sequence[Scalar]) -> tuple[str, list[Any]]:
    clauses: list[str] = []
    bound: list[Any] = []
    texts = [each for each in wanted if isinstance(each, str)]
    numbers = [
        each for each in wanted if isinstance(each, int | float) and not isinstance(each, bool)
    ]
    for own in (texts, numbers):
        if own:
            # One value with `=`: a list in an OR keeps SQLite from using an index.
            equal = "= ?" if len(own) == 1 else f"IN ({_marks(own)})"
            clauses.append(f"({value} {equal} AND {_of_kind(kind, own[0])})")
            bound += own
    # JSON true and 1 are both 1 to json_extract; their types differ.
    if any(each is True for each in wanted):
        clauses.append(f"({value} = 1 AND {kind} = 'true')")
    if any(each is False for each in wanted):
        clauses.append(f"({value} = 0 AND {kind} = 'false')")
    if any(each is None for each in wanted):
        clauses.append(f"{kind} = 'null'")
    return f"({' OR '.join(clauses)})", bound
