"""Role sessions from STS, against moto over HTTP.

moto makes sessions and keeps policies, and does not judge conditions: so whether a session may
still do anything is read here from what moto holds, by AWS's rules for just the two conditions that
the connector writes.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest
import time_machine
from moto.sts.models import sts_backends

from approvals.connectors.aws_sts import StsSession
from approvals.connectors.aws_sts.settings import LONGEST_POLICY_CHARACTERS, LONGEST_SECONDS
from approvals.connectors.protocol import (
    GrantSpec,
    Held,
    NotYet,
    PermanentError,
    Receipt,
    TransientError,
)

from .aws_target import ACCOUNT, CANARIES, REGION, SECRET, Answer, AwsTarget, running
from .contract import CALL_WITHIN_SECONDS, Bench, ConnectorContract
from .moments import now

ROLE = f"arn:aws:iam::{ACCOUNT}:role/ops/orders-admin"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}],
}
READ_ONLY = {"Statement": {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}}


@dataclass(frozen=True, kw_only=True)
class StsBench(Bench):
    """AWS keeps no list of sessions, so who holds one is read from moto's own books.

    The contract's grants last for years, so all its sessions have the longest duration.
    """

    aws: AwsTarget

    def observe(self, *, secret: str | None = None) -> list[Held]:
        del secret
        role = self.entitlement_settings["role_arn"]
        sessions = [
            session
            for session in sts_backends[ACCOUNT]["aws"].assumed_roles
            if session.role_arn == role
            and not denied(
                self.aws,
                session.session_name,
                issued_at=(session.expiration - timedelta(seconds=LONGEST_SECONDS)).replace(
                    tzinfo=UTC
                ),
            )
        ]
        return sorted({Held(session.session_name[:-33], "it") for session in sessions})


def policies(aws: AwsTarget) -> dict[str, dict[str, Any]]:
    """The inline policies of the role, read by somebody else."""
    iam = aws.client("iam")
    names = iam.list_role_policies(RoleName="orders-admin")["PolicyNames"]
    return {
        name: iam.get_role_policy(RoleName="orders-admin", PolicyName=name)["PolicyDocument"]
        for name in names
    }


def denied(aws: AwsTarget, session_name: str, *, issued_at: datetime) -> bool:
    """Whether the role's policies deny everything to a session that was issued then."""
    for policy in policies(aws).values():
        for statement in policy["Statement"]:
            assert statement["Effect"] == "Deny"
            condition = statement.get("Condition")
            if condition is None:
                continue  # what a test put there
            before = datetime.fromisoformat(condition["DateLessThan"]["aws:TokenIssueTime"])
            named = fnmatchcase(f"AROA1:{session_name}", condition["StringLike"]["aws:userid"])
            if named and issued_at < before:
                return True
    return False


@pytest.fixture(scope="module")
def server() -> Iterator[AwsTarget]:
    with running() as target:
        yield target


@pytest.fixture
def aws(server: AwsTarget) -> Iterator[AwsTarget]:
    """An account with one role."""
    server.reset()
    server.client("iam").create_role(
        RoleName="orders-admin", Path="/ops/", AssumeRolePolicyDocument=json.dumps(TRUST)
    )
    yield server
    server.reset()


@pytest.fixture
def bench(aws: AwsTarget) -> StsBench:
    resource = {"region": REGION, "endpoint_url": aws.url, "revoke_by_policy": True}
    entitlement = {"role_arn": ROLE}
    return StsBench(
        aws=aws,
        connector=StsSession(),
        login="alice",
        unknown_login="nobody",
        secret=SECRET,
        canaries=CANARIES,
        resource_settings=resource,
        entitlement_settings=entitlement,
        unknown_entitlement_settings={"role_arn": f"{ROLE}-gone"},
        bad_settings=[
            (resource, {}),
            (resource, {"role_arn": "orders-admin"}),
            (resource, {"role_arn": f"arn:aws:iam::{ACCOUNT}:user/alice"}),
            (resource, {**entitlement, "session_policy": "{"}),
            (resource, {**entitlement, "session_policy": "[]"}),
            (resource, {**entitlement, "session_policy": {"Statement": []}}),
            (resource, {**entitlement, "session_policy": json.dumps({"Statement": ["x" * 2048]})}),
            (resource, {**entitlement, "external_id": "ü"}),
            (resource, {**entitlement, "session_tags": "a=b"}),
            (resource, {**entitlement, "session_tags": ["a"]}),
            (resource, {**entitlement, "session_tags": ["a=b", "A=c"]}),
            (resource, {**entitlement, "source_identity": "yes"}),
            (resource, {**entitlement, "role": "x"}),
            ({**resource, "region": ""}, entitlement),
            ({**resource, "longest_seconds": 899}, entitlement),
            ({**resource, "longest_seconds": 43201}, entitlement),
            ({**resource, "longest_seconds": True}, entitlement),
            ({**resource, "revoke_by_policy": 1}, entitlement),
            ({**resource, "endpoint_url": "http://sts.example.com"}, entitlement),
        ],
        unreachable=aws.down,
    )


class TestStsSession(ConnectorContract):
    key = "aws_sts"

    """The contract, with what STS can't know."""

    def test_a_login_that_the_target_does_not_know_is_permanent(self, bench: Bench) -> None:
        # STS knows no people: whoever the portal names gets a session. What AWS doesn't know is a
        # role, which it tells as a refusal.
        assert isinstance(bench, StsBench)
        denied_answer = (
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized to perform "
            "sts:AssumeRole</Message></Error></ErrorResponse>"
        )
        bench.aws.rules["AssumeRole"] = lambda _: (403, denied_answer)
        with pytest.raises(PermanentError, match="may not do assume_role") as caught:
            bench.connector.grant(bench.spec())
        bench.keeps_secret(caught.value)

    def test_an_unreachable_target_is_transient_and_unhealthy_within_the_bound(
        self, bench: Bench
    ) -> None:
        # As in the contract, without observe(): it can't tell, whether AWS answers or not.
        with bench.unreachable() as secret:
            for call in (bench.connector.grant, bench.connector.revoke):
                started = time.monotonic()
                with pytest.raises(TransientError) as caught:
                    call(bench.spec(secret=secret))
                assert time.monotonic() - started < CALL_WITHIN_SECONDS
                bench.keeps_secret(caught.value)
            health = bench.connector.check(
                now=now(), resource_settings=bench.resource_settings, secret=secret
            )
            assert not health.ok
            bench.keeps_secret(health)

    def test_it_can_be_granted_again(self, bench: Bench) -> None:
        # AWS dates sessions by whole seconds, so what is issued within two seconds of a removal is
        # denied with what was before. (The portal never grants a request again.)
        for _ in range(2):
            bench.connector.grant(bench.spec())
            assert bench.holds()
            bench.connector.revoke(bench.spec())
            assert not bench.holds()
            time.sleep(2.1)

    def test_no_secret_in_what_is_returned(self, bench: Bench) -> None:
        super().test_no_secret_in_what_is_returned(bench)
        receipt = bench.connector.grant(bench.spec())
        (handed,) = receipt.handover
        for value in given(receipt).values():
            if value != REGION:
                assert value not in f"{receipt!r} {handed!r} {receipt.detail}"


def given(receipt: Receipt) -> dict[str, str]:
    """The variables that were handed over."""
    (handed,) = receipt.handover
    assert handed.once
    words = [shlex.split(line) for line in handed.text.splitlines()]
    assert all(word[0] == "export" and len(word) == 2 for word in words)
    return dict(word[1].split("=", 1) for word in words)


def soon(bench: Bench, **left: float) -> GrantSpec:
    return bench.spec(ends_at=datetime.now(UTC) + timedelta(**left))


def test_the_credentials_that_are_handed_over_work(aws: AwsTarget, bench: Bench) -> None:
    receipt = bench.connector.grant(soon(bench, hours=2))
    variables = given(receipt)
    who = aws.client(
        "sts",
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=variables["AWS_SESSION_TOKEN"],
    ).get_caller_identity()
    assert who["Arn"] == receipt.detail["assumed_role_arn"]
    assert variables["AWS_DEFAULT_REGION"] == REGION


def test_the_session_is_named_for_the_subject_and_the_request(aws: AwsTarget, bench: Bench) -> None:
    request = "0199f3a1-0000-7000-8000-0123456789ab"
    login = "alice.o'neill+ops@a-very-long-domain.example.test"
    spec = bench.spec(request_id=request, subject_login=login)
    name = bench.connector.grant(spec).detail["session_name"]
    assert name == f"{login[:31].replace(chr(39), '_')}-{request.replace('-', '')}"
    assert len(name) == 64
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", name, re.ASCII)
    other = bench.spec(request_id="0199f3a1-0000-7000-8000-0123456789ac", subject_login=login)
    assert bench.connector.grant(other).detail["session_name"] != name


@pytest.mark.parametrize(
    ("left", "longest", "asked", "covers"),
    [
        ({"hours": 2}, 43200, 7200, True),
        ({"hours": 20}, 43200, 43200, False),
        ({"hours": 2}, 3600, 3600, False),
        ({"minutes": 15, "seconds": 30}, 43200, 930, True),
        ({"minutes": 5}, 43200, 900, True),
    ],
)
def test_the_session_lasts_as_long_as_the_grant(
    aws: AwsTarget,
    bench: Bench,
    left: dict[str, float],
    longest: int,
    asked: int,
    covers: bool,
) -> None:
    settings = {**bench.resource_settings, "longest_seconds": longest}
    ends_at = datetime.now(UTC) + timedelta(**left)
    receipt = bench.connector.grant(bench.spec(resource_settings=settings, ends_at=ends_at))
    (call,) = aws.asked("AssumeRole")
    assert asked - 3 <= int(call["DurationSeconds"]) <= asked
    assert int(call["DurationSeconds"]) >= 900
    assert receipt.detail["covers_grant"] is covers
    assert datetime.fromisoformat(receipt.detail["session_ends_at"]) <= ends_at


@pytest.mark.parametrize("duration", [None, timedelta(hours=2)])
@pytest.mark.parametrize("minutes", [5, 120, 1200])
@pytest.mark.parametrize("narrowed", [False, True])
def test_a_session_ends_by_a_condition_whenever_aws_has_made_it(
    aws: AwsTarget, bench: Bench, narrowed: bool, minutes: int, duration: timedelta | None
) -> None:
    """The duration of a session counts from AWS's answer, which may be late."""
    ends_at = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=minutes)
    settings = dict(bench.entitlement_settings)
    if narrowed:
        settings["session_policy"] = json.dumps(READ_ONLY)
    spec = bench.spec(ends_at=ends_at, duration=duration, entitlement_settings=settings)
    bench.connector.grant(spec)
    policy = json.loads(aws.asked("AssumeRole")[0]["Policy"])
    allowed, over = policy["Statement"]
    assert allowed["Action"] == ("s3:Get*" if narrowed else "*")
    assert over["Effect"] == "Deny"
    assert over["Condition"] == {
        "DateGreaterThanEquals": {"aws:CurrentTime": f"{ends_at:%Y-%m-%dT%H:%M:%SZ}"}
    }


def test_a_session_policy_that_leaves_no_room_for_its_end_is_refused_early(bench: Bench) -> None:
    wide = {"Effect": "Allow", "Action": "*", "Resource": "x" * (LONGEST_POLICY_CHARACTERS - 150)}
    settings = {**bench.entitlement_settings, "session_policy": json.dumps({"Statement": [wide]})}
    errors = bench.connector.validate(
        resource_settings=bench.resource_settings, entitlement_settings=settings
    )
    assert "leave room" in errors[0]


def test_tags_source_identity_and_external_id_are_sent(aws: AwsTarget, bench: Bench) -> None:
    settings = {
        **bench.entitlement_settings,
        "external_id": "ext:1",
        "session_tags": ["person={login}", "ticket={request}", "odd={no}{email}"],
        "source_identity": True,
    }
    spec = bench.spec(entitlement_settings=settings, subject_login="al{email}ice")
    bench.connector.grant(spec)
    (call,) = aws.asked("AssumeRole")
    assert call["ExternalId"] == "ext:1"
    assert call["SourceIdentity"] == "al_email_ice"
    tags = {
        call[f"Tags.member.{number}.Key"]: call[f"Tags.member.{number}.Value"]
        for number in (1, 2, 3)
    }
    assert tags == {
        "person": "al_email_ice",
        "ticket": "0199-contract",
        "odd": "_no_alice@example.test",
    }
    (everything, over) = json.loads(call["Policy"])["Statement"]
    assert everything == {"Effect": "Allow", "Action": "*", "Resource": "*"}
    assert over["Effect"] == "Deny"


def test_a_grant_that_is_over_or_has_no_end_is_refused(aws: AwsTarget, bench: Bench) -> None:
    for spec in (soon(bench, seconds=-1), bench.spec(ends_at=None)):
        with pytest.raises(PermanentError):
            bench.connector.grant(spec)
    assert aws.asked("AssumeRole") == []


def test_an_early_end_denies_this_session_and_no_other(aws: AwsTarget, bench: Bench) -> None:
    first = bench.connector.grant(soon(bench, hours=2)).detail["session_name"]
    issued_at = datetime.now(UTC)
    other = bench.spec(request_id="0199-other", ends_at=datetime.now(UTC) + timedelta(hours=2))
    second = bench.connector.grant(other).detail["session_name"]
    receipt = bench.connector.revoke(soon(bench, hours=2))
    assert receipt.detail["ended_by"] == "policy"
    assert receipt.detail["policy_name"] in policies(aws)
    assert receipt.detail["policy_name"].startswith("AWSRevokeOlderSessions")
    assert denied(aws, first, issued_at=issued_at)
    assert not denied(aws, second, issued_at=issued_at)
    assert not denied(aws, first, issued_at=issued_at + timedelta(seconds=5))


def test_removals_leave_one_policy_a_session_and_clear_what_is_over(
    aws: AwsTarget, bench: Bench
) -> None:
    iam = aws.client("iam")
    over = int(time.time()) - 10
    theirs = "AWSRevokeOlderSessions"
    document = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}],
        }
    )
    for name in (f"{theirs}-jit-{over}-{'0' * 32}", theirs, f"{theirs}-jit-{over}-x"):
        iam.put_role_policy(RoleName="orders-admin", PolicyName=name, PolicyDocument=document)
    for hours in (1, 2, 1):  # the end that is told may differ
        bench.connector.revoke(soon(bench, hours=hours))
    kept = set(policies(aws)) - {theirs, f"{theirs}-jit-{over}-x"}
    # The later of the two; the earlier comes back with the last removal and goes with the next.
    assert len(kept) <= 2
    bench.connector.revoke(soon(bench, hours=3))
    kept = set(policies(aws)) - {theirs, f"{theirs}-jit-{over}-x"}
    assert len(kept) == 1


def test_without_leave_an_early_end_waits_and_says_until_when(aws: AwsTarget, bench: Bench) -> None:
    settings = {**bench.resource_settings, "revoke_by_policy": False}
    ends_at = datetime.now(UTC) + timedelta(seconds=2)
    spec = bench.spec(resource_settings=settings, ends_at=ends_at)
    with pytest.raises(NotYet, match=f"good until {ends_at:%Y-%m-%d %H:%M:%S} UTC") as caught:
        bench.connector.revoke(spec)
    assert caught.value.until == ends_at
    time.sleep(2.1)
    receipt = bench.connector.revoke(replace(spec, now=now()))
    assert receipt.detail["granted"] is False
    assert receipt.detail["ended_by"] == "expiry"
    assert policies(aws) == {}


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_host_s_clock_makes_no_session_look_over(
    aws: AwsTarget, bench: Bench, hours: int
) -> None:
    settings = {**bench.resource_settings, "revoke_by_policy": False}
    ends_at = now() + timedelta(minutes=40)
    spec = bench.spec(resource_settings=settings, now=now(), ends_at=ends_at)
    with time_machine.travel(now() + timedelta(hours=hours)):
        bench.connector.grant(spec)
        with pytest.raises(NotYet, match="good until"):
            bench.connector.revoke(spec)
    (call,) = aws.asked("AssumeRole")
    assert 2390 <= int(call["DurationSeconds"]) <= 2400


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than …"),
        ("InvalidSignatureException", "Signature not yet current: 20260101T000000Z …"),
        ("RequestExpired", "Request has expired"),
    ],
)
def test_a_signature_of_the_wrong_time_is_no_wrong_key(
    aws: AwsTarget, bench: Bench, code: str, said: str
) -> None:
    text = f"<ErrorResponse><Error><Code>{code}</Code><Message>{said}</Message></Error>"
    aws.rules["AssumeRole"] = lambda _: (403, f"{text}</ErrorResponse>")
    with pytest.raises(TransientError, match="clock"):
        bench.connector.grant(bench.spec())


def test_a_role_of_another_account_is_never_taken_for_a_role_that_is_gone(bench: Bench) -> None:
    settings = {"role_arn": "arn:aws:iam::999999999999:role/orders-admin"}
    with pytest.raises(PermanentError, match="account 999999999999"):
        bench.connector.revoke(bench.spec(entitlement_settings=settings))


@pytest.mark.parametrize(
    ("action", "code", "http_status", "kind"),
    [
        ("PutRolePolicy", "LimitExceeded", 409, PermanentError),
        ("PutRolePolicy", "ServiceFailure", 500, TransientError),
        ("PutRolePolicy", "Throttling", 400, TransientError),
        ("PutRolePolicy", "AccessDenied", 403, PermanentError),
        ("GetCallerIdentity", "InvalidClientTokenId", 403, PermanentError),
    ],
)
def test_a_removal_that_aws_refuses_is_no_removal(
    aws: AwsTarget, bench: Bench, action: str, code: str, http_status: int, kind: type[Exception]
) -> None:
    answer: Answer = (
        http_status,
        f"<ErrorResponse><Error><Code>{code}</Code><Message>{CANARIES[1]}</Message></Error>"
        "</ErrorResponse>",
    )
    aws.rules[action] = lambda _: answer
    with pytest.raises(kind, match=code) as caught:
        bench.connector.revoke(bench.spec())
    bench.keeps_secret(caught.value)


def test_tidying_that_fails_does_not_undo_a_removal(aws: AwsTarget, bench: Bench) -> None:
    answer: Answer = (
        403,
        "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
    )
    aws.rules["ListRolePolicies"] = lambda _: answer
    assert bench.connector.revoke(bench.spec()).detail["ended_by"] == "policy"


def test_it_says_that_it_cannot_be_observed(bench: Bench) -> None:
    with pytest.raises(PermanentError, match="keeps no list"):
        bench.connector.observe(
            now=now(),
            resource_settings=bench.resource_settings,
            secret=SECRET,
            entitlements={"it": bench.entitlement_settings},
        )
