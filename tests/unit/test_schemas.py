"""The published schemas: made from the Structs, complete, and committed as they are made."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

import schemas

MADE = schemas.make_schemas()
DEFINITIONS: dict[str, Any] = MADE["$defs"]
STRUCTS = {name: struct for name, (struct, _) in {**schemas.PRINTED, **schemas.PARTS}.items()}


def test_committed_schemas_are_what_the_structs_say() -> None:
    committed = Path(schemas.FILE).read_text(encoding="utf-8")

    assert committed == schemas.as_text(MADE), "run: python build/schemas.py"


def test_document_is_a_schema_with_a_version_and_a_promise() -> None:
    jsonschema.Draft202012Validator.check_schema(MADE)

    assert isinstance(MADE["version"], int)
    assert "only added" in MADE["description"]
    assert [choice["$ref"] for choice in MADE["anyOf"]] == [f"#/$defs/{name}" for name in schemas.PRINTED]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_field_is_described(name: str) -> None:
    fields = DEFINITIONS[name]["properties"]

    assert fields
    assert [field for field, shape in fields.items() if not shape["description"].endswith(".")] == []


@pytest.mark.parametrize("name", DEFINITIONS)
def test_nothing_is_described_that_is_no_field(name: str) -> None:
    described = schemas.DESCRIPTIONS.get(STRUCTS[name], {})

    assert described.keys() <= DEFINITIONS[name]["properties"].keys()
    assert described.keys().isdisjoint(schemas.field_docstrings(STRUCTS[name])), "described twice"


@pytest.mark.parametrize("name", DEFINITIONS)
def test_no_field_may_be_null(name: str) -> None:
    assert "null" not in str(DEFINITIONS[name])


def test_times_and_ids_have_a_format() -> None:
    fields = [(field, shape) for made in DEFINITIONS.values() for field, shape in made["properties"].items()]
    times = {shape.get("format") for field, shape in fields if field in {"at", "until", "since"} or field[-3:] == "_at"}
    ids = {shape.get("format") for field, shape in fields if field in {"session_id", "continues"}}

    assert times == {"date-time"}
    assert ids == {"uuid"}
