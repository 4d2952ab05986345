"""Entries and commitments: one spelling, no personal content, and values that match or don't."""

import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.domain import entries, verifier
from audit.domain.entries import Entry
from audit.domain.lines import Malformed

SALT = bytes(range(32))
REASON = entries.commitment(name="reason", value="Räum auf \u20ac", salt=SALT)
FIRST = Entry(
    model="approvals.accessrequest",
    id="0198c0de-0000-7000-8000-000000000001",
    rev=1,
    prev="",
    op="submit",
    actor="3f2b8c1e-6a57-4c55-9d20-0d3f6f0c2b11",
    at="2026-07-22T16:23:02.000000Z",
    fields={"reason": REASON},
)

text = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=10,
)


def test_an_entry_is_canonical_json_of_exactly_these_members() -> None:
    data = FIRST.encode()
    assert data == (
        b'{"actor":"3f2b8c1e-6a57-4c55-9d20-0d3f6f0c2b11","at":"2026-07-22T16:23:02.000000Z",'
        b'"fields":{"reason":"' + REASON.encode() + b'"},'
        b'"id":"0198c0de-0000-7000-8000-000000000001","model":"approvals.accessrequest",'
        b'"op":"submit","prev":"","rev":1,"type":"rev","v":1}'
    )
    assert entries.read(data) == FIRST
    assert entries.digest(data) == sha256(data).hexdigest()
    second = replace(FIRST, rev=2, prev=entries.digest(data))
    assert entries.read(second.encode()) == second


def test_a_commitment_is_an_hmac_of_name_and_value() -> None:
    message = b"reason\0" + '"Räum auf \u20ac"'.encode()
    assert hmac.new(SALT, message, sha256).hexdigest() == REASON
    entries.verify_value(entry=FIRST, name="reason", value="Räum auf \u20ac", salt=SALT)


@given(values, values, st.binary(min_size=32, max_size=32))
def test_only_the_value_with_its_salt_and_name_matches(value: Any, other: Any, salt: bytes) -> None:
    entry = replace(
        FIRST, fields={"reason": entries.commitment(name="reason", value=value, salt=salt)}
    )
    entries.verify_value(entry=entry, name="reason", value=value, salt=salt)
    line = json.loads(entries.payload_line(leaf=0, fields={"reason": (value, salt)}))
    verifier.check_value(entry.fields["reason"], "reason", line["fields"]["reason"])
    if json.dumps(value, sort_keys=True) != json.dumps(other, sort_keys=True):
        with pytest.raises(entries.CommitmentMismatch):
            entries.verify_value(entry=entry, name="reason", value=other, salt=salt)
    with pytest.raises(entries.CommitmentMismatch):
        entries.verify_value(entry=entry, name="reason", value=value, salt=bytes(31) + b"!")
    with pytest.raises(entries.CommitmentMismatch):
        entries.verify_value(entry=entry, name="comment", value=value, salt=salt)
    renamed = replace(entry, fields={"comment": entry.fields["reason"]})
    with pytest.raises(entries.CommitmentMismatch):
        entries.verify_value(entry=renamed, name="comment", value=value, salt=salt)


@given(values)
def test_the_verifier_spells_values_alike(value: Any) -> None:
    assert verifier.canonical(value) == entries._canonical(value)
    assert verifier.parse(verifier.canonical(value)) == value


@pytest.mark.parametrize(
    "value", [1.5, 1.0, [0.1], {"a": 2.0}, 2**53, -(2**53), float("nan"), "\ud800"]
)
def test_what_can_not_be_committed_to_is_refused(value: Any) -> None:
    with pytest.raises(Malformed):
        entries.commitment(name="reason", value=value, salt=SALT)
    with pytest.raises(verifier.Broken):
        verifier.canonical(value)


def test_a_salt_has_32_bytes_and_a_field_a_plain_name() -> None:
    with pytest.raises(Malformed, match="salt"):
        entries.commitment(name="reason", value="", salt=SALT[:31])
    with pytest.raises(Malformed, match="name"):
        entries.commitment(name="reason\0", value="", salt=SALT)


wrong: dict[str, dict[str, Any]] = {
    "rev 0": {"rev": 0},
    "rev of 2^53": {"rev": 2**53, "prev": "0" * 64},
    "first with prev": {"prev": "0" * 64},
    "second without prev": {"rev": 2},
    "short prev": {"rev": 2, "prev": "0" * 63},
    "upper-case prev": {"rev": 2, "prev": "A" * 64},
    "a name as actor": {"actor": "alice"},
    "another spelling of an actor": {"actor": "3F2B8C1E-6A57-4C55-9D20-0D3F6F0C2B11"},
    "local time": {"at": "2026-07-22T16:23:02.000000"},
    "offset": {"at": "2026-07-22T16:23:02.000000+00:00"},
    "milliseconds": {"at": "2026-07-22T16:23:02.000Z"},
    "no such day": {"at": "2026-02-30T16:23:02.000000Z"},
    "op with a space": {"op": "take back"},
    "op that is free text": {"op": "Ünlaut"},
    "type": {"type": ""},
    "model": {"model": "A Model"},
    "no id": {"id": ""},
    "id with a quote": {"id": 'a"b'},
    "id with a space": {"id": "a b"},
    "id beyond ASCII": {"id": "ä"},
    "a value as commitment": {"fields": {"reason": "secret"}},
    "no commitment": {"fields": {"reason": ""}},
    "field beyond ASCII": {"fields": {"grönd": REASON}},
    "an erasure of nothing": {"type": "erase", "rev": 1, "prev": "0" * 64, "fields": {}},
    "an erasure with a commitment": {"type": "erase", "prev": "0" * 64},
    "an erasure first": {"type": "erase", "fields": {"reason": ""}},
    "too long": {"fields": {f"f{n}": REASON for n in range(1000)}},
}


@pytest.mark.parametrize("change", wrong.values(), ids=wrong)
def test_what_no_entry_says_is_not_written(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        replace(FIRST, **change).encode()


def test_an_erasure_keeps_the_revision_number() -> None:
    erasure = replace(FIRST, type=entries.ERASURE, op="erase", prev="0" * 64, fields={"reason": ""})
    assert entries.read(erasure.encode()) == erasure
    with pytest.raises(entries.CommitmentMismatch):
        entries.verify_value(entry=erasure, name="reason", value="", salt=SALT)


GOOD = FIRST.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b"null", b"x", b"\xff", GOOD + b"\n", GOOD.replace(b":", b": "),
        GOOD.replace(b'"v":1', b'"v":2'), GOOD.replace(b'"v":1', b'"v":1.0'),
        GOOD.replace(b'"v":1', b'"v":1,"w":1'), GOOD.replace(b'"rev":1', b'"rev":true'),
        GOOD.replace(b'"rev":1', b'"rev":"1"'), GOOD.replace(b'"rev":1', b'"rev":1e0'),
        GOOD.replace(b'"op":"submit"', b'"op":null'), GOOD.replace(b"submit", b"\\u0073ubmit"),
        GOOD.replace(b'"op":"submit"', b'"op":"x","op":"submit"'), b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_entry_is_not_read(data: bytes) -> None:
    with pytest.raises(Malformed):
        entries.read(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_is_another_entry_or_none(at: int, change: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= change
    try:
        found = entries.read(bytes(data))
    except Malformed:
        return
    assert found != FIRST
    assert found.encode() == data


def test_moments_are_spelled_in_utc_with_six_digits() -> None:
    at = datetime(2026, 7, 22, 18, 23, 2, 5, tzinfo=timezone(timedelta(hours=2)))
    assert entries.stamp(at) == "2026-07-22T16:23:02.000005Z"
    assert entries.stamp(datetime(1, 1, 1, tzinfo=UTC)) == "0001-01-01T00:00:00.000000Z"
    with pytest.raises(Malformed):
        entries.stamp(datetime(2026, 7, 22))


def test_a_new_log_commits_to_the_old_ones_end() -> None:
    at = datetime(2026, 7, 22, tzinfo=UTC)
    entry = entries.succession(origin="jit.example.com/audit2", old_checkpoint=b"a\n1\nb\n", at=at)
    assert entry.fields == {"checkpoint": sha256(b"a\n1\nb\n").hexdigest()}
    assert entries.read(entry.encode()) == entry
