"""Exports of the test's own log, and the shipped verifier run over them as the file that it is."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
from django.core.management import call_command

from tests.conftest import as_role


@contextmanager
def unguarded(*tables: str) -> Iterator[psycopg.Connection[Any]]:
    """A superuser whom no trigger stops on these tables; afterwards they are guarded again."""
    with as_role("superuser") as raw:
        for table in tables:
            raw.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield raw
        for table in tables:
            for (name,) in raw.execute(
                "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal",
                [table],
            ).fetchall():
                raw.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")


def export(folder: Path, **options: Any) -> str:
    """Run `ledger_export` and return what it said."""
    said = io.StringIO()
    call_command("ledger_export", str(folder), stdout=said, **options)
    return said.getvalue()


def load(path: Path) -> ModuleType:
    """Return a verifier file as a module of its own, apart from the product's."""
    spec = importlib.util.spec_from_file_location("shipped_verifier", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def verify(folder: Path, *words: str, program: ModuleType | None = None) -> dict[str, Any]:
    """Return what the export's verifier answers in JSON; `words` are more arguments."""
    shipped = program or load(folder / "verifier.py")
    said = io.StringIO()
    with redirect_stdout(said):
        status = shipped.main(["export", str(folder), "--json", *words])
    found: dict[str, Any] = json.loads(said.getvalue())
    assert status == (0 if found["ok"] else 1)
    return found
