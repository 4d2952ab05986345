"""Signed notes, keys, checkpoints and cosignatures: what holds, and what each rule refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.domain import checkpoint, cosignature, lines, merkle, note, verifier
from audit.domain.checkpoint import Checkpoint
from audit.domain.cosignature import Cosigner
from audit.domain.lines import Malformed
from tests.audit.ledger.logs import LOG, ORIGIN, WITNESS, signed

ROOT = bytes(range(32))
TEXT = f"{ORIGIN}\n7\n{lines.encode(ROOT)}\n".encode()
NOTE = signed(size=7, root=ROOT)
OTHER = note.LogSigner(name="other.example", seed=b"O" * 32)
POST_QUANTUM = Cosigner(
    name="pq.example/w", seed=b"P" * 32, time_seconds=9, kind=cosignature.ML_DSA_44
)


def trust(*keys: note.LogKey | cosignature.CosignerKey) -> verifier.Trust:
    return verifier.trust_keys([key.vkey for key in keys])


def both_refuse(message: bytes) -> None:
    """Assert that the writer's reader and the offline verifier refuse a checkpoint."""
    with pytest.raises((Malformed, note.BadSignature, note.Untrusted)):
        checkpoint.open_verified(message=message, log=LOG.key, also=[WITNESS.key])
    with pytest.raises(verifier.Broken):
        trust(LOG.key, WITNESS.key).check(message)


def test_a_note_is_its_text_and_who_signed() -> None:
    read, signatures = note.open_verified(message=NOTE, keys=[LOG.key, WITNESS.key])
    assert read.text == TEXT
    assert [key for key, _ in signatures] == [LOG.key, WITNESS.key]
    assert trust(LOG.key, WITNESS.key).check(NOTE).size == 7


def test_unknown_keys_are_ignored_whatever_they_say() -> None:
    name, key_id, _ = note.read(NOTE).signatures[0].name, LOG.key_id, None
    foreign = [
        note.Signature("someone.example", key_id, b"junk"),
        note.Signature(name, b"\0\0\0\1", b"junk"),
    ]
    message = checkpoint.cosigned(message=NOTE, signatures=foreign)
    assert checkpoint.open_verified(message=message, log=LOG.key).size == 7
    assert trust(LOG.key, WITNESS.key).check(message).size == 7


def test_a_known_key_with_a_bad_signature_spoils_the_note() -> None:
    bad = note.Signature(WITNESS.name, WITNESS.key_id, bytes(72))
    message = checkpoint.cosigned(message=NOTE, signatures=[bad])
    with pytest.raises(note.BadSignature):
        checkpoint.open_verified(message=message, log=LOG.key, also=[WITNESS.key])
    both_refuse(message)
    # Two lines of one key: the second is looked at too.
    twice = NOTE + bad.line().encode()
    both_refuse(twice)


def test_a_note_without_a_known_key_is_refused() -> None:
    with pytest.raises(note.Untrusted):
        note.open_verified(message=NOTE, keys=[OTHER.key])
    with pytest.raises(note.Untrusted):
        note.open_verified(message=NOTE, keys=[])


def line(message: bytes, number: int) -> bytes:
    return message.split(b"\n")[number] + b"\n"


BASE64 = NOTE.decode().split("\n")[4].split(" ")[2]

malformed = {
    "no final newline": NOTE[:-1],
    "two final newlines": NOTE + b"\n",
    "no empty line": NOTE.replace(b"\n\n", b"\n"),
    "no signatures": TEXT + b"\n",
    "text alone": TEXT,
    "empty": b"",
    "carriage return": NOTE.replace(b"\n", b"\r\n"),
    "tab": NOTE.replace(b"\n7\n", b"\n7\n\t\n"),
    "NUL": NOTE.replace(b"\n7\n", b"\n7\n\0\n"),
    "not UTF-8": NOTE.replace(b"\n7\n", b"\n7\n\xff\n"),
    "hyphen for a dash": NOTE.replace("—".encode(), b"-"),
    "two spaces": NOTE.replace("— ".encode(), "—  ".encode()),
    "space at the end": NOTE.replace(b"=\n", b"= \n"),
    "base64 without padding": NOTE.replace(b"=\n", b"\n"),
    "base64 with unused bits": NOTE.replace(b"bAk=", b"bAl=").replace(BASE64.encode(), BASE64[:-2].encode() + b"/="),
    "base64 for URLs": NOTE.replace(b"/", b"_"),
    "short signature": NOTE + f"— x {lines.encode(b'1234')}\n".encode(),
    "name with a plus": NOTE + f"— a+b {lines.encode(b'12345')}\n".encode(),
    "name with a wide space": NOTE + f"— a\u3000b {lines.encode(b'12345')}\n".encode(),
    "no name": NOTE + f"—  {lines.encode(b'12345')}\n".encode(),
}  # fmt: skip


@pytest.mark.parametrize("message", malformed.values(), ids=malformed)
def test_what_is_no_note_is_refused(message: bytes) -> None:
    assert message != NOTE
    both_refuse(message)


def test_too_many_or_too_long_is_refused() -> None:
    extra = b"".join(note.Signature(f"k{n}", b"1234", b"5").line().encode() for n in range(99))
    with pytest.raises(Malformed, match="too many"):
        note.read(NOTE + extra)
    assert len(note.read(NOTE + extra[: extra.rindex("—".encode())]).signatures) == 100
    with pytest.raises(Malformed, match="too long"):
        note.read(b"x" * 1_000_001)


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_every_changed_byte_is_found(at: int, change: int) -> None:
    message = bytearray(NOTE)
    message[at] ^= change
    with pytest.raises(verifier.Broken):
        trust(LOG.key, WITNESS.key).check(bytes(message))
    try:
        found = checkpoint.open_verified(message=bytes(message), log=LOG.key, also=[WITNESS.key])
    except (Malformed, note.BadSignature, note.Untrusted):
        return
    # Only a line of a key that is unknown by now may differ.
    assert found == Checkpoint(ORIGIN, 7, ROOT)
    assert bytes(message).startswith(TEXT)


# -- keys

BAD_VKEYS = {
    "two parts": "name+01020304",
    "another id": LOG.key.vkey.replace("+cbb1c82a+", "+cbb1c82b+"),
    "upper-case id": LOG.key.vkey.replace("+cbb1c82a+", "+CBB1C82A+"),
    "short id": LOG.key.vkey.replace("+cbb1c82a+", "+cbb1c8+"),
    "no name": LOG.key.vkey.replace(ORIGIN, ""),
    "space in the name": LOG.key.vkey.replace(ORIGIN, "jit example"),
    "another name": LOG.key.vkey.replace(ORIGIN, "jit.example.com/other"),
    "not base64": LOG.key.vkey[:-2] + "!!",
    "empty key": "name+01020304+",
    "short key": note.write_vkey(name="n", kind=1, public=b"short"),
    "unknown kind": note.write_vkey(name="n", kind=2, public=bytes(32)),
    "short ML-DSA": note.write_vkey(name="n", kind=6, public=bytes(32)),
    "newline": LOG.key.vkey + "\n",
}


@pytest.mark.parametrize("vkey", BAD_VKEYS.values(), ids=BAD_VKEYS)
def test_what_is_no_key_is_refused(vkey: str) -> None:
    with pytest.raises(Malformed):
        cosignature.read_key(vkey)
    with pytest.raises(verifier.Broken):
        verifier.read_key(vkey)


# -- checkpoints


def relog(text: bytes) -> bytes:
    """Sign a text as the log, whatever it says."""
    return note.sign(text=text, signers=[LOG])


bad_texts = {
    "two lines": f"{ORIGIN}\n7\n",
    "leading zero": f"{ORIGIN}\n07\n{lines.encode(ROOT)}\n",
    "plus sign": f"{ORIGIN}\n+7\n{lines.encode(ROOT)}\n",
    "negative": f"{ORIGIN}\n-7\n{lines.encode(ROOT)}\n",
    "other digits": f"{ORIGIN}\n٧\n{lines.encode(ROOT)}\n",
    "too large": f"{ORIGIN}\n{2**63}\n{lines.encode(ROOT)}\n",
    "short root": f"{ORIGIN}\n7\n{lines.encode(ROOT[:31])}\n",
    "empty extension": f"{ORIGIN}\n7\n{lines.encode(ROOT)}\n\nx\n",
    "no origin": f"\n7\n{lines.encode(ROOT)}\n",
    "another root of nothing": f"{ORIGIN}\n0\n{lines.encode(ROOT)}\n",
    "another origin": f"other\n7\n{lines.encode(ROOT)}\n",
}


@pytest.mark.parametrize("text", bad_texts.values(), ids=bad_texts)
def test_what_is_no_checkpoint_of_ours_is_refused(text: str) -> None:
    message = relog(text.encode())
    with pytest.raises((Malformed, note.Untrusted)):
        checkpoint.open_verified(message=message, log=LOG.key)
    with pytest.raises(verifier.Broken):
        trust(LOG.key).check(message)


def test_checkpoints_of_any_size_and_with_extensions_are_read() -> None:
    empty = Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT)
    large = Checkpoint(ORIGIN, 2**63 - 1, ROOT, ("an extension", "another"))
    for said in (empty, large):
        message = checkpoint.sign(checkpoint=said, signers=[LOG])
        assert checkpoint.open_verified(message=message, log=LOG.key) == said
        assert trust(LOG.key).check(message).size == said.size


@pytest.mark.parametrize(
    "said",
    [
        Checkpoint("", 7, ROOT), Checkpoint("a\nb", 7, ROOT), Checkpoint(ORIGIN, -1, ROOT),
        Checkpoint(ORIGIN, 7, b""), Checkpoint(ORIGIN, 7, ROOT, ("",)), Checkpoint(ORIGIN, 0, ROOT),
    ],
)  # fmt: skip
def test_what_a_checkpoint_can_not_say_is_not_signed(said: Checkpoint) -> None:
    with pytest.raises(Malformed):
        checkpoint.sign(checkpoint=said, signers=[LOG])


# -- cosignatures


def test_a_cosignature_binds_its_time() -> None:
    value = note.read(NOTE).signatures[1].value
    assert cosignature.split(value)[0] == WITNESS.time_seconds
    assert WITNESS.key.verifies(text=TEXT, value=value)
    later = (WITNESS.time_seconds + 1).to_bytes(8, "big") + value[8:]
    assert not WITNESS.key.verifies(text=TEXT, value=later)
    assert not WITNESS.key.verifies(text=TEXT, value=value[8:])
    assert not WITNESS.key.verifies(text=TEXT + b"x\n", value=value)
    beyond = (2**63).to_bytes(8, "big") + value[8:]
    assert not WITNESS.key.verifies(text=TEXT, value=beyond)
    with pytest.raises(Malformed):
        cosignature.split(beyond)


def test_a_log_signature_is_no_cosignature() -> None:
    same = cosignature.CosignerKey(ORIGIN, LOG.key.public)
    assert same.key_id != LOG.key_id
    assert not same.verifies(text=TEXT, value=bytes(8) + LOG.sign(TEXT))


def test_ml_dsa_cosignatures_are_made_and_accepted() -> None:
    said = Checkpoint(ORIGIN, 7, ROOT)
    message = checkpoint.sign(checkpoint=said, signers=[LOG, POST_QUANTUM])
    assert cosignature.read_key(POST_QUANTUM.key.vkey) == POST_QUANTUM.key
    found = checkpoint.open_verified(message=message, log=LOG.key, also=[POST_QUANTUM.key])
    assert found == said
    assert trust(LOG.key, POST_QUANTUM.key).check(message).cosigned == {"pq.example/w": 9}
    bad = bytearray(note.read(message).signatures[1].value)
    bad[-1] ^= 1
    worse = checkpoint.cosigned(
        message=message,
        signatures=[note.Signature(POST_QUANTUM.name, POST_QUANTUM.key_id, bytes(bad))],
    )
    with pytest.raises(note.BadSignature):
        checkpoint.open_verified(message=worse, log=LOG.key, also=[POST_QUANTUM.key])
    with pytest.raises(verifier.Broken):
        trust(LOG.key, POST_QUANTUM.key).check(worse)


def test_an_ml_dsa_cosignature_names_cosigner_and_tree() -> None:
    """The signed structure, spelled out. Source: C2SP tlog-cosignature, ML-DSA-44 signed message."""
    made = cosignature.message(kind=cosignature.ML_DSA_44, name="w", time_seconds=5, text=TEXT)
    origin = ORIGIN.encode()
    assert made == (
        b"subtree/v1\n\0" + b"\x01w" + bytes(7) + b"\x05"
        + bytes([len(origin)]) + origin + bytes(8) + bytes(7) + b"\x07" + ROOT
    )  # fmt: skip
    with pytest.raises(Malformed):
        cosignature.message(kind=cosignature.ML_DSA_44, name="w" * 256, time_seconds=5, text=TEXT)


def test_without_ml_dsa_the_key_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosignature, "HAS_ML_DSA", False)
    with pytest.raises(cosignature.Unsupported, match="ML-DSA-44"):
        cosignature.read_key(POST_QUANTUM.key.vkey)
    with pytest.raises(cosignature.Unsupported):
        Cosigner(name="x", seed=bytes(32), time_seconds=1, kind=cosignature.ML_DSA_44)
