"""Evidence packs: complete, reproducible, and verifiable without the portal."""

import csv
import hashlib
import html.parser
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from approvals.models import AccessRequest, Decision, Group, Membership, ReportExport, User
from approvals.reports import registry, sampling
from approvals.reports.frame import Filters
from approvals.selectors import clock
from audit.domain import entries
from audit.models import Entry
from tests.audit.sealer import new_signer, seal
from tests.world import World

real = pytest.mark.django_db(transaction=True)


def filters(**more: Any) -> Filters:
    today = clock.now().date()
    values: dict[str, Any] = {
        "first": today - timedelta(days=1), "last": today + timedelta(days=1), "zone": UTC,
    }  # fmt: skip
    return Filters(**(values | more))


def order(client: Client, who: User, **more: Any) -> Any:
    client.force_login(who)
    today = clock.now().date()
    data: dict[str, Any] = {
        "from": str(today - timedelta(days=1)), "to": str(today + timedelta(days=1)),
        "timezone": "Europe/Berlin", "report": [it.id for it in registry.REPORTS],
        "size": "2", "seed": "audit-2026",
    }  # fmt: skip
    return client.post(reverse("evidence"), data | more)


def unpack(response: Any, folder: Path) -> dict[str, Any]:
    assert response.status_code == 200
    with zipfile.ZipFile(io.BytesIO(b"".join(response))) as packed:
        assert packed.testzip() is None
        packed.extractall(folder)
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty one: the no-op target keeps its journal in `tmp_path` itself."""
    made = tmp_path / "pack"
    made.mkdir()
    return made


def another(world: World, login: str) -> User:
    person = User.objects.create_user(login, f"{login}@example.com", manager=world.bob)
    Membership.objects.create(person=person, group=Group.objects.get(name="eng"))
    return person


@real
def test_a_pack_verifies_offline_with_what_is_in_it(
    client: Client, world: World, folder: Path, later: Callable[[timedelta], None]
) -> None:
    ended = world.ended(minutes=1, reason="Stuck refunds of the 23rd.")
    active = world.active(by=another(world, "frank"))
    seal(new_signer())
    later(timedelta(minutes=2))
    manifest = unpack(order(client, world.dora), folder)
    row = ReportExport.objects.get()
    assert (row.report, row.format, str(row.uid)) == ("evidence-pack", "zip", manifest["pack"])
    assert (row.query["seed"], row.query["sample"]) == ("audit-2026", "2")
    assert manifest["checkpoint"] == row.checkpoint != ""
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert bytes(row.digest or b"").hex() == digest
    assert "digest" in entries.read(bytes(Entry.objects.get(object_id=str(row.uid)).data)).fields
    drawn = {it["name"]: set(it["drawn"]) for it in manifest["samples"]}
    assert drawn == {
        "grants": {str(ended.request_id), str(active.request_id)},
        "terminations": {str(ended.request_id)},
    }
    policy = (folder / "policy").read_text()
    assert "jit.example.com/ledger" in policy
    for record in (ended, active):
        place = folder / "samples" / record.reference
        trail = json.loads((place / "trail.json").read_text())
        revisions = AccessRequest.objects.filter(request_id=record.request_id).count()
        assert len(trail["revisions"]) == revisions
        assert [it["actor_name"] for it in trail["decisions"]] == ["Bob", "Carol"]
        sealed = revisions + len(trail["decisions"]) + len(trail["grant_events"])
        proofs = sorted((place / "proofs").glob("*.tlog-proof"))
        assert len(proofs) == sealed
        for proof in proofs:
            done = _verify(folder, proof)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "VERIFIED" in done.stdout
    text = (folder / "samples" / ended.reference / "trail.txt").read_text()
    assert "Stuck refunds of the 23rd." in text
    assert "Bob: Approved" in text
    done = subprocess.run(
        [sys.executable, "verify_all.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert digest in done.stdout
    assert f"report_export {row.uid}" in done.stdout
    number = len(list(folder.glob("samples/*/proofs/*.tlog-proof")))
    assert f"{number} of {number} proofs VERIFIED." in done.stdout

    entry = next((folder / "samples" / ended.reference / "proofs").glob("01-*.entry.json"))
    entry.write_bytes(entry.read_bytes().replace(b'"rev":1', b'"rev":9', 1))
    done = subprocess.run(
        [sys.executable, "verify_all.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "CHANGED" in done.stdout
    assert "FAILED" in done.stdout


def _verify(folder: Path, proof: Path) -> subprocess.CompletedProcess[str]:
    stem = proof.name.removesuffix(".tlog-proof")
    command = [sys.executable, str(folder / "verifier.py"), "proof", str(proof)]
    command += ["--entry", str(proof.with_name(f"{stem}.entry.json"))]
    command += ["--payload", str(proof.with_name(f"{stem}.payload.json"))]
    command += ["--policy", str(folder / "policy")]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_every_report_and_every_hash_is_in_it(client: Client, world: World, folder: Path) -> None:
    world.ended(minutes=1)
    manifest = unpack(order(client, world.admin), folder)
    for each in manifest["reports"]:
        with (folder / "reports" / f"{each['id']}.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        assert header == [column.key for column in registry.report(each["id"]).columns]
        assert len(rows) == each["rows"]
    assert {it["id"] for it in manifest["reports"]} == {it.id for it in registry.REPORTS}
    packed = {str(it.relative_to(folder)) for it in folder.rglob("*") if it.is_file()}
    assert packed == {*manifest["files"], "manifest.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_cover_is_complete_and_needs_nothing_from_outside(
    client: Client, world: World, folder: Path
) -> None:
    world.alice.name = "<b>Alice</b>"
    world.alice.save()
    record = world.ended(minutes=1, reason="<script>alert(1)</script>")
    unpack(order(client, world.dora), folder)
    text = (folder / "index.html").read_text()
    parser = _Links()
    parser.feed(text)
    assert parser.links
    for link in parser.links:
        assert (folder / link).is_file(), link
    assert not parser.tags & {"script", "img", "link", "iframe"}
    assert "&lt;b&gt;Alice" in text
    assert record.reference in text
    assert "not sealed yet" in text  # nothing was sealed in this test


def test_a_sample_follows_from_its_seed_and_the_ids_alone(world: World) -> None:
    made = [world.active(by=another(world, f"p{number}")) for number in range(6)]
    keys = [str(record.request_id) for record in made]
    for seed in ("a", "b", "ü"):
        found = sampling.draw("grants", filters(), seed=seed, size=4)
        tickets = {key: hashlib.sha256(f"{seed}:grants:{key}".encode()).hexdigest() for key in keys}
        assert [str(key) for key in found.drawn] == sorted(keys, key=tickets.__getitem__)[:4]
        assert found.population == 6
        assert found == sampling.draw("grants", filters(), seed=seed, size=4)
    assert len({sampling.draw("grants", filters(), seed=s, size=4).drawn for s in "abcde"}) > 1
    assert sorted(map(str, sampling.ids("grants", filters()))) == sorted(keys)


def test_populations_are_what_began_and_what_was_confirmed_in_the_period(world: World) -> None:
    world.ended(minutes=1)
    world.active(by=another(world, "frank"))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE event = 'activated'),"
            " count(*) FILTER (WHERE event = 'confirmed') FROM approvals_accessrequest"
        )
        counts = cursor.fetchone()
    found = [sampling.draw(it, filters(), seed="s", size=9) for it in sampling.POPULATIONS]
    assert tuple(it.population for it in found) == counts == (2, 1)
    long_ago = filters(first=date(2001, 1, 1), last=date(2001, 1, 2))
    for name in sampling.POPULATIONS:
        assert sampling.draw(name, long_ago, seed="s", size=9) == sampling.Sample(name, 0, ())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"size": "0"}, "from 1 to 40"),
        ({"size": "41"}, "from 1 to 40"),
        ({"size": "x"}, "from 1 to 40"),
        ({"seed": "x" * 65}, "1 to 64 letters"),
        ({"seed": "'; rm"}, "1 to 64 letters"),
        ({"report": []}, "one report at least"),
        ({"report": ["nothing"]}, "one report at least"),
        ({"timezone": "Mars/Base"}, "Name a timezone"),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "ends before it begins"),
    ],
)
def test_nonsense_is_said_beside_its_field(
    client: Client, world: World, more: dict[str, Any], words: str
) -> None:
    response = order(client, world.dora, **more)
    assert response.status_code == 400
    assert words in response.content.decode()
    assert ReportExport.objects.count() == 0


def test_the_page_says_what_will_be_in_it_and_only_roles_see_it(
    client: Client, world: World
) -> None:
    client.force_login(world.dora)
    page = client.get(reverse("evidence")).content.decode()
    for report in registry.REPORTS:
        assert f'value="{report.id}" checked' in page
    assert 'name="seed"' in page
    assert "style=" not in page
    assert ReportExport.objects.count() == 0
    assert order(client, world.alice).status_code == 403
    assert Decision.objects.count() == 0


def test_the_report_of_downloads_shows_what_vouches_for_a_pack(
    client: Client, world: World, folder: Path
) -> None:
    unpack(order(client, world.dora, report=["report-downloads"]), folder)
    assert len((folder / "reports" / "report-downloads.csv").read_text().splitlines()) == 1
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    response = client.get(reverse("report_csv", args=["report-downloads"]))
    (row,) = csv.DictReader(io.StringIO(b"".join(response).decode(), newline=""))
    assert (row["report"], row["digest"]) == ("Evidence pack", digest)
