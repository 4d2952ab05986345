"""The verifier over a log that goes on where an older one ended."""

from pathlib import Path

import pytest

from audit.domain import checkpoint, entries, merkle, verifier
from audit.domain.checkpoint import Checkpoint
from audit.domain.note import LogSigner
from tests.audit.ledger import logs
from tests.audit.ledger.logs import ORIGIN, POLICY, Ledger

OLD = LogSigner(name="jit.example.com/older", seed=b"O" * 32)
TRUST = verifier.trust_policy(
    f"log {OLD.key.vkey}\n".encode() + POLICY.encode(), source="both logs' keys"
)


def old_end(*, size: int = 7, signer: LogSigner = OLD) -> bytes:
    said = Checkpoint(signer.name, size, merkle.root_of([merkle.leaf_hash(b"%d" % size)] * size))
    return checkpoint.sign(checkpoint=said, signers=[signer])


def began(*, origin: str = ORIGIN) -> Ledger:
    """Return a ledger whose r1 and r2 are older than the log."""
    made = Ledger()
    text = checkpoint.read(old_end())[0].text()
    first = entries.succession(origin=origin, old_checkpoint=text, at=logs.BEGAN).encode()
    made.made.append(first)
    made.newest["log", origin] = 1, entries.digest(first)
    made.newest["request", "r1"] = 4, "a1" * 32
    made.newest["request", "r2"] = 2, "b2" * 32
    made.newest["request", "r3"] = 9, "c3" * 32
    return made


def went_on() -> Ledger:
    made = began()
    for number in range(600):
        made.add(model="request", id=f"r{number % 2 + 1}", values={"reason": f"{number}"})
        if number == 300:
            made.add(model="request", id="r3", op="erase", type="erase", values={"reason": ""})
        if number % 100 == 0:
            made.add(model="decision", id=f"d{number}", values={"comment": "yes"})
    return made


def check(folder: Path, old: bytes | None = None) -> verifier.Report:
    payloads = folder / "payloads.jsonl"
    return verifier.verify_export(
        folder, TRUST, payloads=payloads if payloads.exists() else None, old=old
    )


@pytest.mark.parametrize("chunk", [1, 16])
def test_objects_of_the_older_log_go_on(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier, "CHUNK_BUNDLES", chunk)
    went_on().export(tmp_path)
    report = check(tmp_path)
    assert (report.problems, report.continued) == ([], 3)
    said = "\n".join(verifier.as_text(report, 0))
    assert "3 objects continue entries of the older log" in said
    assert verifier.as_json(report, 0)["succeeds"] == report.succeeds


@pytest.mark.parametrize("chunk", [1, 16])
def test_a_log_that_succeeds_none_has_no_such_objects(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier, "CHUNK_BUNDLES", chunk)
    made = went_on()
    logs.export(tmp_path, made=made.made[1:])
    words = "it follows an entry of its object that isn't there"
    assert [each for each in check(tmp_path).problems if each[1] == words] == [
        (0, words), (2, words), (304, words),
    ]  # fmt: skip


def test_what_goes_on_is_followed_from_there(tmp_path: Path) -> None:
    made = went_on()
    logs.export(tmp_path / "dropped", made=[*made.made[:50], *made.made[51:]])
    assert check(tmp_path / "dropped").problem_count
    forked = began()
    forked.add(model="request", id="r1", values={"reason": "one"})
    forked.newest["request", "r1"] = 4, "a1" * 32
    forked.add(model="request", id="r1", values={"reason": "another"})
    forked.export(tmp_path / "forked")
    assert [leaf for leaf, _ in check(tmp_path / "forked").problems] == [2]


def test_however_many_go_on_they_are_counted_and_the_first_problems_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier, "CHUNK_BUNDLES", 1)
    made = began()
    for number in range(300):
        made.newest["request", f"n{number}"] = 1, "d4" * 32
        made.add(model="request", id=f"n{number}", values={"reason": "r"})
    made.export(tmp_path / "succeeds")
    report = check(tmp_path / "succeeds")
    assert (report.problem_count, report.continued) == (0, 300)
    logs.export(tmp_path / "first", made=made.made[1:])
    report = check(tmp_path / "first")
    assert (report.problem_count, report.continued) == (300, 0)
    assert [leaf for leaf, _ in report.problems] == [*range(verifier.SHOWN_MOST)]
    for first in (0, 1):
        verifier.scan(verifier.Job(tmp_path / "first", first, 1, 300, None), tmp_path, 3)
    each = [
        verifier.follow(bucket, [(tmp_path, range(2))], 3, succeeds=succeeds)[0]
        for bucket in range(3)
        for succeeds in (False, True)
    ]
    assert sum(links.count for links in each) == sum(links.continued for links in each) == 300
    assert {len(links.problems) for links in each} == {0, verifier.SHOWN_MOST}


def test_a_succession_elsewhere_than_at_the_beginning_is_refused(tmp_path: Path) -> None:
    made = Ledger()
    made.add(model="request", id="r1", values={"reason": "one"})
    logs.export(tmp_path, made=[*made.made, *began().made])
    (problem,) = check(tmp_path).problems
    assert problem[0] == 1
    assert "a succession is the first entry of a log" in problem[1]


def test_another_logs_succession_is_refused(tmp_path: Path) -> None:
    logs.export(tmp_path, made=began(origin="jit.example.com/other").made)
    assert check(tmp_path).problems == [(0, "the succession is another log's")]


def test_the_end_of_the_older_log_is_what_the_succession_is_bound_to(tmp_path: Path) -> None:
    went_on().export(tmp_path)
    report = check(tmp_path, old=old_end())
    assert report.problems == []
    assert "succeeds jit.example.com/older, which ended with 7 entries as given" in "\n".join(
        verifier.as_text(report, 0)
    )
    ((leaf, words),) = check(tmp_path, old=old_end(size=6)).problems
    assert leaf == 0
    assert "another end" in words
    unknown = LogSigner(name="jit.example.com/unknown", seed=b"U" * 32)
    assert check(tmp_path, old=old_end(signer=unknown)).problem_count


def test_an_older_log_is_none_of_a_log_that_succeeds_none(tmp_path: Path) -> None:
    made = Ledger()
    made.add(model="request", id="r1", values={"reason": "one"})
    made.export(tmp_path)
    ((_, words),) = check(tmp_path, old=old_end()).problems
    assert words == "the earlier checkpoint is of another log: jit.example.com/older"


def test_earlier_heads_of_the_log_itself_are_continued(tmp_path: Path) -> None:
    made = went_on()
    made.export(tmp_path)
    for size in (1, 2, 256, 300):
        root = merkle.root_of([merkle.leaf_hash(entry) for entry in made.made[:size]])
        assert check(tmp_path, old=logs.signed(size=size, root=root)).problems == []


# -- with the older log's own export


def ended(made: Ledger, folder: Path, signer: LogSigner = OLD) -> bytes:
    """Export a ledger as an older log; return the end of it."""
    made.export(folder)
    root = merkle.root_of([merkle.leaf_hash(entry) for entry in made.made])
    said = Checkpoint(signer.name, len(made.made), root)
    end = checkpoint.sign(checkpoint=said, signers=[signer])
    (folder / "checkpoint").write_bytes(end)
    return end


def after(older: Ledger, end: bytes, *, origin: str = ORIGIN) -> Ledger:
    """Return the ledger that succeeds an older one that ended so."""
    made = Ledger(newest=dict(older.newest))
    text = checkpoint.read(end)[0].text()
    first = entries.succession(origin=origin, old_checkpoint=text, at=logs.BEGAN).encode()
    made.made.append(first)
    made.newest["log", origin] = 1, entries.digest(first)
    return made


def denied() -> Ledger:
    """Return a ledger with one request that was denied, and five hundred others."""
    made = Ledger()
    made.add(model="request", id="r1", op="submitted", values={"state": "pending"})
    for number in range(500):
        made.add(model="request", id=f"n{number}", values={"reason": f"{number}"})
    made.add(model="request", id="r1", op="voted", values={"state": "pending"})
    made.add(model="request", id="r1", op="denied", values={"state": "denied"})
    return made


def whole(folder: Path, *older: Path, old: bytes | None = None) -> verifier.Report:
    payloads = folder / "payloads.jsonl"
    report = verifier.verify_export(folder, TRUST, payloads=payloads, older=older, old=old)
    with_two = verifier.verify_export(
        folder, TRUST, payloads=payloads, older=older, old=old, jobs=2
    )
    assert with_two == report
    return report


@pytest.fixture(params=[1, 32])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "CHUNK_BUNDLES", request.param)


@pytest.mark.usefixtures("chunks")
def test_what_goes_on_from_the_older_logs_end_holds(tmp_path: Path) -> None:
    older = denied()
    end = ended(older, tmp_path / "old")
    made = after(older, end)
    for number in range(300):
        made.add(model="request", id=f"n{number}", values={"reason": "again"})
        made.add(model="decision", id=f"n{number}", values={"comment": "new"})
    made.add(model="request", id="n7", op="erase", type="erase", values={"comment": ""})
    made.export(tmp_path / "new")
    report = whole(tmp_path / "new", tmp_path / "old")
    assert (report.problems, report.continued, report.unseen) == ([], 300, 0)
    assert [(each.entries, each.values) for each in report.older] == [(503, 503)]
    text = "\n".join(verifier.as_text(report, 0))
    assert "the older log jit.example.com/older: 503 entries, 503 values" in text
    assert "NOT COMPARED" not in text
    said = verifier.as_json(report, 0)
    assert (said["continued"], said["not_compared"], said["older"][0]["size"]) == (300, 0, 503)
    alone = whole(tmp_path / "new")
    assert (alone.problems, alone.continued, alone.unseen) == ([], 300, 300)
    assert verifier.as_json(alone, 0)["not_compared"] == 300
    assert "NOT COMPARED with the older log: 300 of these; see --older" in "\n".join(
        verifier.as_text(alone, 0)
    )


@pytest.mark.usefixtures("chunks")
def test_a_fork_across_logs_is_found(tmp_path: Path) -> None:
    older = denied()
    end = ended(older, tmp_path / "old")
    made = after(older, end)
    made.add(model="request", id="n1", values={"reason": "again"})
    made.newest["request", "r1"] = 2, entries.digest(older.made[-2])  # before it was denied
    made.add(model="request", id="r1", op="approved", values={"state": "approved"})
    made.newest["request", "none"] = 7, "00" * 32
    made.add(model="request", id="none", values={"reason": "follows nothing"})
    made.newest.pop(("request", "n2"))
    made.add(model="request", id="n2", values={"reason": "begins again"})
    made.export(tmp_path / "new")
    assert whole(tmp_path / "new").problems == []
    report = whole(tmp_path / "new", tmp_path / "old")
    assert report.problems == [
        (2, "its prev is not the hash of its object's previous entry"),
        (3, "it follows an entry of its object that isn't there"),
        (4, "it claims to be its object's first entry, and is not"),
    ]
    assert (report.continued, report.unseen) == (1, 0)


def test_another_older_log_than_the_one_succeeded_is_refused(tmp_path: Path) -> None:
    older = denied()
    end = ended(older, tmp_path / "old")
    made = after(older, end)
    made.add(model="request", id="n1", values={"reason": "again"})
    made.export(tmp_path / "new")
    older.add(model="request", id="n1", values={"reason": "went on"})
    ended(older, tmp_path / "longer")
    words = "the log began by succeeding another end than this one of jit.example.com/older"
    assert whole(tmp_path / "new", tmp_path / "longer").problems == [(0, words)]
    unknown = LogSigner(name="jit.example.com/unknown", seed=b"U" * 32)
    ended(denied(), tmp_path / "unknown", signer=unknown)
    ((_, words),) = whole(tmp_path / "new", tmp_path / "unknown").problems
    assert words == "the checkpoint is of 'jit.example.com/unknown', of which no key was given"
    with pytest.raises(verifier.Unusable, match="it is no export"):
        whole(tmp_path / "new", tmp_path / "none")
    alone = Ledger()
    alone.add(model="request", id="r1", values={"reason": "one"})
    alone.export(tmp_path / "alone")
    ((_, words),) = whole(tmp_path / "alone", tmp_path / "old").problems
    assert words == "the log succeeds none, not jit.example.com/older"


def test_what_is_wrong_with_the_older_log_is_said_of_it(tmp_path: Path) -> None:
    older = denied()
    end = ended(older, tmp_path / "old")
    after(older, end).export(tmp_path / "new")
    path = tmp_path / "old/payloads.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"denied"', b'"Denied"'))
    assert whole(tmp_path / "new", tmp_path / "old").problems == [
        (None, "jit.example.com/older: leaf 502: the value of state is not what the entry"
         " committed to"),
    ]  # fmt: skip


def test_three_logs_are_followed_from_the_first_to_the_last(tmp_path: Path) -> None:
    """What one log has nothing of goes on from the one before."""
    middle_key = LogSigner(name="jit.example.com/middle", seed=b"M" * 32)
    trust = verifier.trust_policy(
        f"log {OLD.key.vkey}\nlog {middle_key.key.vkey}\n".encode() + POLICY.encode(), source="all"
    )
    first = denied()
    middle = after(first, ended(first, tmp_path / "first"), origin=middle_key.name)
    middle.add(model="request", id="n1", values={"reason": "again"})
    last = after(middle, ended(middle, tmp_path / "middle", signer=middle_key))
    last.add(model="request", id="n1", values={"reason": "and again"})
    last.add(model="request", id="n2", values={"reason": "again"})
    last.export(tmp_path / "last")

    def check(*older: str) -> verifier.Report:
        return verifier.verify_export(
            tmp_path / "last", trust, older=[tmp_path / each for each in older]
        )

    report = check("middle", "first")
    assert (report.problems, report.continued, report.unseen) == ([], 2, 0)
    assert [each.continued for each in report.older] == [1, 0]
    report = check("middle")
    assert (report.problems, report.continued, report.unseen) == ([], 2, 1)
    text = "\n".join(verifier.as_text(report, 0))
    assert "middle: 2 entries, 1 values, 1 links NOT COMPARED with the log before it" in text
    assert "NOT COMPARED with the older log: 1 of these" in text
    last.newest["request", "n3"] = 1, "00" * 32
    last.add(model="request", id="n3", values={"reason": "forked"})
    last.export(tmp_path / "last")
    assert check("middle").problems == []
    assert [leaf for leaf, _ in check("middle", "first").problems] == [3]


def test_an_earlier_head_of_the_older_log_is_continued_through_it(tmp_path: Path) -> None:
    older = denied()
    end = ended(older, tmp_path / "old")
    after(older, end).export(tmp_path / "new")
    root = merkle.root_of([merkle.leaf_hash(entry) for entry in older.made[:300]])
    held = checkpoint.sign(checkpoint=Checkpoint(OLD.name, 300, root), signers=[OLD])
    report = whole(tmp_path / "new", tmp_path / "old", old=held)
    assert report.problems == []
    said = "continues the earlier checkpoint of jit.example.com/older of 300 entries"
    assert said in "\n".join(verifier.as_text(report, 0))
    assert whole(tmp_path / "new", tmp_path / "old", old=end).problems == []
    forged = checkpoint.sign(checkpoint=Checkpoint(OLD.name, 301, root), signers=[OLD])
    assert whole(tmp_path / "new", tmp_path / "old", old=forged).problem_count == 1
    assert whole(tmp_path / "new", old=held).problem_count == 1


def test_the_command_takes_older_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    older = denied()
    after(older, ended(older, tmp_path / "old")).export(tmp_path / "new")
    policy = tmp_path / "policy"
    policy.write_text(f"log {OLD.key.vkey}\n{POLICY.encode().decode()}")
    command = ["export", str(tmp_path / "new"), "--policy", str(policy)]
    assert verifier.main([*command, "--older", str(tmp_path / "old")]) == 0
    assert "the older log jit.example.com/older: 503 entries" in capsys.readouterr().out
    assert verifier.main([*command, "--older", str(tmp_path / "none")]) == 2
