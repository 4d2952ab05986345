"""A database that nobody touched verifies, and says by whose key; each run is recorded."""

from __future__ import annotations

import json
import os
import pty
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from hypothesis import given
from hypothesis import strategies as st

from audit.domain import entries
from audit.domain.lines import Malformed
from audit.models import Checkpoint, Entry, Said, Verification
from audit.selectors import clock, state
from audit.selectors import log as reads
from audit.services import verifying
from audit.services.verification import form, logs, restating, scanning
from jitportal.embedded import roles
from tests.audit.sealer import new_signer, seal
from tests.audit.tampering import tamper
from tests.conftest import as_role, connect_as
from tests.world import World

real = pytest.mark.django_db(transaction=True)


def verified(**options: Any) -> verifying.Report:
    report = verifying.run(by="a test", **options)
    assert report.ok, [*report.as_text()]
    return report


@real
def test_a_database_that_nobody_touched_verifies(world: World) -> None:
    world.ended()
    world.decide(world.bob, world.ask(reason='Ärger: "quoted" \\ \u2028 and 𝄞'), "deny")
    world.ask(what=world.read)
    signer = new_signer()
    made = seal(signer)
    report = verified(vkeys=[signer.key.vkey])
    count = Entry.objects.count()
    assert (report.entries, report.unsealed, report.erased) == (count, 0, 0)
    assert report.values > count
    newest = reads.newest_checkpoint(made)
    assert newest is not None
    assert (report.logs[0].size, report.logs[0].root) == (count, bytes(newest.root))
    assert report.keys[made.origin].given


@real
def test_what_is_not_sealed_yet_is_verified_too(world: World) -> None:
    seal(new_signer())
    request = world.ask()
    report = verified()
    assert report.unsealed > 0
    assert report.entries == Entry.objects.count()
    tamper("UPDATE approvals_accessrequest SET reason = 'x' WHERE id = %s", [request.pk])
    report = verifying.run(by="a test")
    assert report.problems[0].what == "reason is not the value that the entry committed to"
    assert report.first_bad.startswith("unsealed entry ")


@real
def test_runs_do_not_depend_on_their_length_or_on_processes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ended()
    signer = new_signer()
    seal(signer, batch=4)
    whole = verified()
    for length, jobs in [(1, 1), (3, 1), (8, 2)]:
        monkeypatch.setattr(logs, "RUN", length)
        report = verified(jobs=jobs)
        assert (report.entries, report.values) == (whole.entries, whole.values)
        assert report.logs == whole.logs
    tamper("UPDATE approvals_decision SET comment = 'x'")
    problems = verifying.run(by="a test", jobs=2).problems
    assert [each.model for each in problems] == ["decision", "decision"]


@real
def test_every_log_is_verified_and_each_begins_where_the_last_ended(world: World) -> None:
    first, second = new_signer(), new_signer("jit.example.com/ledger-2")
    seal(first)
    world.ended()
    seal(second)
    report = verified(vkeys=[first.key.vkey, second.key.vkey])
    assert [each.origin for each in report.logs] == [first.name, second.name]
    beginning = Checkpoint.objects.filter(log__origin=first.name).order_by("-size")[0]
    tamper("DELETE FROM audit_checkpoint WHERE id = %s", [beginning.pk])
    report = verifying.run(by="a test")
    assert any(
        each.what == "the log doesn't begin by committing to the end of the log before it"
        for each in report.problems
    )


@real
def test_a_run_is_recorded_and_is_the_last_verification(world: World) -> None:
    assert state.last_verification() is None
    signer = new_signer()
    seal(signer)
    report = verified()
    last = state.last_verification()
    assert last is not None
    assert report.recorded
    assert (last.by, last.outcome, last.log) == ("a test", "verified", signer.name)
    assert (last.size, last.entries, last.problems) == (report.entries, report.entries, [])
    assert last.started_at <= last.finished_at <= clock.now()
    tamper("UPDATE audit_salt SET salts = ''")
    verifying.run(by="another")
    last = state.last_verification()
    assert last is not None
    assert last.outcome == "problems"
    assert last.problem_count >= len(last.problems) == 20
    assert "salts have 0 bytes" in last.problems[0]["sentence"]
    assert Verification.objects.count() == 2


@real
def test_the_auditor_may_verify_and_leaves_no_trace(world: World) -> None:
    world.ended()
    seal(new_signer())
    connect_as(roles.AUDITOR)
    try:
        assert not verified().recorded
    finally:
        connect_as(roles.APP)


@real
def test_rows_of_another_time_are_counted(world: World) -> None:
    world.ask(now=clock.now() - timedelta(days=3))
    seal(new_signer())
    report = verified()
    assert report.untimely >= 1
    assert any("5 s from when they say" in line for line in report.as_text())


@real
def test_what_time_changes_is_no_difference_but_what_stays_wrong_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index follows the clock within seconds; only what was wrong a moment ago too is told."""
    seal(new_signer())
    due = clock.now()

    def overdue(*, now: datetime) -> list[str]:
        return ["stays wrong", *(["is overdue"] if now >= due else [])]

    monkeypatch.setattr(verifying, "_checks", [overdue])
    assert [each.what for each in verifying.run(by="a test").problems] == ["stays wrong"]


# -- an entry made again from its row


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    values=st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,12}", fullmatch=True), _PLAIN),
    at=st.datetimes(
        min_value=datetime(1000, 1, 1),
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))]),
    ),
    revision=st.integers(1, 2**53 - 1),
)
def test_an_entry_is_made_again_as_it_was_written(
    values: dict[str, Any], at: datetime, revision: int
) -> None:
    said = Said(
        model="policy", object_id="7", revision=revision, previous="ab" * 32 * (revision > 1),
        operation="changed", actor="3f2b8a52-6c1f-4a60-9d3e-0123456789ab", at=at, values=values,
    )  # fmt: skip
    data, salts = said.build()
    assert restating.entry(said, salts) == data
    entries.read(data)
    other = bytes([salts[0] ^ 1, *salts[1:]]) if salts else b"x"
    assert restating.entry(said, other) != data
    names = sorted(values)
    assert restating.commitments([(name, values[name]) for name in names], salts) == [
        entries.commitment(name=name, value=values[name], salt=salts[32 * at : 32 * at + 32])
        for at, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"object_id": 'a"b'},
        {"object_id": "a b"},
        {"operation": 'x","v":2,"y":"'},
        {"actor": "nobody"},
        {"values": {"a": 1.5, "b": 2**53}},
    ],
)
def test_a_row_that_no_entry_can_say_makes_none(changes: dict[str, Any]) -> None:
    plain: dict[str, Any] = {
        "model": "policy", "object_id": "7", "revision": 1, "previous": "", "operation": "changed",
        "actor": "system", "at": datetime(2026, 11, 24, tzinfo=UTC), "values": {"a": 1, "b": 2},
    }  # fmt: skip
    salts = bytes(range(64))
    assert restating.entry(Said(**plain), salts)
    assert restating.entry(Said(**(plain | changes)), salts) is None


# -- the command


def _command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        call_command("ledger_verify", *arguments)
    said = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, said.out + said.err


@real
def test_the_command_says_what_it_found_and_whose_key_it_used(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, text = _command(capsys)
    assert (code, text.strip()) == (2, "There is no log yet: nothing was ever sealed.")
    signer = new_signer()
    seal(signer)
    code, text = _command(capsys)
    assert code == 0
    assert "from THE DATABASE ITSELF" in text
    assert "VERIFIED" in text
    key, held = tmp_path / "key", tmp_path / "held"
    key.write_text(signer.key.vkey + "\n")
    held.write_bytes(bytes(Checkpoint.objects.get().note))
    code, text = _command(capsys, "--vkey", str(key), "--checkpoint", str(held))
    assert code == 0
    assert f"key, as given: {signer.key.vkey}" in text
    assert "measured by the checkpoint in held" in text


@real
def test_a_terminal_is_shown_how_far_it_is(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ended()
    seal(new_signer())
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen, os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        code, text = _command(capsys)
        shown = screen.read(4096).decode()
    count = Entry.objects.count()
    assert code == 0
    assert "#" not in text, "the bar is no part of what is found"
    assert f"[{'#' * 40}] 100% {count} of {count} entries\r\n" in shown
    assert "\n" not in shown[: shown.index("100%")], "it is drawn over itself"


@real
def test_the_command_ends_with_1_and_names_the_first_bad_record(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    request = world.ask()
    seal(new_signer())
    tamper("UPDATE approvals_accessrequest SET reason = 'x' WHERE id = %s", [request.pk])
    code, text = _command(capsys)
    assert code == 1
    assert f"NOT VERIFIED. First bad record: leaf {Entry.objects.count() - 1}, request" in text
    assert request.reference in text
    code, text = _command(capsys, "--json")
    said = json.loads(text[text.index("{\n") :])
    assert (code, said["ok"], said["problem_count"]) == (1, False, 1)
    assert said["problems"][0] == {
        "kind": "value",
        "leaf": Entry.objects.count() - 1,
        "entry": None,
        "model": "request",
        "object": str(request.request_id),
        "reference": request.reference,
        "revision": 1,
        "what": "reason is not the value that the entry committed to",
    }
    assert said["logs"][0]["vkey_from"] == "database"


@real
@pytest.mark.parametrize(
    "arguments",
    [["--vkey", "nonsense"], ["--checkpoint", "/does/not/exist"], ["--checkpoint", __file__]],
)
def test_the_command_ends_with_2_where_nothing_can_be_said(
    arguments: list[str], world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    seal(new_signer())
    assert _command(capsys, *arguments)[0] == 2


@real
def test_the_command_ends_with_2_where_the_connection_is_lost_meanwhile(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(new_signer())
    query = scanning.Scanner._query

    def lost(self: scanning.Scanner, statement: str, parameters: list[Any]) -> Any:
        with as_role("superuser") as raw:
            raw.execute("SELECT pg_terminate_backend(%s)", [self._raw.info.backend_pid])
        return query(self, statement, parameters)

    monkeypatch.setattr(scanning.Scanner, "_query", lost)
    code, text = _command(capsys)
    assert code == 2
    assert "terminat" in text


@real
@pytest.mark.parametrize("error", [BrokenProcessPool("A process ended."), OSError("No space.")])
def test_the_command_ends_with_2_where_it_could_not_go_on(
    error: Exception, world: World, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(verifying, "run", broken)
    assert _command(capsys) == (2, f"{error}\n")


# -- the short way to an entry's members

_ENTRY = entries.Entry(
    "request", "0190-a.b:c", 3, "ab" * 32, "voted", entries.SYSTEM, "2026-11-24T08:00:00.000001Z",
    fields={"comment": "12" * 32, "Z": "34" * 32, "a.b-c": "56" * 32},
).encode()  # fmt: skip
_ERASURE = entries.Entry(
    "user", "7", 1, "cd" * 32, "erase", "3f2b8a52-6c1f-4a60-9d3e-0123456789ab",
    "2026-02-28T23:59:59.999999Z", "erase", {"name": ""},
).encode()  # fmt: skip


def _by_definition(data: bytes) -> entries.Entry | None:
    try:
        return entries.read(data)
    except Malformed:
        return None


def _agree(data: bytes) -> None:
    short, said = form._short(data), _by_definition(data)
    if short is None:
        return
    assert said is not None, data
    assert short._replace(at=None) == form.read(data)._replace(at=None)  # type: ignore[arg-type]
    assert (short.fields, short.id, short.prev) == (said.fields, said.id, said.prev)
    assert (short.rev, short.type, short.model) == (said.rev, said.type, said.model)
    assert (short.op, short.actor, entries.stamp(short.at)) == (said.op, said.actor, said.at)


def test_the_short_way_takes_canonical_entries() -> None:
    assert form._short(_ENTRY) is not None
    _agree(_ENTRY)


def test_an_erasure_of_a_first_revision_is_read_the_long_way() -> None:
    assert form._short(_ERASURE) is None
    assert form.read(_ERASURE).type == "erase"


@given(
    data=st.sampled_from([_ENTRY, _ERASURE]),
    at=st.integers(0, 600),
    put=st.binary(max_size=3),
    cut=st.integers(0, 3),
)
def test_the_short_way_takes_nothing_that_the_definition_refuses(
    data: bytes, at: int, put: bytes, cut: int
) -> None:
    at %= len(data)
    _agree(data[:at] + put + data[at + cut :])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"rev":3', b'"rev":1'),
        (b'"rev":3', b'"rev":0'),
        (b'"rev":3', b'"rev":03'),
        (b'"v":1}', b'"v":1} '),
        (b'"v":1}', b'"v":1}\n'),
        (b"T08:00:00", b"T24:00:00"),
        (b"2026-11-24", b"2026-11-31"),
        (b'"Z":', b'"b":'),
        (b'"type":"rev"', b'"type":"erase"'),
        (b'"fields":{', b'"fields":{"Z":"' + b"34" * 32 + b'",'),
    ],
)
def test_entries_that_are_none_are_refused(old: bytes, new: bytes) -> None:
    assert old in _ENTRY
    with pytest.raises(Malformed):
        form.read(_ENTRY.replace(old, new))
