"""What an evidence pack's own verifier finds, also where the manifest was rewritten to fit."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from approvals import handlers
from approvals.domain.refusals import NotAllowed
from tests.audit.sealer import new_signer, seal
from tests.reports.test_evidence import another, order, unpack
from tests.world import World

Made = dict[str, Any]


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", "verify_all.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def rewrite(folder: Path, change: Callable[[Made], None] = lambda _: None) -> None:
    """Make the manifest fit the files again, as whoever tampers with a pack would."""
    place = folder / "manifest.json"
    manifest = json.loads(place.read_text())
    names = [it for it in folder.rglob("*") if it.is_file() and it != place]
    manifest["files"] = {
        it.relative_to(folder).as_posix(): hashlib.sha256(it.read_bytes()).hexdigest()
        for it in names
    }
    change(manifest)
    place.write_text(json.dumps(manifest))


def edit_trail(folder: Path, change: Callable[[Made], None]) -> None:
    place = min(folder.glob("samples/*/trail.json"))
    trail = json.loads(place.read_text())
    change(trail)
    place.write_text(json.dumps(trail))
    rewrite(folder)


def drop_a_decision(folder: Path) -> None:
    edit_trail(folder, lambda trail: trail["decisions"].pop())
    place = min(folder.glob("samples/*/proofs"))
    stem = max(place.glob("*-decision-*.tlog-proof")).stem
    for path in place.glob(f"{stem}.*"):
        path.unlink()
    rewrite(folder, lambda manifest: _forget(manifest, place.parent.name, stem))


def drop_a_revision(folder: Path) -> None:
    edit_trail(folder, lambda trail: trail["revisions"].pop(1))
    place = min(folder.glob("samples/*/proofs"))
    (found,) = place.glob("02-request-*.tlog-proof")
    for path in place.glob(f"{found.stem}.*"):
        path.unlink()
    rewrite(folder, lambda manifest: _forget(manifest, place.parent.name, found.stem))


def _forget(manifest: Made, folder: str, stem: str) -> None:
    (item,) = [it for it in manifest["items"] if it["folder"] == folder]
    item["entries"] = [it for it in item["entries"] if it["stem"] != stem]


def drop_a_refusal(folder: Path) -> None:
    (found,) = folder.glob("samples/*/proofs/*-refused_attempt-*.tlog-proof")
    found.unlink()
    rewrite(folder, lambda manifest: _forget(manifest, found.parent.parent.name, found.stem))


def swap_proofs(folder: Path) -> None:
    places = sorted(folder.glob("samples/*/proofs"))
    for path in sorted(places[0].glob("01-*")):
        other = places[1] / path.name
        held = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(held)

    def swap(manifest: Made) -> None:
        first, second = [
            next(it for it in manifest["items"] if it["folder"] == place.parent.name)
            for place in places
        ]
        pair = first["entries"], second["entries"]
        pair[0][0], pair[1][0] = pair[1][0], pair[0][0]

    rewrite(folder, swap)


def edit_a_value(folder: Path) -> None:
    edit_trail(folder, lambda trail: trail["decisions"][0].update(actor_name="Erin"))


def edit_what_stayed(folder: Path) -> None:
    edit_trail(folder, lambda trail: trail["revisions"][-1].update(reason="Another one."))


def invent_a_record(folder: Path) -> None:
    def invent(trail: Made) -> None:
        trail["decisions"].append(trail["decisions"][0] | {"revision": 9})

    edit_trail(folder, invent)


def withhold_values(folder: Path) -> None:
    min(folder.glob("samples/*/proofs/*-decision-*.payload.json")).unlink()
    edit_a_value(folder)


def draw_fewer(folder: Path) -> None:
    rewrite(folder, lambda manifest: manifest.update(sample_size=1))


def hide_one_of_the_population(folder: Path) -> None:
    place = folder / "samples" / "population-grants.txt"
    place.write_text("".join(place.read_text().splitlines(keepends=True)[1:]))
    rewrite(folder)


def leave_out_an_item(folder: Path) -> None:
    shutil.rmtree(min(folder.glob("samples/*/")))
    rewrite(folder, lambda manifest: manifest["items"].pop())


def prove_nothing(folder: Path) -> None:
    for path in folder.glob("samples/*/proofs/*"):
        path.unlink()

    def wait(manifest: Made) -> None:
        for item in manifest["items"]:
            for entry in item["entries"]:
                entry["sealed"] = False

    rewrite(folder, wait)


def empty_the_manifest(folder: Path) -> None:
    for path in folder.glob("samples/*/proofs/*"):
        path.unlink()
    (folder / "manifest.json").write_text('{"files": {}}')


def add_a_file(folder: Path) -> None:
    (folder / "reports" / "more.csv").write_text("x\n")


TAMPERING = {
    drop_a_decision: "the decision of revision 3 (approved) is missing",
    drop_a_revision: "does not follow",
    drop_a_refusal: "trail.json has 1 of refused_attempt",
    swap_proofs: "is the proof of another request's entry",
    edit_a_value: "actor_name is not what was sealed",
    edit_what_stayed: "reason is not what was sealed",
    invent_a_record: "trail.json has 1 of decision",
    withhold_values: "is not given, nor erased",
    draw_fewer: "the seed draws others",
    hide_one_of_the_population: "counts another population",
    leave_out_an_item: "the manifest's items are not those that were drawn",
    prove_nothing: "no proof of them is here",
    empty_the_manifest: "NOT VERIFIED",
    add_a_file: "reports/more.csv is not among the manifest's files",
}


@pytest.mark.django_db(transaction=True)
def test_what_was_tampered_with_is_named(client: Client, world: World, tmp_path: Path) -> None:
    request = world.ask()
    with pytest.raises(NotAllowed):
        world.decide(world.mallory, request)
    world.decide(world.bob, request)
    world.decide(world.carol, request)
    handlers.work("provisioning")
    world.active(by=another(world, "frank"))
    seal(new_signer())
    made = tmp_path / "pack"
    made.mkdir()
    unpack(order(client, world.dora), made)
    assert run(made).returncode == 0, run(made).stdout
    for number, (tamper, words) in enumerate(TAMPERING.items()):
        folder = tmp_path / f"tampered-{number}"
        shutil.copytree(made, folder)
        tamper(folder)
        done = run(folder)
        assert done.returncode == 1, (tamper.__name__, done.stdout, done.stderr)
        assert words in done.stdout, (tamper.__name__, done.stdout, done.stderr)
        shutil.rmtree(folder)
