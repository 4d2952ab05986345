"""Proof files and the talk with witnesses: what is written, and what each rule refuses."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.domain import (
    checkpoint,
    cosignature,
    lines,
    merkle,
    note,
    policy,
    proof,
    verifier,
    witness,
)
from audit.domain.checkpoint import Checkpoint
from audit.domain.lines import Malformed
from tests.audit.ledger import logs
from tests.audit.ledger.logs import LOG, ORIGIN, POLICY, WITNESS

FOLDER = Path(__file__).parent / "data" / "tlog-257"
FILE = (FOLDER / "entry.tlog-proof").read_bytes()
ENTRY = (FOLDER / "entry.bin").read_bytes()
TRUST = verifier.trust_policy(POLICY.encode(), source="test")
WRONG = (Malformed, note.BadSignature, note.Untrusted, policy.QuorumMissed, merkle.ProofFailed)


def both_refuse(data: bytes, entry: bytes = ENTRY) -> None:
    with pytest.raises(WRONG):
        proof.read(data).verify(entry=entry, policy=POLICY)
    assert verifier.verify_proof(data, entry, TRUST).problem_count


def test_a_proof_is_of_its_entry_alone() -> None:
    assert proof.read(FILE).verify(entry=ENTRY, policy=POLICY).checkpoint.size == 257
    assert not verifier.verify_proof(FILE, ENTRY, TRUST).problem_count
    both_refuse(FILE, ENTRY + b"\n")
    both_refuse(FILE, b"")


@given(st.binary(max_size=100))
def test_extra_data_is_carried_and_not_trusted(extra: bytes) -> None:
    found = proof.read(FILE)
    data = proof.Proof(found.index, found.hashes, found.checkpoint, extra).encode()
    assert proof.read(data).extra == extra
    assert not verifier.verify_proof(data, ENTRY, TRUST).problem_count


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_every_changed_byte_of_a_proof_is_found(at: int, change: int) -> None:
    data = bytearray(FILE)
    data[at] ^= change
    both_refuse(bytes(data))


HASH = FILE.split(b"\n")[2] + b"\n"
malformed = {
    "another header": FILE.replace(b"@v1", b"@v2"),
    "no header": FILE.partition(b"\n")[2],
    "no index": FILE.replace(b"index 51\n", b""),
    "leading zero": FILE.replace(b"index 51", b"index 051"),
    "two spaces": FILE.replace(b"index 51", b"index  51"),
    "index beyond": FILE.replace(b"index 51", b"index 257"),
    "another index": FILE.replace(b"index 51", b"index 50"),
    "extra after index": FILE.replace(b"index 51\n", b"index 51\nextra AAAA\n"),
    "extra twice": FILE.replace(b"index 51\n", b"extra AAAA\nextra AAAA\nindex 51\n"),
    "extra that is no base64": FILE.replace(b"index 51\n", b"extra AAA\nindex 51\n"),
    "a hash too many": FILE.replace(HASH, HASH + HASH),
    "a hash too few": FILE.replace(HASH, b""),
    "a short hash": FILE.replace(HASH, b"AAAA\n"),
    "no empty line": FILE.replace(b"\n\njit", b"\njit"),
    "no checkpoint": FILE.partition(b"\n\n")[0] + b"\n\n",
    "carriage returns": FILE.replace(b"\n", b"\r\n"),
    "too many hashes": FILE.replace(HASH, HASH * 64),
    "empty": b"",
}


@pytest.mark.parametrize("data", malformed.values(), ids=malformed)
def test_what_is_no_proof_is_refused(data: bytes) -> None:
    assert data != FILE
    both_refuse(data)


# -- witnesses

SAID = Checkpoint(ORIGIN, 1, bytes(32))
REQUEST = witness.Request(0, (), checkpoint.sign(checkpoint=SAID, signers=[LOG]))
LINE = note.Signature(WITNESS.name, WITNESS.key_id, WITNESS.sign(SAID.text())).line().encode()


def answer(status: int, body: bytes, content_type: str = "text/plain") -> object:
    return witness.read_answer(
        status=status, content_type=content_type, body=body, request=REQUEST, keys=[WITNESS.key]
    )


def test_a_cosignature_is_verified_and_completes_the_checkpoint() -> None:
    foreign = note.Signature("someone.example", b"1234", b"5").line().encode()
    found = answer(200, foreign + LINE)
    assert isinstance(found, witness.Cosigned)
    assert [each.name for each in found.signatures] == [WITNESS.name]
    message = checkpoint.cosigned(message=REQUEST.checkpoint, signatures=found.signatures)
    assert message == logs.signed(size=1, root=bytes(32))
    assert POLICY.trusted(message).cosigned_at == {"w1": WITNESS.time_seconds}


def test_another_size_is_where_to_go_on_from() -> None:
    assert answer(409, b"20852014\n", "text/x.tlog.size") == witness.Behind(20852014)
    assert answer(409, b"0\n", "text/x.tlog.size; charset=utf-8") == witness.Behind(0)


@pytest.mark.parametrize(
    ("status", "again", "words"),
    [
        (400, False, "malformed"), (403, False, "no valid signature"), (404, False, "origin"),
        (422, False, "fork"), (429, True, "now"), (500, True, "now"), (503, True, "now"),
        (301, False, "unexpected"), (418, False, "unexpected"), (204, False, "unexpected"),
    ],
)  # fmt: skip
def test_what_a_refusal_means(status: int, again: bool, words: str) -> None:
    with pytest.raises(witness.Refused, match=words) as refused:
        answer(status, LINE)
    assert (refused.value.status, refused.value.again) == (status, again)


ZERO = cosignature.Cosigner(name=WITNESS.name, seed=b"W" * 32, time_seconds=0)


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (200, b"", "text/plain"),
        (200, LINE[:-1], "text/plain"),
        (200, LINE + b"\n", "text/plain"),
        (200, b"ok\n", "text/plain"),
        (200, b"\xff\n", "text/plain"),
        (200, LINE.replace(b"w1", b"w2"), "text/plain"),
        (
            200,
            note.Signature(WITNESS.name, WITNESS.key_id, bytes(72)).line().encode(),
            "text/plain",
        ),
        (
            200,
            note.Signature(WITNESS.name, WITNESS.key_id, ZERO.sign(SAID.text())).line().encode(),
            "",
        ),
        (409, b"7\n", "text/plain"),
        (409, b"7", "text/x.tlog.size"),
        (409, b"07\n", "text/x.tlog.size"),
        (409, b"x\n", "text/x.tlog.size"),
    ],
)
def test_an_answer_that_breaks_its_promise_is_refused(
    status: int, body: bytes, content_type: str
) -> None:
    with pytest.raises(witness.Refused, match="answer is wrong"):
        answer(status, body, content_type)


REQUEST_BODY = (FOLDER / "consistency").read_bytes()
PROOF_LINE = REQUEST_BODY.split(b"\n")[1] + b"\n"


@pytest.mark.parametrize(
    "body",
    [
        b"", REQUEST_BODY.replace(b"old 171", b"old 0171"), REQUEST_BODY.replace(b"old", b"new"),
        REQUEST_BODY.replace(b"\n\njit", b"\njit"), REQUEST_BODY.replace(PROOF_LINE, b"AAAA\n"),
        REQUEST_BODY.replace(PROOF_LINE, PROOF_LINE * 60), REQUEST_BODY[:-1],
        REQUEST_BODY.replace(b"old 171\n", b"old 171\r\n"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(body: bytes) -> None:
    assert body != REQUEST_BODY
    with pytest.raises(Malformed):
        witness.read_request(body)


def test_no_more_than_63_proof_lines_are_sent() -> None:
    most = witness.Request(1, (bytes(32),) * 63, REQUEST.checkpoint)
    assert witness.read_request(most.encode()) == most
    assert REQUEST.encode().startswith(b"old 0\n\n" + ORIGIN.encode())
    with pytest.raises(Malformed):
        witness.Request(1, (bytes(32),) * 64, REQUEST.checkpoint).encode()
    assert lines.encode(bytes(32)).encode() in most.encode()
