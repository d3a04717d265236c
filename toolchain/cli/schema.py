"""`prunec schema`: the JSON Schemas of what a bundle holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from toolchain.emit.manifest import Manifest
from toolchain.emit.report import Report
from toolchain.graph.plan import Plan
from toolchain.verify.verification import Verification


class Document(StrEnum):
    """What there is a schema for."""

    REPORT = "report"
    MANIFEST = "manifest"
    PLAN = "plan"
    VERIFICATION = "verification"


MODELS: Mapping[Document, type[BaseModel]] = {
    Document.REPORT: Report,
    Document.MANIFEST: Manifest,
    Document.PLAN: Plan,
    Document.VERIFICATION: Verification,
}


def schema(document: Annotated[Document, typer.Argument(help="Which file of a bundle.")]) -> None:
    """Print the JSON Schema of report.json, manifest.json, plan.json, or of what `verify --json` prints."""
    print(json.dumps(schema_of(document), indent=2))


def schema_of(document: Document) -> dict[str, Any]:
    """Return a schema with its name and version."""
    model = MODELS[document]
    version = model.model_fields["schema_version"].default
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:prunec:{document}:{version}"}
    return {**head, **model.model_json_schema(mode="serialization")}
