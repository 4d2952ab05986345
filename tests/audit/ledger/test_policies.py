"""Trust policies: quorums, and every rule of the file format, in both readers."""

from hashlib import sha256

import pytest

from audit.domain import checkpoint, cosignature, note, policy, verifier
from audit.domain.checkpoint import Checkpoint
from audit.domain.cosignature import Cosigner
from audit.domain.lines import Malformed
from tests.audit.ledger.logs import LOG, ORIGIN

WITNESSES = [
    Cosigner(name=f"w{n}.example", seed=sha256(b"%d" % n).digest(), time_seconds=100 + n)
    for n in range(6)
]
VKEYS = [each.key.vkey for each in WITNESSES]
HEAD = f"log {LOG.key.vkey}\n" + "".join(f"witness w{n} {vkey}\n" for n, vkey in enumerate(VKEYS))
TWO_GROUPS = HEAD + "group X 2 w0 w1 w2\ngroup Y any w3 w4 w5\ngroup both all X Y\nquorum both\n"
SAID = Checkpoint(ORIGIN, 1, bytes(32))


def cosigned(*by: int) -> bytes:
    return checkpoint.sign(checkpoint=SAID, signers=[LOG, *(WITNESSES[n] for n in by)])


def holds(text: str, message: bytes) -> bool:
    """Return whether a policy trusts a checkpoint; both readers agree."""
    data = text.encode()
    try:
        found = policy.read(data).trusted(message)
        ours = dict(found.cosigned_at)
    except policy.QuorumMissed:
        ours = None
    try:
        theirs = verifier.trust_policy(data, source="test").check(message).cosigned
    except verifier.Broken as error:
        assert "too few witnesses" in str(error)
        theirs = None
    assert ours == theirs
    return ours is not None


@pytest.mark.parametrize(
    ("by", "good"),
    [
        ((0, 1, 3), True), ((1, 2, 5), True), ((0, 1, 2, 3, 4, 5), True),
        ((0, 1), False), ((0, 3), False), ((3, 4, 5), False), ((), False),
    ],
)  # fmt: skip
def test_a_quorum_of_groups(by: tuple[int, ...], good: bool) -> None:
    assert holds(TWO_GROUPS, cosigned(*by)) is good
    written = policy.read(TWO_GROUPS.encode()).encode().decode()
    assert holds(written, cosigned(*by)) is good


def test_a_quorum_of_one_and_of_none() -> None:
    assert holds(HEAD + "quorum w2\n", cosigned(2))
    assert not holds(HEAD + "quorum w2\n", cosigned(1))
    assert holds(HEAD + "quorum none\n", cosigned())
    assert holds(f"log {LOG.key.vkey}\nquorum none\n", cosigned(1))


def test_white_space_comments_order_and_opaque_bytes_are_allowed() -> None:
    text = f"  # café \n\n\t\nwitness \t né {VKEYS[0]}  http://w/ \nquorum né\n log {LOG.key.vkey} http://l/\n"
    assert holds(text, cosigned(0))
    latin = text.encode("latin-1")
    assert policy.read(latin).encode().count(b"n\xe9") == 2
    assert verifier.trust_policy(latin, source="").quorum == "n\udce9"


def test_a_log_is_known_by_its_origin() -> None:
    stranger = note.LogSigner(name="other.example", seed=LOG_SEED)
    said = checkpoint.sign(checkpoint=Checkpoint("other.example", 1, bytes(32)), signers=[stranger])
    with pytest.raises(note.Untrusted):
        policy.read((HEAD + "quorum none\n").encode()).trusted(said)
    # The right key under the right name, on a checkpoint that says another origin.
    said = checkpoint.sign(checkpoint=Checkpoint("other.example", 1, bytes(32)), signers=[LOG])
    with pytest.raises(note.Untrusted):
        policy.read((HEAD + "quorum none\n").encode()).trusted(said)
    with pytest.raises(verifier.Broken):
        verifier.trust_policy((HEAD + "quorum none\n").encode(), source="").check(said)


LOG_SEED = b"S" * 32
SAME_KEY = note.write_vkey(name="alias", kind=cosignature.ED25519, public=WITNESSES[0].key.public)
SAME_LOG = note.write_vkey(name="alias", kind=note.ED25519, public=LOG.key.public)

malformed = {
    "no quorum": HEAD,
    "two quorums": HEAD + "quorum w0\nquorum w0\n",
    "unknown quorum": HEAD + "quorum w9\n",
    "quorum before its witness": f"quorum w0\nwitness w0 {VKEYS[0]}\n",
    "quorum of two": HEAD + "quorum w0 w1\n",
    "no last newline": HEAD + "quorum w0",
    "empty": "",
    "unknown word": HEAD + "trust w0\nquorum w0\n",
    "upper-case word": HEAD + "QUORUM w0\n",
    "the same log": HEAD + f"log {SAME_LOG}\nquorum none\n",
    "the same witness": HEAD + f"witness w9 {SAME_KEY}\nquorum none\n",
    "a name twice": HEAD + f"witness w0 {VKEYS[1]}\nquorum none\n",
    "a group named as a witness": HEAD + "group w0 any w1\nquorum w0\n",
    "a group named none": HEAD + "group none any w1\nquorum none\n",
    "a witness named none": f"witness none {VKEYS[0]}\nquorum none\n",
    "none as a member": HEAD + "group g any none\nquorum g\n",
    "no members": HEAD + "group g any\nquorum none\n",
    "unknown member": HEAD + "group g any w9\nquorum g\n",
    "itself as a member": HEAD + "group g any g\nquorum g\n",
    "a member twice": HEAD + "group g 2 w0 w0\nquorum g\n",
    "a member of two groups": HEAD + "group g any w0\ngroup h any w0\nquorum g\n",
    "none of them": HEAD + "group g 0 w0\nquorum g\n",
    "more than all": HEAD + "group g 2 w0\nquorum g\n",
    "leading zero": HEAD + "group g 01 w0\nquorum g\n",
    "some": HEAD + "group g some w0\nquorum g\n",
    "a log's key as a witness's": f"witness w {LOG.key.vkey}\nquorum w\n",
    "a witness's key as a log's": f"log {VKEYS[0]}\nquorum none\n",
    "a bad key": "log x+00000000+AAAA\nquorum none\n",
    "a log with too much": f"log {LOG.key.vkey} http://a/ b\nquorum none\n",
    "a witness without a key": "witness w\nquorum none\n",
    "carriage return": HEAD + "quorum none\r\n",
    "NUL": HEAD + "#\0\nquorum none\n",
    "DEL": HEAD + "#\x7f\nquorum none\n",
}


@pytest.mark.parametrize("text", malformed.values(), ids=malformed)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        policy.read(text.encode())
    with pytest.raises(verifier.Broken):
        verifier.trust_policy(text.encode(), source="test")


def test_many_logs_witnesses_and_groups_are_read() -> None:
    text = "".join(
        f"log {note.LogSigner(name=f'l{n}', seed=sha256(b'l%d' % n).digest()).key.vkey}\n"
        f"witness w{n} {Cosigner(name=f'w{n}', seed=sha256(b'w%d' % n).digest(), time_seconds=1).key.vkey}\n"
        f"group g{n} any w{n}\n"
        for n in range(40)
    )
    assert len(policy.read((text + "quorum g39\n").encode()).groups) == 40
