"""The offline verifier: finds whatever was changed, names it, and says what erasure took."""

import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.domain import entries, merkle, proof, tiles, verifier
from tests.audit.ledger import logs
from tests.audit.ledger.logs import LOG, POLICY, Ledger

TRUST = verifier.trust_policy(POLICY.encode(), source="test")
COUNT = 300


def ledger() -> Ledger:
    """Return 300 entries: twenty requests with their decisions, one erased in part."""
    made = Ledger()
    for number in range(COUNT):
        request = number % 20
        if number == 290:
            made.add(
                model="approvals.accessrequest",
                id="r7",
                op="erase",
                type="erase",
                values={"reason": ""},
            )
        elif number % 3 == 2:
            made.add(
                model="approvals.decision",
                id=f"d{number}",
                op="approve",
                values={"comment": f"né {number}"},
            )
        else:
            made.add(
                model="approvals.accessrequest",
                id=f"r{request}",
                op="revise",
                values={"reason": f"because of {number}", "minutes": number, "live": True},
                erased=frozenset({"reason"} if request == 7 and number < 290 else ()),
            )
    return made


@pytest.fixture(scope="module")
def made() -> Ledger:
    return ledger()


@pytest.fixture(scope="module")
def folder(made: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    assert made.export(folder) == COUNT
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def check(folder: Path, **options: Any) -> verifier.Report:
    payloads = folder / "payloads.jsonl"
    return verifier.verify_export(
        folder, TRUST, payloads=payloads if payloads.exists() else None, **options
    )


def test_a_good_export_holds(folder: Path, made: Ledger) -> None:
    report = check(folder)
    assert report.problems == []
    assert report.entries == COUNT
    erased = [{"leaf": n, "field": "reason", "see": 290} for n in (7, 27, 67, 87, 127, 147)]
    assert [each for each in report.erased_listed if each["leaf"] < 150] == erased
    values = sum(line.count(b'"salt"') for line in made.payloads)
    assert (report.values, report.erased) == (values, len(report.erased_listed))


FILES = ["checkpoint", "payloads.jsonl", "tile/entries/000", "tile/entries/001.p/44", "tile/0/000",
         "tile/0/001.p/44", "tile/1/000.p/1"]  # fmt: skip


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(FILES), st.data())
def test_every_changed_byte_of_an_export_is_found(
    folder: Path, name: str, data: st.DataObject
) -> None:
    path = folder / name
    good = path.read_bytes()
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        path.write_bytes(bad)
        report = check(folder)
    finally:
        path.write_bytes(good)
    assert report.problem_count, name


def test_every_byte_of_the_checkpoint_counts(folder: Path) -> None:
    good = (folder / "checkpoint").read_bytes()
    for at in range(len(good)):
        for change in (1, 32, 128):
            bad = bytearray(good)
            bad[at] ^= change
            with pytest.raises(verifier.Broken):
                TRUST.check(bytes(bad))


@pytest.mark.parametrize("name", FILES[2:])
def test_a_missing_cut_or_grown_file_is_found(copy: Path, name: str) -> None:
    path = copy / name
    good = path.read_bytes()
    for bad in (good[:-1], good[:-32], good + b"\0", good + good[-32:], b""):
        path.write_bytes(bad)
        assert check(copy).problem_count
    path.unlink()
    report = check(copy)
    assert any(f"{name}" in words for _, words in report.problems)


# -- what whoever has the signing key could have written


def refused(
    entries_: list[bytes], tmp_path: Path, payloads: list[bytes] | None = None
) -> verifier.Report:
    """Return what is found in a well signed export of these entries; something must be."""
    logs.export(tmp_path, made=entries_, payloads=payloads)
    report = check(tmp_path)
    assert report.problem_count
    return report


def test_the_first_changed_entry_is_named(copy: Path, made: Ledger) -> None:
    path = copy / "tile/entries/000"
    path.write_bytes(path.read_bytes().replace(b'"op":"approve"', b'"op":"removed"'))
    report = check(copy)
    assert report.problems[0] == (2, "the entry's hash is not the one in tile/0/000")
    assert report.first_bad == "leaf 2 (approvals.decision d2, revision 1)"
    # The tiles still lead to the root, so it is said of the entries alone.
    assert not any("root" in words for _, words in report.problems)


def test_a_dropped_revision_is_found(made: Ledger, tmp_path: Path) -> None:
    report = refused(made.made[:40] + made.made[41:], tmp_path)
    assert report.problems[0][1] == "its prev is not the hash of its object's previous entry"
    assert report.first_bad.startswith("leaf 59 (approvals.accessrequest r0")


def test_reordered_revisions_are_found(made: Ledger, tmp_path: Path) -> None:
    swapped = made.made.copy()
    swapped[0], swapped[40] = swapped[40], swapped[0]
    report = refused(swapped, tmp_path)
    assert report.problems[0][0] in (0, 40)


def test_a_repeated_first_revision_is_found(made: Ledger, tmp_path: Path) -> None:
    report = refused([*made.made, made.made[0]], tmp_path)
    assert (COUNT, "it claims to be its object's first entry, and is not") in report.problems


def test_a_forked_object_is_found(made: Ledger, tmp_path: Path) -> None:
    newest = entries.read(made.made[298])
    other = entries.Entry(**{**{n: getattr(newest, n) for n in newest.__slots__}, "op": "deny"})
    report = refused([*made.made, other.encode()], tmp_path)
    assert (COUNT, "its prev is not the hash of its object's previous entry") in report.problems


@pytest.mark.parametrize("chunk_bundles", [1, 64])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: {"rev": e.rev + 1}, "revision"),
        (lambda e: {"prev": "0" * 64}, "prev"),
        (lambda e: {"id": "r1"}, "prev"),
    ],
    ids=["rev", "prev", "id"],
)
def test_a_wrong_link_is_found_inside_and_across_chunks(
    made: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chunk_bundles: int,
    change: Callable[[entries.Entry], dict[str, Any]],
    words: str,
) -> None:
    monkeypatch.setattr(verifier, "CHUNK_BUNDLES", chunk_bundles)
    last = entries.read(made.made[280])
    state = {name: getattr(last, name) for name in last.__slots__}
    # r0's last entry of those kept: nothing of r0 follows it here.
    wrong = entries.Entry(**{**state, **change(last)}).encode()
    report = refused([*made.made[:280], wrong], tmp_path)
    assert words in next(text for leaf, text in report.problems if leaf == 280)


@pytest.mark.parametrize("chunk_bundles", [1, 64])
def test_chunks_and_processes_find_the_same(
    folder: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, chunk_bundles: int
) -> None:
    monkeypatch.setattr(verifier, "CHUNK_BUNDLES", chunk_bundles)
    assert check(folder).problem_count == 0
    assert check(folder).erased == check(folder, jobs=2).erased > 0


def test_several_processes_scan_a_longer_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier, "CHUNK_BUNDLES", 2)
    size = logs.export(tmp_path, made=logs.lifecycles(5000, concurrent=700))
    report = check(tmp_path, jobs=2)
    assert (report.entries, report.problems) == (size, [])
    path = tmp_path / "tile/entries/007"
    path.write_bytes(path.read_bytes().replace(b'"approve"', b'"approvf"', 1))
    assert check(tmp_path, jobs=2).problems[0][0] == 7 * 256


def test_a_large_tree_has_its_upper_tiles_checked(tmp_path: Path) -> None:
    size = 256 * 257
    logs.export(tmp_path, made=(b"%d" % number for number in range(size)))
    report = check(tmp_path)
    assert (report.entries, report.foreign, report.problems) == (size, size, [])
    old = logs.Store()
    old.append([merkle.leaf_hash(b"%d" % number) for number in range(65_537)])
    earlier = logs.signed(size=65_537, root=old.edge.root)
    assert check(tmp_path, old=earlier).problem_count == 0
    path = tmp_path / "tile/1/000"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert check(tmp_path).problems[0] == (
        256,
        "tile/1/000: hash 1, over leaves 256 to 511, is wrong",
    )


def test_an_object_named_among_the_commitments_is_not_the_entrys(tmp_path: Path) -> None:
    """Its end is right for the one object, but it says to be another's."""
    made = Ledger()
    made.add(model="m", id="1", values={"reason": "r"})
    made.add(model="m", id="1", values={"reason": "s"})
    inner = b'"fields":{"a":{"b":{},"id":"1","model":"m","op":"submit"},"reason"'
    forged = (
        made.made[1]
        .replace(b'"fields":{"reason"', inner)
        .replace(
            b'},"id":"1","model":"m","op":"submit","prev"',
            b'},"id":"2","model":"m","op":"submit","prev"',
        )
    )
    report = refused([made.made[0], forged], tmp_path)
    assert report.problems == [(1, "its prev is an entry of another object")]


# -- most chunks are only glanced at; what is found must not depend on it


def test_a_glance_is_enough_for_what_is_usual(folder: Path, tmp_path: Path) -> None:
    job = verifier.Job(folder, 0, 2, COUNT, None)
    glanced, looked = verifier.glance(job), verifier.look(job)
    assert glanced is not None
    assert (glanced.roots, glanced.tail, glanced.erasures, glanced.problems) == (
        looked.roots,
        looked.tail,
        looked.erasures,
        [],
    )
    heads = sorted(glanced.heads)
    assert heads == sorted(looked.heads)
    verifier.keep(heads, tmp_path / "0", 3)
    parts = [verifier.kept(tmp_path / "0", bucket, 3) for bucket in range(3)]
    assert all(parts)
    assert sorted(itertools.chain(*parts)) == heads


def _other(entry: bytes, data: st.DataObject) -> bytes:
    """Return an entry with one byte changed, most often where objects and links are."""
    low = data.draw(st.sampled_from([0, max(0, len(entry) - 190)]))
    at = data.draw(st.integers(low, len(entry) - 1))
    byte = data.draw(st.sampled_from(b'0123456789abcdef",:}{\\r'))
    return entry[:at] + bytes([byte]) + entry[at + 1 :]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(["change", "drop", "repeat", "swap"]), st.booleans(), st.data())
def test_a_glance_and_a_close_look_find_the_same(
    made: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    small: bool,
    data: st.DataObject,
) -> None:
    """Whatever whoever has the signing key changed, in one chunk or across several."""
    changed = made.made.copy()
    one, two = data.draw(st.tuples(*[st.integers(0, COUNT - 1)] * 2))
    if how == "change":
        changed[one] = _other(changed[one], data)
    elif how == "drop":
        del changed[one]
    elif how == "repeat":
        changed.insert(two, changed[one])
    else:
        changed[one], changed[two] = changed[two], changed[one]
    shutil.rmtree(tmp_path)
    logs.export(tmp_path, made=changed)
    with monkeypatch.context() as patch:
        patch.setattr(verifier, "CHUNK_BUNDLES", 1 if small else 32)
        glanced = check(tmp_path)
        patch.setattr(verifier, "glance", lambda job: None)
        assert check(tmp_path) == glanced


def test_an_entry_that_is_not_a_ledgers_is_found(made: Ledger, tmp_path: Path) -> None:
    report = refused([*made.made[:5], b'{"hello":1}'], tmp_path)
    assert report.problems[0] == (5, "this is not an entry of a ledger")


@pytest.mark.parametrize("chunk", [1, 32])
@pytest.mark.parametrize("beginning", [b"this is no JSON \xff and commits to nothing", b"{"])
def test_what_only_ends_as_an_entry_is_none(
    beginning: bytes, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever chunks begin, and however closely it is looked at."""
    monkeypatch.setattr(verifier, "CHUNK_BUNDLES", chunk)
    made = Ledger()
    first = made.add(model="request", id="1", values={"reason": "r"})
    for number in range(254):
        made.add(model="decision", id=f"{number}", values={"comment": "c"})
    _, found, end = made.add(model="request", id="1", values={"reason": "s"}).partition(b'},"id":')
    made.made[-1] = beginning + found + end
    made.newest["request", "1"] = 2, entries.digest(made.made[-1])
    made.add(model="request", id="1", values={"reason": "t"})
    logs.export(tmp_path / "same", made=[first, *made.made[-2:]])
    logs.export(tmp_path / "across", made=made.made)
    for folder, leaf in (("same", 1), ("across", 255)):
        glanced = check(tmp_path / folder)
        assert glanced.problems[0] == (leaf, "this is not an entry of a ledger")
        with monkeypatch.context() as patch:
            patch.setattr(verifier, "glance", lambda job: None)
            assert check(tmp_path / folder) == glanced


@pytest.mark.parametrize("type_", ["note", "heartbeat", "succession"])
def test_a_revision_is_of_no_type_that_needs_no_values(type_: str, tmp_path: Path) -> None:
    made = Ledger()
    made.add(model="request", id="1", values={"state": "pending"})
    made.add(model="request", id="1", values={"state": "approved"}, type=type_, op="approved")
    for payloads in (None, made.payloads):
        report = refused(made.made, tmp_path, payloads)
        assert report.problems[0][0] == 1


# -- values


def test_a_changed_removed_or_added_value_is_found(copy: Path, made: Ledger) -> None:
    path = copy / "payloads.jsonl"

    def first(lines: list[bytes]) -> verifier.Problem:
        path.write_bytes(b"".join(lines))
        report = check(copy)
        return report.problems[0]

    good = made.payloads
    assert first([good[0].replace(b"because", b"Because"), *good[1:]]) == (
        0,
        "the value of reason is not what the entry committed to",
    )
    assert first(good[1:]) == (0, "the value of live is missing, and nothing erased it")
    path.write_bytes(b"".join([good[1], good[0], *good[2:]]))
    assert any("out of order" in words for _, words in check(copy).problems)
    extra = {"added": ("x", bytes(32))}
    erased = entries.payload_line(leaf=290, fields=extra)
    where = next(n for n, line in enumerate(good) if b'"leaf":291}' in line)
    assert first([*good[:where], erased, *good[where:]]) == (
        290,
        "there is a value for added, to which the entry doesn't commit",
    )
    beyond = entries.payload_line(leaf=COUNT, fields=extra)
    assert "beyond the log" in first([*good, beyond])[1]
    assert first([good[0].replace(b'":"', b'": "', 1), *good[1:]]) == (0, "not canonical JSON")
    assert first([b"{}\n", *good]) == (None, "line 1 of the payloads is not a payload")


def test_an_erasure_takes_only_what_it_names_and_what_came_before(tmp_path: Path) -> None:
    def export(*, named: str, late: bool) -> verifier.Report:
        made = Ledger()
        gone = frozenset({"reason"})
        made.add(model="m", id="1", values={"reason": "r", "other": "o"}, erased=gone)
        made.add(model="m", id="1", op="erase", type="erase", values={named: ""})
        if late:
            made.add(model="m", id="1", values={"reason": "again"}, erased=gone)
        shutil.rmtree(tmp_path)
        made.export(tmp_path)
        return check(tmp_path)

    good = export(named="reason", late=False)
    assert good.problems == []
    assert good.erased_listed == [{"leaf": 0, "field": "reason", "see": 1}]
    missing = "the value of reason is missing, and nothing erased it"
    assert export(named="other", late=False).problems == [(0, missing)]
    assert export(named="reason", late=True).problems == [(2, missing)]


def test_a_revision_may_follow_an_erasure(tmp_path: Path) -> None:
    made = Ledger()
    made.add(model="m", id="1", values={"reason": "r"}, erased=frozenset({"reason"}))
    made.add(model="m", id="1", op="erase", type="erase", values={"reason": ""})
    made.add(model="m", id="1", values={"reason": "new"})
    made.add(model="log", id="jit.example.com/audit", type="heartbeat", values={})
    made.add(model="log", id="jit.example.com/audit", type="heartbeat", values={})
    made.export(tmp_path)
    report = check(tmp_path)
    assert (report.problems, report.values, report.erased) == ([], 1, 1)


# -- earlier checkpoints


def earlier(made: Ledger, size: int) -> bytes:
    root = merkle.root_of([merkle.leaf_hash(entry) for entry in made.made[:size]])
    return logs.signed(size=size, root=root)


def test_every_earlier_checkpoint_is_continued(folder: Path, made: Ledger) -> None:
    for size in (0, 1, 2, 255, 256, 257, 299, 300):
        assert check(folder, old=earlier(made, size)).problems == []


def test_another_history_and_a_cut_tail_are_found(made: Ledger, tmp_path: Path) -> None:
    kept = earlier(made, COUNT)
    other = Ledger()
    for number in range(COUNT):
        other.add(model="m", id=f"{number}", values={"reason": "another"})
    other.export(tmp_path / "other")
    assert check(tmp_path / "other").problems == []
    words = "the first 300 entries are not those of the earlier checkpoint"
    assert check(tmp_path / "other", old=kept).problems == [(None, words)]
    logs.export(tmp_path / "cut", made=made.made[:280])
    words = "the end is cut off: there were 300 entries, now there are 280"
    assert check(tmp_path / "cut", old=kept).problems == [(280, words)]


def test_an_earlier_checkpoint_needs_the_logs_signature(folder: Path, made: Ledger) -> None:
    bad = earlier(made, 10).replace(b"\n10\n", b"\n11\n")
    assert check(folder, old=bad).problem_count == 1


# -- the command


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    path = tmp_path / "policy"
    path.write_bytes(POLICY.encode())
    return path


def answers(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    status = verifier.main([str(each) for each in argv])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_the_command_says_what_holds(
    folder: Path, policy_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = answers(capsys, "export", folder, "--policy", policy_file)
    assert status == 0
    assert "leaf 7, reason: erased, see leaf 290" in said
    assert "cosigned by w1 at 2026-" in said
    assert said.endswith("s.\n")
    status, said = answers(capsys, "export", folder, "--vkey", LOG.key.vkey, "--json")
    found = json.loads(said)
    assert (status, found["ok"], found["size"], found["problems"]) == (0, True, COUNT, [])


def test_the_command_names_the_first_bad_record(
    copy: Path, policy_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "tile/entries/001.p/44"
    path.write_bytes(path.read_bytes().replace(b"revise", b"revisf", 1))
    status, said = answers(capsys, "export", copy, "--policy", policy_file)
    assert status == 1
    assert "NOT VERIFIED. First bad record: leaf 256 (approvals.accessrequest r16, revision" in said
    status, said = answers(capsys, "export", copy, "--policy", policy_file, "--json")
    assert status == 1
    assert json.loads(said)["first_bad"].startswith("leaf 256 ")
    assert json.loads(said)["problems"][0]["leaf"] == 256


def test_the_exports_own_keys_are_used_with_a_warning(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answers(capsys, "export", copy)[0] == 2
    (copy / "policy").write_bytes(POLICY.encode())
    status, said = answers(capsys, "export", copy)
    assert status == 0
    assert "THE EXPORT'S OWN" in said


def test_what_can_not_be_looked_at_is_status_2(
    folder: Path, policy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answers(capsys, "export", tmp_path / "none", "--policy", policy_file)[0] == 2
    assert answers(capsys, "export", folder)[0] == 2
    assert answers(capsys, "export", folder, "--vkey", "nonsense")[0] == 2
    assert answers(capsys, "export", folder, "--policy", tmp_path / "none")[0] == 2
    policy_file.write_text("quorum\n")
    assert answers(capsys, "export", folder, "--policy", policy_file)[0] == 2
    with pytest.raises(SystemExit) as left:
        verifier.main(["export"])
    assert left.value.code == 2


@pytest.mark.parametrize("pages", [2, 3])
def test_a_disk_that_fills_is_status_2(
    folder: Path, policy_file: Path, capsys: pytest.CaptureFixture[str], pages: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    connect = sqlite3.connect

    def small(path: str) -> sqlite3.Connection:
        made = connect(path)
        made.execute(f"PRAGMA max_page_count = {pages}")
        return made

    monkeypatch.setattr(sqlite3, "connect", small)
    assert verifier.main(["export", str(folder), "--policy", str(policy_file)]) == 2
    assert "disk is full" in capsys.readouterr().err


def test_whoever_is_told_to_end_leaves_no_files(
    folder: Path, made: Ledger, policy_file: Path, tmp_path: Path
) -> None:
    temporary, pipe = tmp_path / "temporary", tmp_path / "pipe"
    temporary.mkdir()
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [sys.executable, "-I", verifier.__file__, "export", folder, "--policy", policy_file,
         "--payloads", pipe],
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    with pipe.open("wb", buffering=0) as file:
        file.write(made.payloads[0])
        until = time.monotonic() + 60
        while not list(temporary.iterdir()):
            assert time.monotonic() < until
            time.sleep(0.01)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert list(temporary.iterdir()) == []


@pytest.fixture
def proven(made: Ledger, tmp_path: Path) -> Callable[[int], list[object]]:
    store = logs.Store()
    store.append([merkle.leaf_hash(entry) for entry in made.made])
    message = logs.signed(size=COUNT, root=store.edge.root)

    def files(index: int) -> list[object]:
        hashes = tuple(store.tree.inclusion(index=index))
        (tmp_path / "proof").write_bytes(proof.Proof(index, hashes, message).encode())
        (tmp_path / "entry").write_bytes(made.made[index])
        line = next(line for line in made.payloads if line.endswith(b'"leaf":%d}\n' % index))
        (tmp_path / "payload").write_bytes(line)
        return [
            "proof",
            tmp_path / "proof",
            "--entry",
            tmp_path / "entry",
            "--payload",
            tmp_path / "payload",
        ]

    return files


def test_a_proof_with_its_values(
    proven: Callable[[int], list[object]],
    policy_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = [*proven(40), "--policy", policy_file]
    status, said = answers(capsys, *argv)
    assert status == 0
    assert "leaf 40" in said
    assert "r0" in said
    assert "3 values are those committed to" in said
    payload = tmp_path / "payload"
    payload.write_bytes(payload.read_bytes().replace(b"because", b"becausE"))
    status, said = answers(capsys, *argv)
    assert status == 1
    assert "leaf 40: the value of reason is not what the entry committed to" in said
    proven(40)
    payload.write_bytes(payload.read_bytes().replace(b'"leaf":40', b'"leaf":41'))
    assert answers(capsys, *argv)[0] == 1
    proven(7)
    status, said = answers(capsys, *argv)
    assert status == 0
    assert "leaf 7, reason: not given" in said


def test_it_runs_as_one_file_without_the_product(
    folder: Path, policy_file: Path, tmp_path: Path
) -> None:
    """Copied away, in isolated mode, with nothing importable but the library and cryptography."""
    alone = tmp_path / "check_ledger.py"
    shutil.copy(verifier.__file__, alone)
    command = [
        sys.executable,
        "-I",
        str(alone),
        "export",
        str(folder),
        "--policy",
        str(policy_file),
    ]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "VERIFIED" in answer.stdout
    source = Path(verifier.__file__).read_text(encoding="utf-8")
    imported = {
        line.split()[1].partition(".")[0]
        for line in source.splitlines()
        if line.lstrip().startswith(("import ", "from "))
    }
    assert imported - {*sys.stdlib_module_names} <= {"cryptography"}
    assert tiles.WIDTH == verifier.WIDTH
