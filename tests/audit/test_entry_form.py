"""One bad entry, by whoever may insert entries, is in nobody's way: not taken, or passed over."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from approvals.models import Policy
from audit.domain import entries
from audit.domain.note import LogSigner
from audit.models import Entry, Leaf
from audit.selectors import clock
from audit.selectors import log as reads
from audit.services import sealing
from jitportal.embedded import roles
from tests.audit.exports import export
from tests.audit.sealer import lead, new_signer, seal, sealer
from tests.audit.tampering import look, superuser, tamper
from tests.conftest import as_role
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)

INSERT = "INSERT INTO audit_entry (model, object_id, data) VALUES (%s, %s, %s)"


def made(*, model: str = "policy", id: str = "7", rev: int = 1, type: str = "rev") -> bytes:
    return entries.Entry(
        model=model, id=id, rev=rev, prev="" if rev == 1 else "ab" * 32, op="changed",
        actor=entries.SYSTEM, at="2026-07-22T16:23:02.000000Z", type=type,
    ).encode()  # fmt: skip


def long_entry() -> bytes:
    commitments = ",".join(f'"f{number:05}":"{"ab" * 32}"' for number in range(900))
    return made().replace(b'"fields":{}', b'"fields":{%s}' % commitments.encode())


REFUSED = {
    "nothing": b"{}",
    "no bytes": b"",
    "no text": b"\xff\xfe",
    "a space": made().replace(b'"rev",', b'"rev" ,'),
    "more after it": made() + b" ",
    "another object": made(id="8"),
    "another kind of object": made(model="group"),
    "no revision": made().replace(b'"rev":1,', b'"rev":01,'),
    "a revision beyond what there is": made(rev=2**53 - 1),
    "a revision beyond any number": made().replace(b'"rev":1,', b'"rev":' + b"9" * 40 + b","),
    "too long": long_entry(),
    "an erasure that looks like none": made().replace(b'"type":"rev",', b'"type":"erase" ,'),
}


def test_salts_of_entries_that_are_yet_to_come_are_refused_and_in_nobodys_way(
    world: World,
) -> None:
    salts = (
        "INSERT INTO audit_salt SELECT g, '' FROM"
        " (SELECT max(id) FROM audit_entry) e(m), generate_series(m + 1, m + 100) g"
    )
    with as_role(roles.APP) as raw, pytest.raises(psycopg.errors.RestrictViolation):
        raw.execute(salts)
    tamper("DELETE FROM audit_salt WHERE entry_id = (SELECT min(id) FROM audit_entry)")
    with as_role(roles.APP) as raw, pytest.raises(psycopg.errors.RestrictViolation):
        raw.execute("INSERT INTO audit_salt SELECT min(id), '' FROM audit_entry")
    world.ask()


def test_salts_without_an_entry_are_named(world: World, signer: LogSigner) -> None:
    seal(signer)
    tamper("INSERT INTO audit_salt VALUES (900000000, ''), (900000001, '')")
    assert look().first_bad == "2 salts are of no entry, the first of one with the id 900000000"


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("role", [roles.APP, roles.SEALER])
def test_bytes_that_are_no_entry_of_their_object_are_refused(role: str, data: bytes) -> None:
    with as_role(role) as raw, pytest.raises(psycopg.errors.Error) as refusal:
        raw.execute(INSERT, ["policy", "7", data])
    assert refusal.value.sqlstate in {"23514", "22021"}


@pytest.mark.parametrize("kind", ["rev", "heartbeat", "succession", "erase"])
def test_what_the_log_says_of_itself_the_app_can_not_say(kind: str) -> None:
    data = made(model="log", id=settings.LEDGER_ORIGIN).replace(
        b'"type":"rev"', b'"type":"%s"' % kind.encode()
    )
    with as_role(roles.APP) as raw, pytest.raises(psycopg.errors.InsufficientPrivilege):
        raw.execute(INSERT, ["log", settings.LEDGER_ORIGIN, data])


@pytest.mark.parametrize("kind", ["heartbeat", "succession", "whim"])
def test_the_app_writes_revisions_alone(kind: str) -> None:
    with as_role(roles.APP) as raw, pytest.raises(psycopg.errors.InsufficientPrivilege):
        raw.execute(INSERT, ["policy", "7", made(type=kind)])


def test_an_entry_as_long_as_a_bundle_holds_is_taken() -> None:
    data = made()
    most = data.replace(b'"fields":{}', b'"fields":{"x":"%s"}' % (b"a" * (65_535 - len(data) - 6)))
    assert len(most) == 65_535
    with as_role(roles.APP) as raw:
        raw.execute(INSERT, ["policy", "7", most])


# -- what stands in a database from before, or was put there by a superuser


def force(model: str, object_id: str, data: bytes) -> None:
    with superuser() as raw:
        checks = "ALTER TABLE audit_entry DROP CONSTRAINT entry_size"
        back = (
            "ALTER TABLE audit_entry ADD CONSTRAINT entry_size"
            " CHECK (octet_length(data) <= 65535) NOT VALID"
        )
        raw.execute(checks)
        raw.execute(
            "INSERT INTO audit_entry (model, object_id, data, xid, recorded_at)"
            " VALUES (%s, %s, %s, pg_current_xact_id(), now())",
            [model, object_id, data],
        )
        raw.execute(back)


def test_an_object_with_a_bad_newest_entry_can_still_be_written(world: World) -> None:
    policy = Policy.objects.get(name="orders-read")
    held = Entry.objects.filter(model="policy", object_id=str(policy.pk)).count()
    force("policy", str(policy.pk), b"{}")
    policy.description = "again"
    policy.save()
    newest = Entry.objects.filter(model="policy", object_id=str(policy.pk)).latest("id")
    assert entries.read(bytes(newest.data)).rev == held + 2


def test_a_bad_heartbeat_is_followed_by_a_good_one(world: World) -> None:
    signer = new_signer()
    made_log = seal(signer)
    force("log", made_log.origin, b"{}")
    with sealer():
        assert sealing.beat_heart(made_log, now=clock.now(), every=clock.now() - clock.now())
    seal(signer)
    newest = Leaf.objects.select_related("entry").latest("index")
    assert entries.read(bytes(newest.entry.data)).rev == 2


def test_what_no_bundle_can_hold_is_not_sealed_and_the_rest_is(
    world: World, tmp_path: Path
) -> None:
    signer = new_signer()
    force("policy", "7", long_entry())
    made_log = seal(signer)
    assert Leaf.objects.count() == Entry.objects.count() - 1
    newest = reads.newest_checkpoint(made_log)
    assert newest is not None
    assert f"{newest.size} leaves" in export(tmp_path / "out")


def test_an_export_of_a_damaged_log_says_so(world: World, tmp_path: Path) -> None:
    seal(new_signer())
    with superuser() as raw:
        raw.execute("ALTER TABLE audit_entry DROP CONSTRAINT entry_size")
        raw.execute("UPDATE audit_entry SET data = %s WHERE model = 'policy'", [long_entry()])
        raw.execute(
            "ALTER TABLE audit_entry ADD CONSTRAINT entry_size"
            " CHECK (octet_length(data) <= 65535) NOT VALID"
        )
    with pytest.raises(CommandError, match="The log is damaged"):
        export(tmp_path / "out")
    assert not look().ok


def test_nothing_beside_sealing_keeps_it_from_sealing(
    world: World, signer: LogSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("something that nobody thought of")

    seal(signer)
    world.ask()
    monkeypatch.setattr("audit.services.sealing.beat_heart", broken)
    monkeypatch.setattr("audit.services.erasing.carry_out", broken)
    monkeypatch.setattr("audit.services.signing.signer", lambda: signer)
    with sealer():
        connection.close_pool()  # type: ignore[attr-defined]
        lead()
        call_command("ledger_seal", "--once")
    assert Leaf.objects.count() == Entry.objects.count()
