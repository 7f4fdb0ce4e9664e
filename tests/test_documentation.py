"""Every route, error code and setting is documented."""

import re
from pathlib import Path

import pytest

from memory_service import errors
from memory_service.api import create_app
from memory_service.api.error_pages import MEANINGS
from memory_service.api.headings import HEADINGS, TAGS
from memory_service.api.problems import HTTP_CODES, INTERNAL, MALFORMED_JSON, STATUS, codes
from memory_service.api.statuses import ANYWHERE, ERRORS
from memory_service.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
API = (DOCS / "api.md").read_text()


def error_classes(base: type = errors.MemoryServiceError) -> list[type]:
    found = []
    for each in base.__subclasses__():
        found += [each, *error_classes(each)]
    return found


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_every_error_has_a_status_that_is_documented(error: type) -> None:
    assert f"| {STATUS[error]} | `{error.code}` |" in API


@pytest.mark.parametrize("code", [*HTTP_CODES.values(), INTERNAL, MALFORMED_JSON])
def test_every_code_of_the_http_layer_is_documented(code: str) -> None:
    assert f"`{code}`" in API


def test_every_route_is_documented_and_no_other() -> None:
    paths = create_app(settings=Settings(profile="fake")).openapi()["paths"]
    routes = {f"`{method.upper()} {path}`" for path, verbs in paths.items() for method in verbs}
    documented = {line.split("|")[1].strip() for line in API.splitlines() if line.startswith("| `")}
    assert documented == routes


def references(value: object) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_the_pages_of_errors_say_what_the_table_says() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \| (.*) \|$", API, re.M)
    told = {}
    for status, code, when in rows:
        plain = re.sub(r"\s*\(\[guide\]\([^)]*\)\)", "", when)
        told[code] = (int(status), re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain).replace("`", ""))
    assert told == MEANINGS


def test_every_operation_has_a_heading_and_no_other() -> None:
    paths = create_app(settings=Settings(profile="fake")).openapi()["paths"]
    operations = {f"{method.upper()} {path}" for path, each in paths.items() for method in each}
    assert operations == HEADINGS.keys()
    assert {tag for tag, _ in HEADINGS.values()} == TAGS.keys()


def test_what_the_document_refers_to_is_in_it() -> None:
    document = create_app(settings=Settings(profile="fake")).openapi()
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= schemas


def test_the_errors_of_every_route_are_declared_as_problems() -> None:
    document = create_app(settings=Settings(profile="fake")).openapi()
    schema = {"$ref": "#/components/schemas/Problem"}
    declared = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            errors_of = {key: each for key, each in operation["responses"].items() if key >= "400"}
            assert {"403", "500"} <= errors_of.keys()
            for each in errors_of.values():
                assert each["content"] == {"application/problem+json": {"schema": schema}}
            declared[f"{method.upper()} {path}"] = set(errors_of)
    assert declared.keys() == ERRORS.keys()
    assert declared["POST /store"] >= {"400", "409", "413", "415", "422", "429", "503", "507"}
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.parametrize(
    "status", sorted({*ANYWHERE, *(s for each in ERRORS.values() for s in each)})
)
def test_a_declared_status_has_codes_that_are_documented(status: int) -> None:
    assert codes(status)
    for code in codes(status):
        assert f"| {status} | `{code}` |" in API


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert f"MEMORY_SERVICE_{name.upper()}" in (DOCS / "guide.md").read_text()


def test_the_guide_has_an_index_of_all_its_parts() -> None:
    guide = (DOCS / "guide.md").read_text()
    parts = re.findall(r"^## (.+)$", guide, re.M)
    index = re.findall(r"\[(.+?)\]\(#(.+?)\)", guide[: guide.index("\n## ")])
    assert sorted(name for name, _ in index) == sorted(parts)
    for name, anchor in index:
        assert anchor == re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "page", [DOCS / "guide.md", DOCS.parent / "README.md"], ids=lambda p: p.name
)
def test_every_example_is_named(page: Path) -> None:
    scripts = {path.name for path in (DOCS.parent / "examples").iterdir() if path.is_file()}
    assert scripts <= set(re.findall(r"`(\w+\.(?:py|sh))", page.read_text()))
