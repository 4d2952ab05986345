"""Exports: what is written verifies by the shipped file, and goes on from what is there."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from django.core.management.base import CommandError

from approvals.models import AccessRequest
from audit.domain import entries, note
from audit.models import Entry, Log
from audit.selectors import log as reads
from audit.selectors import payloads
from audit.services import exporting
from tests.audit.exports import export, load, unguarded, verify
from tests.audit.sealer import new_signer, seal
from tests.conftest import as_role
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def signer() -> note.LogSigner:
    return new_signer()


@pytest.fixture
def log(world: World, signer: note.LogSigner) -> Log:
    world.ended()
    return seal(signer)


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_many(count: int) -> None:
    """Insert entries that no record stands behind, so that a log grows fast."""
    with as_role("superuser") as raw:
        made = [
            entries.Entry(
                model="test", id=f"t{n}-{random.random()}", rev=1, prev="", op="made",
                actor="system", at="2026-07-22T16:23:02.000000Z",
            ).encode()
            for n in range(count)
        ]  # fmt: skip
        raw.execute(
            "INSERT INTO audit_entry (model, object_id, data)"
            " SELECT 'test', convert_from(d, 'utf8')::jsonb->>'id', d FROM unnest(%s::bytea[]) d",
            [made],
        )


def test_an_export_verifies_with_every_value(
    log: Log, signer: note.LogSigner, tmp_path: Path
) -> None:
    said = export(tmp_path / "out", with_payloads=True)
    newest = reads.newest_checkpoint(log)
    assert newest is not None
    assert f"{newest.size} leaves" in said
    found = verify(tmp_path / "out", "--vkey", signer.key.vkey)
    assert found["problems"] == []
    assert (found["entries"], found["erased"], found["foreign_entries"]) == (newest.size, 0, 0)
    committed = sum(len(each.names) for each in payloads.read(log, start=0, count=newest.size))
    assert found["values"] == committed > 100
    assert verify(tmp_path / "out")["keys_from"].startswith("THE EXPORT'S OWN")


def test_without_payloads_nothing_that_anybody_wrote_is_exported(
    world: World, signer: note.LogSigner, tmp_path: Path
) -> None:
    reason = "Zebra-42 is why"
    world.ask(reason=reason)
    seal(signer)
    export(tmp_path / "bare")
    everything = b"".join(data for data, _ in files(tmp_path / "bare").values())
    assert reason.encode() not in everything
    assert world.alice.email.encode() not in everything
    export(tmp_path / "full", with_payloads=True)
    assert reason.encode() in (tmp_path / "full/payloads.jsonl").read_bytes()


def test_an_export_goes_on_where_it_was_and_continues_the_earlier_checkpoint(
    log: Log, signer: note.LogSigner, world: World, tmp_path: Path
) -> None:
    folder, kept = tmp_path / "out", tmp_path / "kept"
    write_many(700)
    seal(signer)
    export(folder, with_payloads=True)
    shutil.copy(folder / "checkpoint", kept)
    before = files(folder)
    export(folder, with_payloads=True)
    assert {n: d for n, (d, _) in files(folder).items()} == {n: d for n, (d, _) in before.items()}
    world.ended()
    write_many(900)
    seal(signer)
    said = export(folder, with_payloads=True)
    assert f"{reads.newest_checkpoint(log).size} leaves (9" in said  # type: ignore[union-attr]
    after = files(folder)
    for name, held in before.items():
        if name.startswith("tile/") and ".p/" not in name:
            assert after[name] == held, f"{name} was written again"
    partial = {name for name in after if ".p/" in name}
    assert not partial & {name for name in before if ".p/" in name}, "outgrown tiles stay"
    found = verify(folder, "--vkey", signer.key.vkey, "--old", str(kept))
    assert found["problems"] == []
    assert 700 < found["old_size"] < found["size"] - 900


def test_an_interrupted_export_is_gone_on_with(
    log: Log, signer: note.LogSigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_many(5_000)
    seal(signer)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        exporting.export(folder, log=log, progress=stop)
    assert not (folder / "checkpoint").exists()
    begun = files(folder)
    assert len(begun) > 15
    export(folder)
    after = files(folder)
    assert all(after[name] == held for name, held in begun.items())
    assert verify(folder, "--vkey", signer.key.vkey)["ok"]


def test_an_older_size_is_exported_by_its_own_checkpoint(
    log: Log, signer: note.LogSigner, tmp_path: Path
) -> None:
    size = reads.newest_checkpoint(log).size  # type: ignore[union-attr]
    write_many(300)
    seal(signer)
    export(tmp_path / "old", size=size, with_payloads=True)
    assert verify(tmp_path / "old", "--vkey", signer.key.vkey)["size"] == size
    with pytest.raises(CommandError, match=f"The next larger one is of {size}"):
        export(tmp_path / "none", size=size - 1)
    export(tmp_path / "new")
    with pytest.raises(CommandError, match="--size is smaller than before"):
        export(tmp_path / "new", size=size)


def test_a_folder_of_something_else_is_refused(
    log: Log, signer: note.LogSigner, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(CommandError, match="something else"):
        export(tmp_path / "mine")
    export(tmp_path / "old")
    seal(new_signer("jit.example.com/ledger-2"))
    with pytest.raises(CommandError, match="another log's export"):
        export(tmp_path / "old")
    export(tmp_path / "old", log=log.origin)
    assert verify(tmp_path / "old", "--vkey", signer.key.vkey)["ok"]
    with pytest.raises(CommandError, match="no log jit"):
        export(tmp_path / "other", log="jit.example.com/nowhere")


def test_a_folder_with_payloads_is_not_left_with_half_of_them(
    log: Log, signer: note.LogSigner, tmp_path: Path
) -> None:
    export(tmp_path / "out", with_payloads=True)
    with pytest.raises(CommandError, match="has payloads"):
        export(tmp_path / "out")


def test_a_folder_that_the_log_does_not_continue_is_kept_as_evidence(
    log: Log, signer: note.LogSigner, tmp_path: Path
) -> None:
    export(tmp_path / "out")
    with unguarded("audit_leaf") as raw:
        raw.execute("UPDATE audit_leaf SET hash = sha256('x') WHERE index = 2")
    before = files(tmp_path / "out")
    with pytest.raises(CommandError, match="it is evidence"):
        export(tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_a_value_that_was_changed_in_its_column_is_found_in_the_export(
    log: Log, signer: note.LogSigner, tmp_path: Path
) -> None:
    row = AccessRequest.objects.order_by("id")[0]
    with unguarded("approvals_accessrequest") as raw:
        raw.execute(
            "UPDATE approvals_accessrequest SET reason = 'another', duration_seconds = 7"
            " WHERE id = %s",
            [row.pk],
        )
    export(tmp_path / "out", with_payloads=True)
    found = verify(tmp_path / "out", "--vkey", signer.key.vkey)
    assert f"request {row.request_id}, revision 1" in found["first_bad"]


def test_the_log_of_a_new_key_verifies_and_says_what_it_continues(
    log: Log, signer: note.LogSigner, world: World, tmp_path: Path
) -> None:
    request = world.ask()
    seal(signer)
    export(tmp_path / "old", with_payloads=True)
    second = new_signer("jit.example.com/ledger-2")
    seal(second)
    world.decide(world.bob, request)
    seal(second)
    export(tmp_path / "new", with_payloads=True)
    found = verify(tmp_path / "new", "--old", str(tmp_path / "old/checkpoint"))
    assert found["problems"] == []
    assert (found["continued"], found["old_origin"]) == (1, log.origin)


def erase(request: AccessRequest, *names: str) -> None:
    """Do by hand what an erasure does to the log: an entry that says so, and the salts are gone."""
    held = Entry.objects.filter(model="request", object_id=str(request.request_id)).order_by("id")
    newest = bytes(held[len(held) - 1].data)
    said = entries.Entry(
        type=entries.ERASURE, model="request", id=str(request.request_id),
        rev=entries.read(newest).rev, prev=entries.digest(newest), op="erase", actor="system",
        at="2026-07-22T16:23:02.000000Z", fields=dict.fromkeys(names, ""),
    )  # fmt: skip
    with unguarded("audit_entry", "audit_salt") as raw:
        for each in held:
            salts = bytes(each.salt.salts)
            for place, name in enumerate(sorted(entries.read(bytes(each.data)).fields)):
                if name in names:
                    salts = salts[: place * 32] + bytes(32) + salts[place * 32 + 32 :]
            raw.execute("UPDATE audit_salt SET salts = %s WHERE entry_id = %s", [salts, each.pk])
        raw.execute(
            "INSERT INTO audit_entry (xid, recorded_at, model, object_id, data)"
            " VALUES (pg_current_xact_id(), now(), 'request', %s, %s)",
            [str(request.request_id), said.encode()],
        )


def test_erased_values_are_left_out_and_say_by_which_leaf(
    log: Log, signer: note.LogSigner, world: World, tmp_path: Path
) -> None:
    reason, folder = "Zebra-42 is why", tmp_path / "out"
    request = world.ask(reason=reason)
    seal(signer)
    export(folder, with_payloads=True)
    size = reads.newest_checkpoint(log).size  # type: ignore[union-attr]
    erase(request, "reason")
    with pytest.raises(exporting.NotExported, match="is the sealer running"):
        exporting.export(tmp_path / "early", log=log, with_payloads=True, patience_seconds=0.3)
    seal(signer)
    with pytest.raises(CommandError, match=f"export at least {size + 1} leaves"):
        export(tmp_path / "older", with_payloads=True, size=size)
    export(folder, with_payloads=True)
    assert reason.encode() not in (folder / "payloads.jsonl").read_bytes()
    found = verify(folder, "--vkey", signer.key.vkey)
    assert (found["problems"], found["erased"]) == ([], 1)
    assert found["erased_listed"][0]["see"] == size


def test_an_older_logs_export_brings_proofs_of_what_was_erased_since(
    log: Log, signer: note.LogSigner, world: World, tmp_path: Path
) -> None:
    request = world.ask(reason="Zebra-42 is why")
    seal(signer)
    second = new_signer("jit.example.com/ledger-2")
    seal(second)
    erase(request, "reason")
    newer = seal(second)
    folder = tmp_path / "out"
    export(folder, with_payloads=True, log=log.origin)
    keys = ("--vkey", signer.key.vkey, "--vkey", second.key.vkey)
    found = verify(folder, *keys)
    assert found["problems"] == []
    (erased,) = found["erased_listed"]
    last = reads.newest_checkpoint(newer).size - 1  # type: ignore[union-attr]
    assert (erased["field"], erased["see"], erased["log"]) == ("reason", last, newer.origin)
    assert not verify(folder, *keys[:2])["ok"], "the later log's key is needed"
    for path in sorted((folder / "later").iterdir()):
        good = path.read_bytes()
        path.write_bytes(good.replace(b"a", b"b", 1))
        assert not verify(folder, *keys)["ok"], path.name
        path.write_bytes(good)
    shutil.rmtree(folder / "later")
    (problem,) = verify(folder, *keys)["problems"]
    assert "reason is missing, and nothing erased it" in problem["what"]


def test_random_changes_of_an_export_are_all_found(
    log: Log, signer: note.LogSigner, tmp_path: Path
) -> None:
    write_many(300)
    seal(signer)
    folder = tmp_path / "out"
    export(folder, with_payloads=True)
    program = load(folder / "verifier.py")
    trust = ("--vkey", signer.key.vkey)
    assert verify(folder, *trust, program=program)["ok"]
    chance = random.Random(20_260_722)
    named = ["checkpoint", "payloads.jsonl"]
    named += [str(path.relative_to(folder)) for path in folder.glob("tile/**/*") if path.is_file()]
    for number in range(300):
        name = chance.choice(named)
        path = folder / name
        good = path.read_bytes()
        bad = mutated(good, chance)
        path.write_bytes(bad)
        found = verify(folder, *trust, program=program)
        assert not found["ok"], (number, name)
        path.write_bytes(good)
    assert verify(folder, *trust, program=program)["ok"]


def mutated(good: bytes, chance: random.Random) -> bytes:
    """Return bytes with one thing changed: a bit, a byte, a stretch cut, doubled or swapped."""
    at, length = chance.randrange(len(good)), chance.randint(1, 40)
    cut, rest = good[at : at + length], good[at + length :]
    bad = good
    while bad == good:
        match chance.randrange(5):
            case 0:
                bad = good[:at] + bytes([good[at] ^ 1 << chance.randrange(8)]) + good[at + 1 :]
            case 1:
                bad = good[:at] + bytes([chance.randrange(256)]) + good[at + 1 :]
            case 2:
                bad = good[:at] + rest
            case 3:
                bad = good[:at] + cut + cut + rest
            case _:
                bad = good[:at] + cut[::-1] + rest
    return bad
