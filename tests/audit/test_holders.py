"""Holders outside take checkpoints, over real HTTP; what they give is verified before it is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from audit.domain import checkpoint as checkpoints
from audit.domain import cosignature, note, policy, witness
from audit.domain.cosignature import Cosigner
from audit.domain.note import LogSigner
from audit.models import Checkpoint, Holding, Log, MutationBlocked
from audit.selectors import clock, holders
from audit.selectors import log as reads
from audit.selectors.holders import State
from audit.services import exporting, holding, posting, timestamping, verifying, witnessing
from tests.audit import outside
from tests.audit.outside import Authority, Reply, Witness, serving
from tests.audit.sealer import new_signer, seal
from tests.audit.tampering import superuser
from tests.conftest import as_role
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def signer() -> LogSigner:
    return new_signer()


@pytest.fixture
def made(world: World, signer: LogSigner) -> Log:
    world.ended()
    return seal(signer)


@pytest.fixture
def one(signer: LogSigner) -> Witness:
    found = Witness.named("witness.example/one")
    found.logs[signer.name] = signer.key
    return found


@pytest.fixture
def server(one: Witness) -> Iterator[outside._Server]:
    with serving(one.answer) as running:
        yield running


@pytest.fixture
def configured(
    signer: LogSigner, one: Witness, server: outside._Server, settings: Any, tmp_path: Path
) -> Path:
    return trust(settings, tmp_path, [("one", one, f"{server.url}/prefix/")], quorum="one")


def trust(
    settings: Any, folder: Path, named: list[tuple[str, Witness, str]], *, quorum: str = "none"
) -> Path:
    lines = []
    for name, it, url in named:
        keys = it.vkeys()
        for number, key in enumerate(keys):
            suffix = f"-{number}" if len(keys) > 1 else ""
            lines.append(f"witness {name}{suffix} {key.vkey} {url}".rstrip())
    file = folder / "policy"
    file.write_text("".join(f"{line}\n" for line in [*lines, f"quorum {quorum}"]))
    settings.LEDGER_WITNESSES = str(file)
    return file


def newest(made: Log) -> Checkpoint:
    found = reads.newest_checkpoint(made)
    assert found is not None
    return found


def grow(world: World, signer: LogSigner) -> Checkpoint:
    world.resource.save()  # a row of its history, and so an entry
    return newest(seal(signer))


def only(kind: str = "witness") -> holders.Holder:
    [found] = [it for it in holders.alive(clock.now()) if it.kind == kind]
    return found


# -- witnesses


def test_a_witness_cosigns_and_its_cosignature_is_published(
    made: Log, one: Witness, configured: Path, signer: LogSigner
) -> None:
    assert only().state == State.NEVER
    assert holders.last_cosigned(made) is None
    [row] = witnessing.hold(now=clock.now())
    last = newest(made)
    assert (row.size, row.state, row.holder) == (last.size, "held", "one")
    assert one.seen[signer.name].root == bytes(last.root)
    published = holders.cosigned_note(last)
    _, signed = note.open_verified(message=published, keys=[signer.key, *one.vkeys()])
    assert [key.name for key, _ in signed] == [signer.name, "witness.example/one"]
    found = only()
    assert (found.state, found.size, found.error) == (State.ALIVE, last.size, "")
    assert holders.any_alive(clock.now())
    cosigned = holders.last_cosigned(made)
    assert cosigned is not None
    assert (cosigned.checkpoint, cosigned.note) == (last, published)


def test_the_next_checkpoint_is_proven_to_have_grown_from_the_last(
    made: Log, one: Witness, configured: Path, world: World, signer: LogSigner,
    server: outside._Server,
) -> None:  # fmt: skip
    witnessing.hold(now=clock.now())
    first = newest(made)
    second = grow(world, signer)
    [row] = witnessing.hold(now=clock.now())
    assert row.size == second.size == one.seen[signer.name].size
    request = witness.read_request(server.asked[-1][2])
    assert request.old == first.size
    assert request.proof
    assert holders.cosigned_note(first) != bytes(first.note), "the older one is kept"
    cosigned = holders.last_cosigned(made)
    assert cosigned is not None
    assert cosigned.checkpoint == second


def test_one_that_holds_the_newest_is_not_asked_again(
    made: Log, configured: Path, server: outside._Server
) -> None:
    assert len(witnessing.hold(now=clock.now())) == 1
    assert witnessing.hold(now=clock.now()) == []
    assert len(server.asked) == 1


def test_a_witness_that_is_elsewhere_is_asked_once_more_from_there(
    made: Log, one: Witness, configured: Path, world: World, signer: LogSigner,
    server: outside._Server,
) -> None:  # fmt: skip
    first = newest(made)
    one.seen[signer.name] = checkpoints.read(bytes(first.note))[0]
    second = grow(world, signer)
    [row] = witnessing.hold(now=clock.now())
    assert row.size == second.size > first.size
    olds = [witness.read_request(body).old for _, _, body in server.asked]
    assert olds == [0, first.size]


def test_both_kinds_of_cosignature_come_by_one_request(
    made: Log, signer: LogSigner, settings: Any, tmp_path: Path
) -> None:
    if not cosignature.HAS_ML_DSA:
        pytest.fail("the locked cryptography has ML-DSA-44")
    both = Witness(
        (
            ("w.example/both", b"1" * 32, cosignature.ED25519),
            ("w.example/both", b"2" * 32, cosignature.ML_DSA_44),
        ),
        {signer.name: signer.key},
    )
    with serving(both.answer) as server:
        trust(settings, tmp_path, [("both", both, f"{server.url}/prefix")], quorum="both-1")
        rows = witnessing.hold(now=clock.now())
        assert len(server.asked) == 1
    assert sorted(row.holder for row in rows) == ["both-0", "both-1"]
    signed = note.verified(note=note.read(holders.cosigned_note(newest(made))), keys=both.vkeys())
    assert {key.kind for key, _ in signed if isinstance(key, cosignature.CosignerKey)} == {4, 6}
    assert holders.last_cosigned(made) is not None


def test_a_fork_is_refused_told_and_keeps_nothing(
    made: Log, one: Witness, configured: Path, world: World, signer: LogSigner
) -> None:
    witnessing.hold(now=clock.now())
    last = newest(made)
    one.seen[signer.name] = checkpoints.Checkpoint(signer.name, last.size, b"\1" * 32)
    grow(world, signer)
    assert witnessing.hold(now=clock.now()) == []
    found = only()
    assert found.state == State.FORK
    assert "fork" in found.error
    assert found.size == last.size, "what it took before is still said"
    assert not holders.any_alive(clock.now())


def test_a_log_that_is_shorter_than_what_a_witness_holds_is_a_fork(
    made: Log, one: Witness, configured: Path, signer: LogSigner
) -> None:
    one.seen[signer.name] = checkpoints.Checkpoint(signer.name, 10_000, b"\1" * 32)
    assert witnessing.hold(now=clock.now()) == []
    found = only()
    assert found.state == State.FORK
    assert "10000 entries" in found.error
    assert "backup" in found.error


@pytest.mark.parametrize(
    ("reply", "state", "says"),
    [
        (Reply(403, b"no\n"), "refused", "403"),
        (Reply(404, b"no\n"), "refused", "origin"),
        (Reply(400, b"no\n"), "refused", "malformed"),
        (Reply(302, headers=(("Location", "http://127.0.0.1:1/"),)), "refused", "302"),
        (Reply(503), "unreachable", "503"),
        (Reply(429), "unreachable", "429"),
        (Reply(200, b"hello\n"), "invalid", "wrong"),
        (Reply(200, b""), "invalid", "wrong"),
        (Reply(409, b"7\n"), "invalid", "text/x.tlog.size"),
        (Reply(409, b"07\n", witness.SIZE_TYPE), "invalid", "leading zeros"),
        (Reply(200, b"x" * (posting.BYTES_MOST + 1)), "unreachable", "more than"),
    ],
)
def test_each_bad_answer_is_told_for_what_it_is(
    made: Log, configured: Path, server: outside._Server, reply: Reply, state: str, says: str
) -> None:
    server.scripted.append(reply)
    assert witnessing.hold(now=clock.now()) == []
    row = Holding.objects.get()
    assert row.state == state
    assert says in row.error
    assert only().state == State.FAILING
    assert len(server.asked) == 1


def test_a_witness_that_names_two_sizes_is_not_asked_for_ever(
    made: Log, configured: Path, server: outside._Server
) -> None:
    server.scripted += [
        Reply(409, b"1\n", witness.SIZE_TYPE),
        Reply(409, b"2\n", witness.SIZE_TYPE),
    ]
    assert witnessing.hold(now=clock.now()) == []
    assert Holding.objects.get().error.startswith("it named another size twice")
    assert len(server.asked) == 2


def test_a_cosignature_by_another_key_or_of_another_text_is_not_kept(
    made: Log, one: Witness, configured: Path, server: outside._Server
) -> None:
    text = note.read(bytes(newest(made).note)).text
    name, seed, _ = one.keys[0]
    stranger = Cosigner(name=name, seed=b"\7" * 32, time_seconds=1_800_000_000)
    liar = Cosigner(name=name, seed=seed, time_seconds=1_800_000_000)
    for signature in (
        note.Signature(name, stranger.key_id, stranger.sign(text)),
        note.Signature(name, liar.key_id, liar.sign(text.replace(b"\n", b"x\n", 1))),
    ):
        server.scripted.append(Reply(200, signature.line().encode()))
        assert witnessing.hold(now=clock.now()) == []
    assert {row.state for row in Holding.objects.all()} == {"invalid"}
    assert holders.cosigned_note(newest(made)) == bytes(newest(made).note)


def test_a_dead_witness_stops_no_other_and_makes_one_row_however_often_it_is_asked(
    made: Log, one: Witness, server: outside._Server, settings: Any, tmp_path: Path,
    world: World, signer: LogSigner,
) -> None:  # fmt: skip
    dead = Witness.named("dead.example")
    trust(
        settings,
        tmp_path,
        [("dead", dead, "http://127.0.0.1:1/"), ("one", one, f"{server.url}/prefix")],
    )
    for _ in range(3):
        assert len(witnessing.hold(now=clock.now())) == 1
        grow(world, signer)
    [row] = Holding.objects.filter(holder="dead")
    assert row.state == "unreachable"
    assert "127.0.0.1" not in row.error
    states = {it.name: it.state for it in holders.alive(clock.now()) if it.kind == "witness"}
    assert states == {"dead": State.FAILING, "one": State.ALIVE}


def test_a_peer_that_drips_for_ever_is_left_at_the_bound(
    made: Log, server: outside._Server
) -> None:
    server.scripted.append(None)
    began = clock.now()
    with pytest.raises(posting.Unreachable, match=r"within 0\.5 s"):
        posting.post(url=server.url, body=b"x", content_type="text/plain", whole_seconds=0.5)
    assert clock.now() - began < timedelta(seconds=3)


def test_only_http_is_spoken() -> None:
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/", "127.0.0.1"):
        with pytest.raises(posting.Unreachable, match="https"):
            posting.post(url=url, body=b"", content_type="text/plain")


def test_no_holder_is_asked_inside_a_transaction(made: Log, configured: Path) -> None:
    for ask in (witnessing.hold, timestamping.hold):
        with transaction.atomic(), pytest.raises(AssertionError, match="transaction"):
            ask(now=clock.now())


def test_a_policy_that_can_not_be_read_is_shown_and_breaks_nothing(
    made: Log, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "policy").write_text("witness of nothing\n")
    for path in (tmp_path / "policy", tmp_path / "none"):
        settings.LEDGER_WITNESSES = str(path)
        assert witnessing.hold(now=clock.now()) == []
        assert only().state == State.MISCONFIGURED
        assert holders.cosigned_note(newest(made)) == bytes(newest(made).note)
        with pytest.raises(holders.PolicyUnreadable):
            holders.last_cosigned(made)


def test_before_the_first_checkpoint_nobody_is_asked(
    world: World, configured: Path, server: outside._Server
) -> None:
    assert witnessing.hold(now=clock.now()) == []
    assert timestamping.hold(now=clock.now()) == []
    assert server.asked == []
    assert only().state == State.NEVER


def test_a_row_that_somebody_made_up_is_not_published(
    made: Log, one: Witness, configured: Path
) -> None:
    last = newest(made)
    name, seed, _ = one.keys[0]
    forger = Cosigner(name=name, seed=seed, time_seconds=5)
    forged = note.Signature(name, forger.key_id, bytes(72)).line().encode()
    for evidence in (forged, b"junk", b"\xff\n"):
        holding.took(
            checkpoint=last, kind=Holding.Kind.WITNESS, holder="one", evidence=evidence,
            detail={}, now=clock.now(),
        )  # fmt: skip
    assert holders.cosigned_note(last) == bytes(last.note)
    assert holders.last_cosigned(made) is None


def test_without_a_quorum_the_newest_checkpoint_is_good(
    made: Log, one: Witness, settings: Any, tmp_path: Path
) -> None:
    settings.LEDGER_WITNESSES = ""
    found = holders.last_cosigned(made)
    assert found is not None
    assert found.checkpoint == newest(made)
    assert isinstance(holders.policy(made), policy.Policy)


def test_a_holder_that_took_nothing_new_for_two_intervals_is_late(
    made: Log, configured: Path, settings: Any, world: World, signer: LogSigner
) -> None:
    witnessing.hold(now=clock.now())
    later = clock.now() + settings.LEDGER_HOLD * 3
    assert [it.state for it in holders.alive(later) if it.kind == "witness"] == [State.ALIVE]
    grow(world, signer)
    assert [it.state for it in holders.alive(later) if it.kind == "witness"] == [State.LATE]
    assert not holders.any_alive(later)


# -- timestamps


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def tsa(authority: Authority, settings: Any) -> Iterator[outside._Server]:
    with serving(authority.answer) as running:
        port = running.server_address[1]
        settings.LEDGER_TSA_URLS = [f"http://user:secret@127.0.0.1:{port}/tsr?key=secret"]
        settings.LEDGER_TSA_CERTIFICATES = str(authority.roots)
        yield running


def test_an_authority_timestamps_the_note_and_openssl_accepts_it(
    made: Log, tsa: outside._Server, authority: Authority
) -> None:
    [row] = timestamping.hold(now=clock.now())
    last = newest(made)
    assert (row.size, row.state) == (last.size, "held")
    assert authority.verifies(token=bytes(row.evidence), data=bytes(last.note))
    assert not authority.verifies(token=bytes(row.evidence), data=bytes(last.note) + b"x")
    assert row.detail["hash"] == "sha256"
    assert "secret" not in f"{row.holder} {row.detail}"
    found = only("timestamp")
    assert (found.state, found.size) == (State.ALIVE, last.size)
    assert found.name.endswith("/tsr")
    assert timestamping.hold(now=clock.now()) == [], "it has this one"


def test_an_export_carries_the_tokens_and_what_they_are_of(
    made: Log, tsa: outside._Server, authority: Authority, tmp_path: Path
) -> None:
    timestamping.hold(now=clock.now())
    exporting.export(tmp_path / "export", log=made)
    [token] = (tmp_path / "export" / "timestamps").glob("*.tst")
    note = token.with_suffix(".note").read_bytes()
    assert note == bytes(newest(made).note)
    assert "secret" not in token.name
    assert authority.verifies(token=token.read_bytes(), data=note)


def test_without_certificates_a_token_is_kept_and_said_to_be_unverified(
    made: Log, tsa: outside._Server, settings: Any
) -> None:
    settings.LEDGER_TSA_CERTIFICATES = ""
    [row] = timestamping.hold(now=clock.now())
    assert row.state == "unverified"
    assert only("timestamp").state == State.UNVERIFIED
    assert not holders.any_alive(clock.now())


def test_a_token_by_somebody_else_is_not_kept(
    made: Log, tsa: outside._Server, tmp_path: Path, settings: Any
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    settings.LEDGER_TSA_CERTIFICATES = str(Authority(folder).roots)
    assert timestamping.hold(now=clock.now()) == []
    row = Holding.objects.get()
    assert row.state == "invalid"
    assert "verify" in row.error


def test_an_answer_to_another_question_is_not_kept(
    made: Log, tsa: outside._Server, authority: Authority, world: World, signer: LogSigner,
    settings: Any,
) -> None:  # fmt: skip
    timestamping.hold(now=clock.now())
    path, kind, query = tsa.asked[-1]
    replayed = authority.answer(path, kind, query)
    grow(world, signer)
    for certificates in (settings.LEDGER_TSA_CERTIFICATES, ""):
        settings.LEDGER_TSA_CERTIFICATES = certificates
        tsa.scripted.append(replayed)
        assert timestamping.hold(now=clock.now()) == []
    assert Holding.objects.get(state="invalid").error == "its timestamp is of something else"


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (Reply(200, b"no timestamp"), "invalid"),
        (Reply(200, b""), "invalid"),
        (Reply(200, bytes.fromhex("300530030201020a")), "invalid"),
        (Reply(200, bytes.fromhex("30053003020102")), "refused"),
        (Reply(500), "unreachable"),
        (Reply(403), "refused"),
    ],
)
def test_an_authority_that_fails_is_told(
    made: Log, tsa: outside._Server, reply: Reply, state: str
) -> None:
    tsa.scripted.append(reply)
    assert timestamping.hold(now=clock.now()) == []
    row = Holding.objects.get()
    assert row.state == state
    found = only("timestamp")
    assert (found.state, found.error) == (State.FAILING, row.error)
    assert len(timestamping.hold(now=clock.now())) == 1, "and it is asked again"
    assert only("timestamp").error == ""


def test_certificates_that_can_not_be_read_are_told(
    made: Log, tsa: outside._Server, settings: Any, tmp_path: Path
) -> None:
    settings.LEDGER_TSA_CERTIFICATES = str(tmp_path / "none.pem")
    assert timestamping.hold(now=clock.now()) == []
    assert "LEDGER_TSA_CERTIFICATES" in Holding.objects.get().error
    assert tsa.asked == []


# -- rows


def test_two_failures_at_once_make_one_row(made: Log) -> None:
    last = newest(made)
    gate = threading.Barrier(6)

    def fail() -> None:
        gate.wait()
        try:
            holding.failed(
                checkpoint=last, kind=Holding.Kind.WITNESS, holder="x",
                state=Holding.State.REFUSED, error="no", detail={}, now=clock.now(),
            )  # fmt: skip
        finally:
            connection.close()

    threads = [threading.Thread(target=fail) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Holding.objects.count() == 1


def test_a_holding_is_never_changed_and_has_evidence_or_an_error(made: Log) -> None:
    last = newest(made)
    row = holding.mailed(
        checkpoint=last, person="p", message_id="<x@y>", outside=True, now=clock.now()
    )
    row.size = 1
    with pytest.raises(MutationBlocked):
        row.save()
    for table in ("audit_holding", "audit_alarm"):
        with as_role("superuser") as raw, pytest.raises(Exception, match="append-only"):
            raw.execute(f"DELETE FROM {table}")
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_holding SET size = 0")
    for state, evidence, error in (("held", b"", ""), ("fork", b"x", "no"), ("fork", b"", "")):
        broken = Holding(
            log=made, size=1, kind="witness", holder="x", state=state, occurred_at=clock.now(),
            evidence=evidence, error=error,
        )  # fmt: skip
        with pytest.raises(DatabaseError):
            broken.save()


def test_a_new_log_begins_without_holders(made: Log, configured: Path) -> None:
    witnessing.hold(now=clock.now())
    seal(new_signer("jit.example.com/ledger-2"))
    assert only().state == State.NEVER


# -- rows that the application's role made up


def forge(made: Log, **columns: Any) -> None:
    """Insert a row as the application's role can."""
    row = {"log": made, "size": 1, "state": "held", "evidence": b"x", "occurred_at": clock.now()}
    Holding(**row | columns).save()


@pytest.mark.parametrize("size", [9_000_000_000_000, 1, None])
def test_a_row_that_somebody_made_up_silences_no_witness(
    size: int | None, made: Log, server: outside._Server, configured: Path
) -> None:
    forge(made, kind="witness", holder="one", size=size or newest(made).size)
    assert only().state == State.NEVER
    assert not holders.any_alive(clock.now())
    [row] = witnessing.hold(now=clock.now())
    assert len(server.asked) == 1
    forge(made, kind="witness", holder="one", size=size or newest(made).size)
    assert (only().state, only().size) == (State.ALIVE, row.size)


def test_a_row_that_somebody_made_up_silences_no_authority(made: Log, tsa: outside._Server) -> None:
    name = next(iter(holders.authorities()))
    for state in ("held", "unverified"):
        forge(made, kind="timestamp", holder=name, size=newest(made).size, state=state)
    assert only("timestamp").state == State.NEVER
    assert len(timestamping.hold(now=clock.now())) == 1
    assert only("timestamp").state == State.ALIVE
    [real] = Holding.objects.filter(state="held").exclude(evidence=b"x")
    grown = real.size + 10**6
    forge(made, kind="timestamp", holder=name, size=grown, evidence=bytes(real.evidence))
    assert only("timestamp").size == real.size


def test_rows_that_somebody_made_up_stop_no_export_and_take_no_tokens_place(
    made: Log, tsa: outside._Server, authority: Authority, world: World, signer: LogSigner,
    tmp_path: Path,
) -> None:  # fmt: skip
    [real] = timestamping.hold(now=clock.now())
    grow(world, signer)
    for holder, size in (("x", 0), (real.holder, 0), (real.holder, newest(made).size)):
        forge(made, kind="timestamp", holder=holder, size=size, evidence=b"\x00")
    forge(made, kind="timestamp", holder=real.holder, size=newest(made).size,
          evidence=bytes(real.evidence))  # fmt: skip
    exporting.export(tmp_path / "export", log=made)
    assert (tmp_path / "export" / "checkpoint").exists()
    [token] = (tmp_path / "export" / "timestamps").glob("*.tst")
    note = token.with_suffix(".note").read_bytes()
    assert token.name.endswith(f"-{real.size}.tst")
    assert authority.verifies(token=token.read_bytes(), data=note)


def test_a_row_that_somebody_made_up_stops_no_mail(made: Log, settings: Any) -> None:
    now = clock.now()
    forge(made, kind="mail", holder="dora", size=10**12)
    assert only("mail").state == State.NEVER
    assert holding.due_mail(people=["dora"], now=now) == ["dora"]
    forge(made, kind="mail", holder="dora", occurred_at=now + timedelta(days=3000))
    late = now + settings.LEDGER_MAIL * 1.1
    assert holding.due_mail(people=["dora"], now=late) == ["dora"]
    assert [it.state for it in holders.alive(now + settings.LEDGER_MAIL * 3)][-1] == State.LATE


def test_what_a_witness_signed_finds_a_history_that_was_cut(
    made: Log, configured: Path, world: World, signer: LogSigner
) -> None:
    """The checkpoints are gone with the end; the witness's row has kept the one that it signed."""
    size = newest(made).size
    grow(world, signer)
    [row] = witnessing.hold(now=clock.now())
    assert verifying.run(by="a test", vkeys=[signer.key.vkey], vouched=True).ok
    with superuser() as raw:
        raw.execute("DELETE FROM audit_verification")
        raw.execute("DELETE FROM audit_checkpoint WHERE size > %s", [size])
        raw.execute("DELETE FROM audit_leaf WHERE index >= %s", [size])
    found = verifying.run(by="a test", vkeys=[signer.key.vkey], vouched=True).problems
    assert any(each.kind == "cut" and "that one signed" in each.what for each in found)
    assert row.size > size


def test_what_somebody_had_timestamped_is_no_checkpoint(
    made: Log, tsa: outside._Server, signer: LogSigner
) -> None:
    """An authority signs whatever it is given: the note must be one that the log's key signed."""
    [row] = timestamping.hold(now=clock.now())
    detail = row.detail | {"note": row.detail["note"].replace(made.origin, "x.example.com/l")}
    forge(made, kind="timestamp", holder=row.holder, size=row.size, detail=detail,
          evidence=bytes(row.evidence))  # fmt: skip
    [(name, note_held)] = holders.vouched(made, signer.key)
    assert (name, note_held) == (row.holder, bytes(newest(made).note))
    assert verifying.run(by="a test", vouched=True).ok
