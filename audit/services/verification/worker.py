"""What a process of its own does for verification; may be imported before Django is up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audit.services.verification.scanning import Run, Scanned, Scanner

_here: Scanner | None = None


def start(parameters: dict[str, Any], name: str, erased: Any) -> None:
    """Get ready to scan in the named snapshot of the process that started this one."""
    global _here
    import django

    django.setup()
    from audit.services.verification import kinds, scanning, snapshot

    raw = snapshot.join(parameters, name)
    _here = scanning.Scanner(raw, kinds.every(), erased)


def scan(run: Run) -> Scanned:
    """Return what a run comes to."""
    assert _here is not None
    return _here.scan(run)
