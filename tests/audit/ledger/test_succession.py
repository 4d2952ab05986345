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
        verifier.follow(bucket, tmp_path, range(2), 3, succeeds=succeeds)
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
