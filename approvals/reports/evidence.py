"""Evidence packs: one archive of a period that an auditor takes away and checks without the portal.

Reports as CSV; seeded samples of grants and terminations, each item with its trail and the proofs
of its entries; the verifier, the published keys, a manifest of every file's hash, and a cover that
says what is what. It is written to a file on disk, and recorded as a download before any of it is
sent; the record has the manifest's hash, and so vouches for all of it in the log.
"""

import itertools
import json
import secrets
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from django.template import Context, Engine

from approvals.models import ReportExport, User
from approvals.reports import frame, sampling, tables, trails, verify_all
from approvals.reports.files import LINES_AT_ONCE
from approvals.reports.frame import Filters, Report
from approvals.reports.sampling import Sample
from approvals.services import exports
from audit.domain import verifier
from audit.selectors import policies

ID, TITLE = "evidence-pack", "Evidence pack"
COVER = Path(__file__).with_name("cover.html")


@dataclass(frozen=True)
class Order:
    """What a pack is to hold. `query` is what is recorded of it, as texts."""

    reports: tuple[Report, ...]
    filters: Filters
    seed: str
    size: int
    query: Mapping[str, str]


@dataclass
class Pack:
    """A pack on disk; closing `file` removes it."""

    export: ReportExport
    file: IO[bytes]
    name: str


@dataclass
class _Item:
    """A sampled request as the cover lists it."""

    folder: str
    trail: trails.Trail
    of: list[str]
    proofs: int = 0
    entries: list[dict[str, Any]] = field(default_factory=list)

    @property
    def unsealed(self) -> int:
        """Return how many of its entries were not sealed yet."""
        return sum(not entry["sealed"] for entry in self.entries)


@dataclass
class _Archive:
    """A zip that keeps each file's hash, for the manifest."""

    zip: zipfile.ZipFile
    at: datetime
    hashes: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, parts: Iterable[bytes]) -> None:
        """Write a file in pieces."""
        info = zipfile.ZipInfo(name, self.at.timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        digest = sha256()
        with self.zip.open(info, "w", force_zip64=True) as file:
            for part in parts:
                digest.update(part)
                file.write(part)
        self.hashes[name] = digest.hexdigest()

    def text(self, name: str, text: str) -> None:
        """Write a text."""
        self.add(name, [text.encode()])


def new_seed() -> str:
    """Return a seed that nobody chose."""
    return secrets.token_hex(8)


def make(order: Order, *, actor: User, now: datetime) -> Pack:
    """Return the pack, all of one moment; that `actor` takes it away is on record by then."""
    file = tempfile.TemporaryFile(suffix=".zip")  # noqa: SIM115 - the caller closes it
    try:
        with frame.snapshot(), zipfile.ZipFile(file, "w") as made:
            archive = _Archive(made, now.astimezone(order.filters.zone))
            counts = {report.id: report.count(order.filters) for report in order.reports}
            samples, items = _add_contents(archive, order)
            export = exports.draft(
                actor=actor,
                report=ID,
                title=TITLE,
                query=order.query,
                rows=sum(counts.values()),
                format="zip",
                now=now,
            )
            about = _about(order, export=export, actor=actor, at=archive.at)
            _add_cover(archive, about, order, counts=counts, samples=samples, items=items)
            # Recorded last: the manifest is known by now, and no report in it counts this download.
            exports.record_made(export, digest=bytes.fromhex(archive.hashes["manifest.json"]))
    except BaseException:
        file.close()
        raise
    file.seek(0)
    days = f"{order.filters.first}_{order.filters.last}"
    return Pack(export, file, f"evidence_{days}_{export.uid}.zip")


def _add_contents(archive: _Archive, order: Order) -> tuple[list[Sample], list[_Item]]:
    """Write reports, samples and what verifies them; return what was sampled."""
    filters = order.filters
    for report in order.reports:
        rows = report.rows(filters, None, None)
        lines = tables.csv_lines(report.columns, rows, zone=filters.zone)
        archive.add(f"reports/{report.id}.csv", _pieces(lines))
    samples = [
        sampling.draw(name, filters, seed=order.seed, size=order.size)
        for name in sampling.POPULATIONS
    ]
    items = _items(samples)
    prover = trails.Prover([item.trail for item in items])
    for item in items:
        _add_item(archive, item, prover, filters)
    for sample in samples:
        archive.add(
            f"samples/population-{sample.name}.txt",
            _pieces(f"{each}\n" for each in sampling.ids(sample.name, filters)),
        )
        drawn = "".join(f"{each}\n" for each in sample.drawn)
        archive.text(f"samples/drawn-{sample.name}.txt", drawn)
    published = policies.published()
    archive.add("policy", [published.encode() if published else b""])
    archive.add("verifier.py", [Path(verifier.__file__).read_bytes()])
    archive.add("verify_all.py", [Path(verify_all.__file__).read_bytes()])
    return samples, items


def _add_cover(
    archive: _Archive,
    about: dict[str, Any],
    order: Order,
    *,
    counts: dict[str, int],
    samples: list[Sample],
    items: list[_Item],
) -> None:
    """Write the cover, and the manifest of everything."""
    archive.text("index.html", _cover(about, order, counts, samples, items))
    content = about | {
        "reports": [
            {"id": it.id, "title": it.title, "controls": it.controls, "rows": counts[it.id]}
            for it in order.reports
        ],
        "samples": [
            {"name": it.name, "population": it.population, "drawn": [str(key) for key in it.drawn]}
            for it in samples
        ],
        "items": [
            {
                "request": str(it.trail.request_id),
                "folder": it.folder,
                "drawn_as": it.of,
                "entries": it.entries,
            }
            for it in items
        ],
        "files": dict(archive.hashes),
    }
    archive.text("manifest.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _pieces(lines: Iterable[str]) -> Iterator[bytes]:
    """Yield lines in larger pieces, as a zip wants them."""
    found = iter(lines)
    while piece := "".join(itertools.islice(found, LINES_AT_ONCE)):
        yield piece.encode()


def _items(samples: Iterable[Sample]) -> list[_Item]:
    """Return each sampled request once, with the samples that it is in."""
    found: dict[Any, _Item] = {}
    folders: set[str] = set()
    for sample in samples:
        for key in sample.drawn:
            if key not in found:
                trail = trails.load(key)
                folder = trail.reference if trail.reference not in folders else str(key)
                folders.add(folder)
                found[key] = _Item(folder, trail, [])
            found[key].of.append(sample.name)
    return list(found.values())


def _add_item(archive: _Archive, item: _Item, prover: trails.Prover, filters: Filters) -> None:
    folder = f"samples/{item.folder}"
    archive.text(f"{folder}/trail.txt", trails.as_text(item.trail, zone=filters.zone))
    archive.text(f"{folder}/trail.json", trails.as_json(item.trail))
    for piece in prover.pieces(item.trail):
        stem = f"{folder}/proofs/{piece.stem}"
        archive.add(f"{stem}.tlog-proof", [piece.proof])
        archive.add(f"{stem}.entry.json", [piece.entry])
        if piece.payload is not None:
            archive.add(f"{stem}.payload.json", [piece.payload])
        item.proofs += 1
    item.entries = prover.expected(item.trail)


def _about(order: Order, *, export: ReportExport, actor: User, at: datetime) -> dict[str, Any]:
    filters = order.filters
    return {
        "pack": str(export.uid),
        "from": filters.first.isoformat(),
        "to": filters.last.isoformat(),
        "as_of": filters.moment.astimezone(filters.zone).isoformat(),
        "timezone": str(filters.zone),
        "resource": filters.resource_name,
        "person": filters.person_login,
        "generated_by": actor.username,
        "generated_at": at.isoformat(timespec="milliseconds"),
        "rows": export.rows,
        "seed": order.seed,
        "sample_size": order.size,
        "checkpoint": export.checkpoint,
    }


def _cover(
    about: dict[str, Any],
    order: Order,
    counts: dict[str, int],
    samples: list[Sample],
    items: list[_Item],
) -> str:
    template = Engine(autoescape=True).from_string(COVER.read_text(encoding="utf-8"))
    context = {
        "about": about,
        "reports": [(report, counts[report.id]) for report in order.reports],
        "samples": samples,
        "items": items,
        "unsealed": sum(item.unsealed for item in items),
        "proofs": sum(item.proofs for item in items),
    }
    return str(template.render(Context(context)))
