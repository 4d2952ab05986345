"""Webhooks against a real HTTPS receiver that verifies them with somebody else's package."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from approvals.connectors.protocol import (
    Act,
    ConnectorError,
    GrantSpec,
    Held,
    NotYet,
    PermanentError,
    TransientError,
)
from approvals.connectors.webhook import Webhook, conversation
from approvals.connectors.webhook.exchange import LONGEST_ANSWER_BYTES

from .authority import authority
from .contract import Bench, ConnectorContract
from .moments import now
from .webhook_receiver import (
    Receiver,
    Scripted,
    breaks_off,
    says,
)

SECRET = "whsec_" + base64.b64encode(b"a key of the tests, 32 bytes ok!").decode()
OTHER = "whsec_" + base64.b64encode(b"some other key that nobody knows").decode()
LOOPBACK = ["127.0.0.0/8", "::1/128"]
NAMES = ("127.0.0.1", "localhost", "rebind.test")
connector = Webhook()
ACT = Act(key="17", asked_at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    one = Receiver(authority().server_context(tmp_path, *NAMES), SECRET).start()
    yield one
    one.stop()


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call has a second instead of seven."""
    monkeypatch.setattr(conversation, "WITHIN_SECONDS", 1.0)


def settings_of(receiver: Receiver, **changes: Any) -> dict[str, Any]:
    return {"url": receiver.url, "allow_private": LOOPBACK, "ca": authority().pem} | changes


def spec_of(receiver: Receiver, *, secret: str = SECRET, **changes: Any) -> GrantSpec:
    return GrantSpec(
        now=now(),
        act=changes.pop("act", ACT),
        duration=changes.pop("duration", timedelta(hours=2)),
        ends_at=changes.pop("ends_at", now() + timedelta(hours=2)),
        request_id=changes.pop("request_id", "019a9d3c-hook"),
        subject_login="alice",
        subject_email="alice@example.test",
        resource="warehouse",
        entitlement="picker",
        resource_settings=settings_of(receiver, **changes),
        entitlement_settings={"role": "picker"},
        secret=secret,
    )


class TestWebhook(ConnectorContract):
    key = "webhook"

    @pytest.fixture
    def bench(self, receiver: Receiver) -> Bench:
        @contextmanager
        def stopped() -> Iterator[str]:
            receiver.stop()
            yield SECRET
            receiver.start()

        role = {"role": "picker"}
        return Bench(
            connector=connector,
            login="alice",
            unknown_login="nobody",
            secret=SECRET,
            canaries=[SECRET, SECRET.removeprefix("whsec_")],
            resource_settings=settings_of(receiver),
            entitlement_settings=role,
            unknown_entitlement_settings={"role": "gone"},
            bad_settings=[
                ({}, role),
                ({"url": "http://hooks.example.test/"}, role),
                ({"url": "https://user:pass@hooks.example.test/"}, role),
                ({"url": "https://hooks.example.test/#x"}, role),
                ({"url": "https://hooks.example.test\\@evil.test/"}, role),
                ({"url": "https://hooks.example.test/ x"}, role),
                ({"url": "https://hooks.example.test:99999/"}, role),
                ({"url": "https://[fe80::1%25eth0]/"}, role),
                ({"url": "https:///path"}, role),
                ({"url": receiver.url, "ca": "nonsense"}, role),
                ({"url": receiver.url, "allow_private": "10.0.0.0/8"}, role),
                ({"url": receiver.url, "allow_private": ["0.0.0.0/0"]}, role),
                ({"url": receiver.url, "allow_private": ["8.8.8.0/24"]}, role),
                ({"url": receiver.url, "allow_private": ["10.0.0.1/8"]}, role),
                ({"url": receiver.url, "method": "GET"}, role),
                (settings_of(receiver), {}),
                (settings_of(receiver), {"role": "a\0b"}),
                (settings_of(receiver), {"role": "picker", "x": 1}),
            ],
            unreachable=stopped,
        )


def test_a_message_is_what_the_docs_say(receiver: Receiver) -> None:
    receipt = connector.grant(spec_of(receiver))
    assert receipt.detail["reference"] == "T-1"
    (got,) = receiver.got
    assert got.path == "/hooks/jit"
    assert got.headers["idempotency-key"] == got.headers["webhook-id"] == "019a9d3c-hook_grant_17"
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.message["type"] == "access.grant"
    assert got.message["data"] == {
        "request_id": "019a9d3c-hook",
        "subject": {"login": "alice", "email": "alice@example.test"},
        "resource": "warehouse",
        "entitlement": "picker",
        "role": "picker",
        "ends_at": None,
        "duration_seconds": 7200,
    }
    assert got.message["timestamp"] == "2026-01-01T00:00:00+00:00"


def test_a_key_that_the_receiver_does_not_know_is_permanent(receiver: Receiver) -> None:
    with pytest.raises(PermanentError, match="does not accept our signature"):
        connector.grant(spec_of(receiver, secret=OTHER))
    assert receiver.effects == []
    health = connector.check(now=now(), resource_settings=settings_of(receiver), secret=OTHER)
    assert not health.ok


def test_while_keys_change_either_one_verifies(receiver: Receiver) -> None:
    connector.grant(spec_of(receiver, secret=f"{OTHER}\n{SECRET}"))
    assert receiver.held == {("alice", "picker")}


@pytest.mark.parametrize(
    "secret",
    [None, "", "hunter2hunter2hunter2hunter2hunter2", "whsec_", "whsec_aHVudGVyMg==",
     "whsec_hunter2!", f"{SECRET} hunter2", " ".join([SECRET] * 4)],
)  # fmt: skip
def test_a_secret_that_is_no_key_is_permanent_and_not_repeated(
    receiver: Receiver, secret: str | None
) -> None:
    with pytest.raises(PermanentError, match="whsec_ and the base64") as caught:
        connector.grant(spec_of(receiver, secret=secret))  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)
    assert receiver.got == []


def test_redelivery_has_the_same_key_and_one_effect(receiver: Receiver) -> None:
    for _ in range(3):
        connector.grant(spec_of(receiver))
    assert len({got.headers["idempotency-key"] for got in receiver.got}) == 1
    assert len({got.body for got in receiver.got}) == 1, "though its end moves with each try"
    assert receiver.effects == [("grant", "alice", "picker")]


def test_what_is_asked_anew_has_a_key_of_its_own(receiver: Receiver) -> None:
    """A receiver that does each key once would take a second removal for the first."""
    for number in ("17", "18"):
        connector.revoke(spec_of(receiver, act=Act(key=number, asked_at=ACT.asked_at)))
    keys = [got.headers["idempotency-key"] for got in receiver.got]
    assert keys == ["019a9d3c-hook_revoke_17", "019a9d3c-hook_revoke_18"]
    assert len(receiver.effects) == 2
    assert "ends_at" not in receiver.got[0].message["data"]


def test_another_end_is_another_thing_to_ask(receiver: Receiver) -> None:
    ends = [datetime(2031, 1, 1, tzinfo=UTC), datetime(2031, 1, 2, tzinfo=UTC)]
    for ends_at in ends:
        connector.grant(spec_of(receiver, ends_at=ends_at, duration=None))
    data = [got.message["data"] for got in receiver.got]
    assert [row["ends_at"] for row in data] == [ends_at.isoformat() for ends_at in ends]
    assert [row["duration_seconds"] for row in data] == [None, None]
    assert len({got.headers["idempotency-key"] for got in receiver.got}) == 2


def test_an_answer_that_was_lost_is_asked_for_again_with_one_effect(receiver: Receiver) -> None:
    def does_it_and_breaks_off(handler: Any) -> None:
        receiver.perform(receiver.got[-1].body, receiver.got[-1].headers["idempotency-key"])
        breaks_off(handler)

    receiver.script = [does_it_and_breaks_off]
    with pytest.raises(TransientError, match="broke off"):
        connector.grant(spec_of(receiver))
    connector.grant(spec_of(receiver))
    assert receiver.effects == [("grant", "alice", "picker")]


def test_a_replayed_or_altered_message_does_not_verify(receiver: Receiver) -> None:
    connector.grant(spec_of(receiver))
    (got,) = receiver.got
    verifier = Verifier(SECRET)
    assert verifier.verify(got.body, got.headers)["type"] == "access.grant"
    with time_machine.travel(timedelta(minutes=6)), pytest.raises(WebhookVerificationError):
        verifier.verify(got.body, got.headers)
    with pytest.raises(WebhookVerificationError):
        verifier.verify(got.body.replace("alice", "mallory"), got.headers)
    for changed in ({"webhook-id": "019a9d3c-hook_revoke"}, {"webhook-timestamp": "1"}):
        with pytest.raises(WebhookVerificationError):
            verifier.verify(got.body, got.headers | changed)


@pytest.mark.parametrize("later", ["status_url", "operation"])
def test_a_confirmation_that_comes_later_is_waited_for(receiver: Receiver, later: str) -> None:
    receiver.later = later
    receipt = connector.grant(spec_of(receiver))
    assert receipt.detail["polls"] == 2
    paths = {got.path for got in receiver.got if got.method == "GET"}
    assert paths == {
        "/status/019a9d3c-hook_grant_17?x=1"
        if later == "status_url"
        else "/hooks/jit/operations/019a9d3c-hook_grant_17"
    }


@pytest.mark.usefixtures("brief")
def test_one_that_takes_longer_is_asked_for_again_with_the_same_key(receiver: Receiver) -> None:
    receiver.later, receiver.polls = "operation", 5
    with pytest.raises(NotYet, match="not confirmed it yet"):
        connector.grant(spec_of(receiver))
    assert connector.grant(spec_of(receiver)).detail["granted"] is True
    assert receiver.effects == [("grant", "alice", "picker")]
    assert len({got.headers["idempotency-key"] for got in receiver.got}) == 1


@pytest.mark.parametrize(
    ("outcome", "error", "says_so"),
    [
        ({"state": "failed", "message": "no licence left"}, PermanentError, "no licence left"),
        ({"state": "failed", "retry": True, "message": "busy"}, NotYet, "busy"),
        ({"state": "perhaps"}, PermanentError, "correct the receiver"),
        ({}, PermanentError, "correct the receiver"),
    ],
)
def test_an_operation_that_fails_says_why(
    receiver: Receiver, outcome: dict[str, Any], error: type[ConnectorError], says_so: str
) -> None:
    receiver.later, receiver.outcome = "operation", outcome
    with pytest.raises(error, match=says_so):
        connector.grant(spec_of(receiver))


def test_an_operation_that_was_forgotten_is_ordered_anew(receiver: Receiver) -> None:
    receiver.script = [says(202, {"operation": "lost"})]
    with pytest.raises(NotYet, match="no longer knows"):
        connector.grant(spec_of(receiver))


def test_an_order_without_a_place_to_ask_is_transient(receiver: Receiver) -> None:
    bodies: list[object] = [{}, None, [], {"operation": True}]
    for body in bodies:
        receiver.script = [says(202, body)]
        with pytest.raises(NotYet, match="asked again with the same key"):
            connector.grant(spec_of(receiver))


@pytest.mark.parametrize(
    "url",
    ["https://evil.test/x", "//evil.test/x", "http://127.0.0.1:{port}/x",
     "https://127.0.0.1:1/x", "https://evil@127.0.0.1:{port}/x", "\\\\evil.test/x",
     "https://127.0.0.1:{port}\\@evil.test/", "javascript:alert(1)", "https://[::1",
     "/x\r\nX-Smuggled: 1"],
)  # fmt: skip
def test_a_status_url_elsewhere_is_refused(receiver: Receiver, url: str) -> None:
    receiver.script = [says(202, {"status_url": url.format(port=receiver.port)})]
    with pytest.raises(PermanentError, match="same origin"):
        connector.grant(spec_of(receiver))
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("operation", "path"),
    [("../../admin", "/hooks/jit/operations/..%2F..%2Fadmin"), ("a b?c#d", "a%20b%3Fc%23d"),
     (7, "/operations/7"), ("é\r\n", "%C3%A9%0D%0A")],
)  # fmt: skip
def test_an_operations_name_is_one_segment(
    receiver: Receiver, operation: object, path: str
) -> None:
    receiver.script = [says(202, {"operation": operation}), says(200, {"state": "done"})]
    connector.grant(spec_of(receiver))
    assert receiver.got[1].path.endswith(path)


@pytest.mark.parametrize("operation", ["..", ".", "", "x" * 300])
def test_an_operations_name_that_is_none_is_refused(receiver: Receiver, operation: str) -> None:
    receiver.script = [says(202, {"operation": operation})]
    with pytest.raises(PermanentError, match="can't be asked for"):
        connector.grant(spec_of(receiver))
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422, 451, 501])
def test_these_answers_are_permanent(receiver: Receiver, status: int) -> None:
    receiver.script = [says(status, {"message": "because of\nthis"})]
    with pytest.raises(PermanentError, match="because of this"):
        connector.revoke(spec_of(receiver))


@pytest.mark.parametrize("status", [408, 409, 423, 425, 429, 500, 502, 503, 504])
def test_these_answers_are_transient(receiver: Receiver, status: int) -> None:
    receiver.script = [says(status, {"message": "because of\nthis"})]
    with pytest.raises(TransientError, match="because of this") as caught:
        connector.revoke(spec_of(receiver))
    assert caught.value.answered is (status in (409, 423, 425))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    inside = f"https://127.0.0.1:{receiver.port}/inside"
    receiver.script = [says(status, None, Location=inside)]
    with pytest.raises(PermanentError, match="not followed"):
        connector.grant(spec_of(receiver))
    assert [got.path for got in receiver.got] == ["/hooks/jit"]


@pytest.mark.parametrize(
    ("answer", "untouched"),
    [(says(status), True) for status in (301, 307, 308, 400, 401, 405, 422, 501)]
    + [(says(status), False) for status in (302, 303)]
    + [(says(200, "x" * LONGEST_ANSWER_BYTES), False)],
)
def test_a_refused_order_has_made_nothing(
    receiver: Receiver, answer: Scripted, untouched: bool
) -> None:
    receiver.script = [answer]
    with pytest.raises(PermanentError) as caught:
        connector.grant(spec_of(receiver))
    assert caught.value.untouched is untouched


@pytest.mark.parametrize("place", [{"operation": "17"}, {"status_url": "/jobs/17"}])
@pytest.mark.parametrize(
    "status",
    [says(401), says(403), says(405), says(308), says(200, {"state": "lost"}),
     says(200, {"state": "failed"}), says(200, "x" * LONGEST_ANSWER_BYTES)],
)  # fmt: skip
def test_whatever_follows_an_order_that_was_taken_may_have_made_access(
    receiver: Receiver, place: dict[str, str], status: Scripted
) -> None:
    receiver.script = [says(202, place), status]
    with pytest.raises(PermanentError) as caught:
        connector.grant(spec_of(receiver))
    assert not caught.value.untouched


@pytest.mark.parametrize("place", [{"operation": ".."}, {"status_url": "https://other.test/17"}])
def test_a_place_that_can_not_be_asked_does_not_undo_the_order(
    receiver: Receiver, place: dict[str, str]
) -> None:
    receiver.script = [says(202, place)]
    with pytest.raises(PermanentError) as caught:
        connector.grant(spec_of(receiver))
    assert not caught.value.untouched


def test_what_the_receiver_says_never_shows_the_secret(receiver: Receiver) -> None:
    bare = SECRET.removeprefix("whsec_")
    for status in (422, 503):
        receiver.script = [says(status, {"message": f"{SECRET} and {bare} \x1b[2J{'x' * 999}"})]
        with pytest.raises(ConnectorError) as caught:
            connector.grant(spec_of(receiver))
        assert bare not in caught.value.message
        assert "\x1b" not in caught.value.message
        assert len(caught.value.message) < 500
    receiver.script = [says(200, {"reference": bare, "sessions_closed": True, "granted": "no"})]
    receipt = connector.grant(spec_of(receiver))
    assert receipt.detail["reference"] == "[hidden]"
    assert receipt.sessions_closed == 0


def test_observing_reads_page_after_page(receiver: Receiver) -> None:
    receiver.held = {(f"person{number:04}", "picker") for number in range(2_500)}
    receiver.held.add(("bob", "packer"))
    held = connector.observe(
        now=now(),
        resource_settings=settings_of(receiver),
        secret=SECRET,
        entitlements={"pick": {"role": "picker"}},
    )
    assert len(held) == 2_500
    assert held[0] == Held("person0000", "pick")
    assert len(receiver.got) == 3


@pytest.mark.parametrize(
    "body",
    [{}, {"held": {}}, {"held": [{"login": "alice"}]}, {"held": [["alice", "picker"]]},
     {"held": [{"login": 1, "role": "picker"}]}, {"held": [], "next": 5}],
)  # fmt: skip
def test_an_observation_that_is_none_is_permanent(receiver: Receiver, body: object) -> None:
    receiver.script = [says(200, body)]
    with pytest.raises(PermanentError, match="receiver"):
        connector.observe(
            now=now(),
            resource_settings=settings_of(receiver),
            secret=SECRET,
            entitlements={"pick": {"role": "picker"}},
        )
