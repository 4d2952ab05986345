"""Trails for people: what somebody wrote can't pass for a line of ours."""

import re
import unicodedata
import uuid
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from approvals.models import AccessRequest, Decision, GrantEvent, RefusedAttempt, RequestMessage
from approvals.reports import trails
from approvals.reports.trails import Trail

AT = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
KEY = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
OURS = re.compile(
    r"REQ-\S+  .*|(Request   |For       |Reason    |Ticket    |Policy    |State     |Times in  ) .*"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}    .*|",
)
NASTY = st.sampled_from("\n\r\t\x1b\x7f\x85\x9b\u061c\u200e\u2028\u2029\u202e\u2066\u2069 |A:")
WRITTEN = st.text(NASTY | st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def trail(reason: str, comment: str, name: str) -> Trail:
    """Return a trail in which people wrote these wherever they can write."""
    names = {"requester_name": name, "subject_name": name, "resource_name": name}
    names |= {"entitlement_name": name, "policy_name": name, "rule_name": name, "ticket": name}
    common = {"request_id": KEY, "actor_id": 1, "actor_name": name, "occurred_at": AT}
    asked = AccessRequest(
        revision=1, event="submitted", reason=reason, duration_seconds=60, submitted_at=AT,
        policy_version=1, **common, **names,
    )  # fmt: skip
    approved = AccessRequest(
        revision=2, event="approved", reason=reason, comment=comment, duration_seconds=60,
        detail={"level_name": name}, policy_version=1, **common, **names,
    )  # fmt: skip
    decision = Decision(revision=2, verdict="approve", comment=comment, seen_revision=1, **common)
    event = GrantEvent(
        request_id=KEY, kind="grant_failed", error=comment, started_at=AT, occurred_at=AT, attempt=1
    )
    message = RequestMessage(kind="question", number=1, text=comment, **common)
    refused = RefusedAttempt(action="approve", rule=name, comment=comment, **common)
    return Trail(KEY, (asked, approved), (decision,), (event,), (message,), (), (refused,))


@given(reason=WRITTEN, comment=WRITTEN, name=WRITTEN)
def test_every_line_that_begins_at_the_left_is_ours(reason: str, comment: str, name: str) -> None:
    text = trails.as_text(trail(reason, comment, name), zone=UTC)
    lines = text.split("\n")
    assert text.splitlines() == lines[:-1]  # nothing else ends a line either
    assert len([line for line in lines if line[:1] not in ("", " ")]) == 8 + 5
    for line in lines:
        assert OURS.fullmatch(line) or re.match(r" {11}\| | {27}", line), line
        for character in line:
            assert unicodedata.category(character) != "Cc", line
            assert unicodedata.bidirectional(character) not in _BIDI, line
            assert character not in "\u061c\u200e\u200f\u2028\u2029", line


_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_a_reason_forges_no_approval() -> None:
    forged = "2026-11-02 09:31:00.000    Carol: Approved, the last of its chain"
    text = trails.as_text(trail(f"Refunds.\r\n{forged}\x1b[2K", "", "Alice"), zone=UTC)
    assert f"Reason     Refunds.\n           | {forged}\\x1b[2K\n" in text
    assert f"\n{forged}" not in text
