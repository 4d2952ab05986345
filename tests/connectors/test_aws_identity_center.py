"""AWS IAM Identity Center, against moto over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from moto.ssoadmin.models import ssoadmin_backends

from approvals.connectors.aws_identity_center import IdentityCenter
from approvals.connectors.aws_identity_center import assignments as aws_assignments
from approvals.connectors.protocol import Held, NotYet, PermanentError, TransientError

from .authority import authority
from .aws_target import ACCOUNT, CANARIES, REGION, SECRET, Answer, AwsTarget, running
from .contract import CALL_WITHIN_SECONDS, Bench, ConnectorContract
from .moments import now

PERMISSION_SET = "arn:aws:sso:::permissionSet/ssoins-7223b02aad5f4e0a/ps-0123456789abcdef"
OTHER_SET = PERMISSION_SET[:-1] + "0"


@pytest.fixture(scope="module")
def server() -> Iterator[AwsTarget]:
    with running() as target:
        yield target


@pytest.fixture
def aws(server: AwsTarget) -> Iterator[AwsTarget]:
    """A fresh organization, which is working on nothing: moto has no list of that."""
    server.reset()
    for word in ("Creation", "Deletion"):
        under_way(server, word)
    yield server
    server.reset()


def under_way(aws: AwsTarget, word: str, *requests: str) -> None:
    """AWS lists these creations or deletions as in progress."""
    rows = [{"Status": "IN_PROGRESS", "RequestId": one} for one in requests]
    name = f"ListAccountAssignment{word}Status"
    aws.rules[name] = lambda _: (200, {f"AccountAssignments{word}Status": rows})


@pytest.fixture
def instance(aws: AwsTarget) -> dict[str, Any]:
    instance: dict[str, Any] = aws.client("sso-admin").list_instances()["Instances"][0]
    store = aws.client("identitystore")
    for login in ("alice", "bob"):
        store.create_user(
            IdentityStoreId=instance["IdentityStoreId"],
            UserName=login,
            DisplayName=login,
            Name={"GivenName": login, "FamilyName": "Example"},
            Emails=[{"Value": f"{login}@example.test", "Type": "work", "Primary": True}],
        )
    return instance


@pytest.fixture
def bench(aws: AwsTarget, instance: dict[str, Any]) -> Bench:
    resource = {
        "region": REGION,
        "endpoint_url": aws.url,
        "instance_arn": instance["InstanceArn"],
        "identity_store_id": instance["IdentityStoreId"],
    }
    entitlement = {"account_id": "210987654321", "permission_set_arn": PERMISSION_SET}
    return Bench(
        connector=IdentityCenter(),
        login="alice",
        unknown_login="nobody",
        secret=SECRET,
        canaries=CANARIES,
        resource_settings=resource,
        entitlement_settings=entitlement,
        unknown_entitlement_settings={**entitlement, "permission_set_arn": OTHER_SET},
        bad_settings=[
            (resource, {}),
            (resource, {**entitlement, "account_id": 210987654321}),
            (resource, {**entitlement, "account_id": "21098765432"}),
            (resource, {**entitlement, "permission_set_arn": "AdministratorAccess"}),
            (resource, {**entitlement, "permissionset": "x"}),
            ({**resource, "region": "Frankfurt"}, entitlement),
            ({**resource, "instance_arn": "ssoins-1"}, entitlement),
            ({**resource, "identity_store_id": None}, entitlement),
            ({**resource, "find_user_by": "name"}, entitlement),
            ({**resource, "endpoint_url": "http://sso.example.com"}, entitlement),
            ({**resource, "endpoint_url": "https://a@sso.example.com"}, entitlement),
            ({**resource, "endpoint_url": 7}, entitlement),
            ({**resource, "ca_file": "relative.pem"}, entitlement),
            ({**resource, "portal_url": "javascript:alert(1)"}, entitlement),
            ({**resource, "acount": "x"}, entitlement),
        ],
        unreachable=aws.down,
    )


class TestIdentityCenter(ConnectorContract):
    key = "aws_identity_center"

    """The contract; `bench` comes from the module."""


def assignments(aws: AwsTarget, bench: Bench) -> list[dict[str, Any]]:
    """Read by somebody else."""
    rows: list[dict[str, Any]] = aws.client("sso-admin").list_account_assignments(
        InstanceArn=bench.resource_settings["instance_arn"],
        AccountId=bench.entitlement_settings["account_id"],
        PermissionSetArn=PERMISSION_SET,
    )["AccountAssignments"]
    return rows


def user_id(aws: AwsTarget, bench: Bench, login: str = "alice") -> str:
    unique = {"AttributePath": "userName", "AttributeValue": login}
    answer = aws.client("identitystore").get_user_id(
        IdentityStoreId=bench.resource_settings["identity_store_id"],
        AlternateIdentifier={"UniqueAttribute": unique},
    )
    return str(answer["UserId"])


def assign(aws: AwsTarget, bench: Bench, *, principal_id: str, kind: str = "USER") -> None:
    aws.client("sso-admin").create_account_assignment(
        InstanceArn=bench.resource_settings["instance_arn"],
        TargetId=bench.entitlement_settings["account_id"],
        TargetType="AWS_ACCOUNT",
        PermissionSetArn=PERMISSION_SET,
        PrincipalType=kind,
        PrincipalId=principal_id,
    )


def test_the_assignment_is_the_users_and_the_accounts(aws: AwsTarget, bench: Bench) -> None:
    receipt = bench.connector.grant(bench.spec())
    assert receipt.detail == {
        "user": "alice",
        "account_id": "210987654321",
        "permission_set_arn": PERMISSION_SET,
        "granted": True,
        "pre_existing": False,
    }
    (row,) = assignments(aws, bench)
    assert row["PrincipalId"] == user_id(aws, bench)
    assert row["PrincipalType"] == "USER"
    bench.connector.revoke(bench.spec())
    assert assignments(aws, bench) == []


def test_an_assignment_of_somebody_else_is_told_and_goes_at_the_end(
    aws: AwsTarget, bench: Bench
) -> None:
    assign(aws, bench, principal_id=user_id(aws, bench))
    assert bench.connector.grant(bench.spec()).detail["pre_existing"] is True
    assert len(assignments(aws, bench)) == 1
    assert bench.connector.revoke(bench.spec()).detail["removed"] is True
    assert assignments(aws, bench) == []


def test_an_assignment_through_a_group_is_named_and_stays(aws: AwsTarget, bench: Bench) -> None:
    rows = {
        "AccountAssignments": [
            {
                "AccountId": "210987654321",
                "PermissionSetArn": PERMISSION_SET,
                "PrincipalType": "GROUP",
                "PrincipalId": "group-1",
            }
        ]
    }
    # moto does not follow groups here, as AWS does.
    aws.rules["ListAccountAssignmentsForPrincipal"] = lambda _: (200, rows)
    detail = bench.connector.revoke(bench.spec()).detail
    assert detail["still_held_through"] == ["group-1"]
    assert detail["removed"] is False
    assert not aws.asked("DeleteAccountAssignment")
    assign(aws, bench, principal_id="group-1", kind="GROUP")
    assert bench.observe() == []


@pytest.mark.parametrize(("find_by", "named"), [("email", "alice@example.test")])
def test_a_user_is_found_by_the_address(
    aws: AwsTarget, bench: Bench, find_by: str, named: str
) -> None:
    settings = {**bench.resource_settings, "find_user_by": find_by}
    by_email = replace(bench, resource_settings=settings)
    by_email.connector.grant(by_email.spec(subject_login="a.sample"))
    (row,) = assignments(aws, bench)
    assert row["PrincipalId"] == user_id(aws, bench)
    assert by_email.observe() == [Held(named, "it")]
    with pytest.raises(PermanentError, match="no user"):
        by_email.connector.grant(by_email.spec(subject_email="mallory@example.test"))


def test_an_address_that_is_the_user_name(aws: AwsTarget, bench: Bench) -> None:
    aws.client("identitystore").create_user(
        IdentityStoreId=bench.resource_settings["identity_store_id"],
        UserName="carol@example.test",
        DisplayName="carol",
        Name={"GivenName": "carol", "FamilyName": "Example"},
    )
    settings = {**bench.resource_settings, "find_user_by": "email_as_login"}
    spec = bench.spec(resource_settings=settings, subject_email="carol@example.test")
    assert bench.connector.grant(spec).detail["user"] == "carol@example.test"
    assert bench.observe() == [Held("carol@example.test", "it")]


def test_a_large_target_is_read_page_by_page(
    aws: AwsTarget, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_assignments, "PAGE", 10)
    monkeypatch.setattr("approvals.connectors.aws_identity_center.connector.PAGE", 10)
    store = aws.client("identitystore")
    for number in range(25):
        answer = store.create_user(
            IdentityStoreId=bench.resource_settings["identity_store_id"],
            UserName=f"user{number:02}",
            DisplayName="x",
            Name={"GivenName": "x", "FamilyName": "x"},
        )
        assign(aws, bench, principal_id=answer["UserId"])
    assert bench.observe() == [Held(f"user{number:02}", "it") for number in range(25)]
    assert len(aws.asked("ListAccountAssignments")) >= 3
    assert len(aws.asked("DescribeUser")) == 0


def test_a_deleted_user_is_nobody(aws: AwsTarget, bench: Bench) -> None:
    bench.connector.grant(bench.spec())
    aws.client("identitystore").delete_user(
        IdentityStoreId=bench.resource_settings["identity_store_id"], UserId=user_id(aws, bench)
    )
    assert bench.observe() == []
    assert "no user" in bench.connector.revoke(bench.spec()).detail["reason"]


def test_a_store_that_is_gone_never_passes_for_a_removal(aws: AwsTarget, bench: Bench) -> None:
    gone: Answer = (400, {"__type": "ResourceNotFoundException", "Message": "No such store"})
    for name in ("GetUserId", "ListUsers"):
        aws.rules[name] = lambda _: gone
    with pytest.raises(PermanentError, match="No such store"):
        bench.connector.revoke(bench.spec())


def test_the_session_that_lives_on_is_told(aws: AwsTarget, bench: Bench) -> None:
    aws.client("sso-admin").create_permission_set(
        Name="x", InstanceArn=bench.resource_settings["instance_arn"], SessionDuration="PT4H"
    )
    (permission_set,) = ssoadmin_backends[ACCOUNT][REGION].permission_sets
    permission_set.permission_set_arn = PERMISSION_SET
    bench.connector.grant(bench.spec())
    assert bench.connector.revoke(bench.spec()).detail["sessions_live_on"] == "PT4H"


def status(word: str, state: str, reason: str = "") -> Answer:
    told = {"Status": state, "RequestId": "x" * 36, "FailureReason": reason}
    return 200, {f"AccountAssignment{word}Status": told}


def test_it_waits_until_aws_has_provisioned(aws: AwsTarget, bench: Bench) -> None:
    answers = iter(["IN_PROGRESS", "IN_PROGRESS", "SUCCEEDED"])

    def slow(_: dict[str, Any]) -> Answer:
        return status("Creation", next(answers))

    aws.rules["CreateAccountAssignment"] = lambda _: status("Creation", "IN_PROGRESS")
    aws.rules["DescribeAccountAssignmentCreationStatus"] = slow
    bench.connector.grant(bench.spec())
    assert len(aws.asked("DescribeAccountAssignmentCreationStatus")) == 3


@pytest.mark.parametrize("word", ["Creation", "Deletion"])
def test_an_assignment_that_takes_too_long_is_looked_at_again(
    aws: AwsTarget, bench: Bench, word: str
) -> None:
    if word == "Deletion":
        bench.connector.grant(bench.spec())
    verb = {"Creation": "Create", "Deletion": "Delete"}[word]
    for name in (f"{verb}AccountAssignment", f"DescribeAccountAssignment{word}Status"):
        aws.rules[name] = lambda _: status(word, "IN_PROGRESS")
    call = bench.connector.grant if word == "Creation" else bench.connector.revoke
    started = time.monotonic()
    with pytest.raises(TransientError, match=r"still working|too slowly"):
        call(bench.spec())
    assert time.monotonic() - started < CALL_WITHIN_SECONDS


def told(aws: AwsTarget, bench: Bench, word: str, **about: str) -> None:
    """AWS describes whatever is in progress as alice's assignment, but for `about`."""
    known = {
        "Status": "IN_PROGRESS",
        "PrincipalId": user_id(aws, bench),
        "TargetId": bench.entitlement_settings["account_id"],
        "PermissionSetArn": PERMISSION_SET,
    } | about
    answer: Answer = (200, {f"AccountAssignment{word}Status": known})
    aws.rules[f"DescribeAccountAssignment{word}Status"] = lambda _: answer


def test_an_assignment_that_aws_is_still_making_is_not_taken_for_gone(
    aws: AwsTarget, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_assignments, "POLLS_SECONDS", (0.1,))
    aws.rules["CreateAccountAssignment"] = lambda _: status("Creation", "IN_PROGRESS")
    told(aws, bench, "Creation")
    with pytest.raises(NotYet, match="working on the creation"):
        bench.connector.grant(bench.spec())
    under_way(aws, "Creation", "x" * 36)
    with pytest.raises(NotYet, match="working on the creation"):
        bench.connector.revoke(bench.spec())
    assign_late(aws, bench)
    assert bench.connector.revoke(bench.spec()).detail["removed"] is True
    assert assignments(aws, bench) == []


def assign_late(aws: AwsTarget, bench: Bench) -> None:
    """AWS finishes."""
    under_way(aws, "Creation")
    del aws.rules["CreateAccountAssignment"]
    assign(aws, bench, principal_id=user_id(aws, bench))


def test_an_assignment_that_is_finished_between_two_looks_is_not_taken_for_gone(
    aws: AwsTarget, bench: Bench
) -> None:
    def finishes(_: dict[str, Any]) -> Answer:
        assign(aws, bench, principal_id=user_id(aws, bench))
        return 200, {"AccountAssignmentsCreationStatus": []}

    aws.rules["ListAccountAssignmentCreationStatus"] = finishes
    with pytest.raises(NotYet, match="lists the assignment still"):
        bench.connector.revoke(bench.spec())
    assert bench.connector.revoke(bench.spec()).detail["removed"] is True


def test_a_deletion_that_is_under_way_is_not_a_removal_yet(aws: AwsTarget, bench: Bench) -> None:
    under_way(aws, "Deletion", "x" * 36)
    told(aws, bench, "Deletion")
    with pytest.raises(NotYet, match="working on the deletion"):
        bench.connector.revoke(bench.spec())
    under_way(aws, "Deletion")
    assert bench.connector.revoke(bench.spec()).detail["removed"] is False


@pytest.mark.parametrize(
    "about",
    [{"PrincipalId": "bob"}, {"TargetId": "111111111111"}, {"PermissionSetArn": OTHER_SET},
     {"Status": "SUCCEEDED"}],
)  # fmt: skip
def test_what_aws_does_for_others_holds_no_removal_up(
    aws: AwsTarget, bench: Bench, about: dict[str, str]
) -> None:
    under_way(aws, "Creation", "x" * 36, "y" * 36)
    told(aws, bench, "Creation", **about)
    assert bench.connector.revoke(bench.spec()).detail["granted"] is False


def test_where_aws_works_on_too_much_to_tell_the_removal_waits(
    aws: AwsTarget, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_assignments, "MOST_LOOKED_AT", 2)
    under_way(aws, "Creation", *(f"{number:036}" for number in range(3)))
    told(aws, bench, "Creation", PrincipalId="bob")
    with pytest.raises(NotYet, match="many assignments"):
        bench.connector.revoke(bench.spec())
    assert len(aws.asked("DescribeAccountAssignmentCreationStatus")) == 2


def test_without_the_right_to_see_what_is_under_way_nothing_passes_for_gone(
    aws: AwsTarget, bench: Bench
) -> None:
    denied: Answer = (400, {"__type": "AccessDeniedException", "Message": "no"})
    aws.rules["ListAccountAssignmentDeletionStatus"] = lambda _: denied
    with pytest.raises(PermanentError, match="list_account_assignment_deletion_status"):
        bench.connector.revoke(bench.spec())


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Received a 404 status error: Permission set not found", PermanentError),
        ("Received a 503 status error: Service unavailable", TransientError),
        ("Request was throttled", TransientError),
    ],
)
def test_a_failed_assignment_says_why(
    aws: AwsTarget, bench: Bench, reason: str, kind: type[Exception]
) -> None:
    aws.rules["CreateAccountAssignment"] = lambda _: status("Creation", "FAILED", reason)
    with pytest.raises(kind, match=reason[:20]):
        bench.connector.grant(bench.spec())


@pytest.mark.parametrize(
    ("code", "http_status", "kind", "says"),
    [
        ("AccessDeniedException", 400, PermanentError, "may not do list_account"),
        ("UnrecognizedClientException", 400, PermanentError, "credentials"),
        ("ExpiredTokenException", 400, PermanentError, "credentials"),
        ("ValidationException", 400, PermanentError, "refused"),
        ("ThrottlingException", 400, TransientError, "now"),
        ("ConflictException", 400, NotYet, "now"),
        ("InternalServerException", 500, TransientError, "now"),
        ("SomethingNew", 503, TransientError, "now"),
    ],
)
def test_errors_are_told_apart(
    aws: AwsTarget, bench: Bench, code: str, http_status: int, kind: type[Exception], says: str
) -> None:
    message = f"the key {CANARIES[1]} and {CANARIES[0]}"
    answer: Answer = (http_status, {"__type": code, "Message": message})
    aws.rules["ListAccountAssignmentsForPrincipal"] = lambda _: answer
    for call in (bench.connector.grant, bench.connector.revoke):
        with pytest.raises(kind, match=says) as caught:
            call(bench.spec())
        bench.keeps_secret(caught.value)


def test_a_status_that_may_not_be_looked_at_leaves_the_assignment_to_be_removed(
    aws: AwsTarget, bench: Bench
) -> None:
    denied: Answer = (400, {"__type": "AccessDeniedException", "Message": "no"})
    aws.rules["CreateAccountAssignment"] = lambda _: status("Creation", "IN_PROGRESS")
    aws.rules["DescribeAccountAssignmentCreationStatus"] = lambda _: denied
    with pytest.raises(PermanentError, match="may not do describe") as caught:
        bench.connector.grant(bench.spec())
    assert not caught.value.untouched
    aws.rules["CreateAccountAssignment"] = lambda _: denied
    with pytest.raises(PermanentError, match="may not do create") as caught:
        bench.connector.grant(bench.spec())
    assert caught.value.untouched, "AWS has not begun"


@pytest.mark.parametrize("secret", ["AKIA:secret", "[]", '{"access_key_id": "x"}', "7"])
def test_a_secret_that_is_none_is_refused_without_being_repeated(bench: Bench, secret: str) -> None:
    with pytest.raises(PermanentError, match="must be JSON") as caught:
        bench.connector.grant(bench.spec(secret=secret))
    assert secret not in caught.value.message or secret == "7"


def test_without_a_secret_the_environments_role_is_used(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-environment")
    for secret in (None, "", "{}"):
        bench.connector.grant(bench.spec(secret=secret))
        assert bench.holds()


def test_without_any_credentials_it_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(PermanentError, match="no AWS credentials"):
        bench.connector.grant(bench.spec(secret=None))


def test_health_names_the_store_that_the_instance_has(bench: Bench) -> None:
    store_id = bench.resource_settings["identity_store_id"]
    wrong = {**bench.resource_settings, "instance_arn": f"arn:aws:sso:::instance/ssoins-{'0' * 16}"}
    health = bench.connector.check(now=now(), resource_settings=wrong, secret=SECRET)
    assert not health.ok
    assert "does not see the instance" in health.message
    health = bench.connector.check(
        now=now(), resource_settings=bench.resource_settings, secret=SECRET
    )
    assert health.ok
    assert store_id not in health.message


def test_a_server_that_hangs_ends_in_time(aws: AwsTarget, bench: Bench) -> None:
    def hang(_: dict[str, Any]) -> None:
        time.sleep(6)

    aws.rules["GetUserId"] = hang
    started = time.monotonic()
    with pytest.raises(TransientError, match="could not be reached"):
        bench.connector.grant(bench.spec())
    assert time.monotonic() - started < CALL_WITHIN_SECONDS


def test_a_certificate_that_nobody_vouches_for_is_refused(bench: Bench, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(authority().pem)
    with running(authority().server_context(tmp_path, "127.0.0.1")) as encrypted:
        settings = {**bench.resource_settings, "endpoint_url": encrypted.url}
        with pytest.raises(PermanentError, match="certificate was refused"):
            bench.connector.grant(bench.spec(resource_settings=settings))
        # It is refused while the connection is made: nothing was asked.
        assert encrypted.calls == []
        settings["ca_file"] = str(ca_file)
        health = bench.connector.check(now=now(), resource_settings=settings, secret=SECRET)
        assert health.ok, health.message
        settings["ca_file"] = str(tmp_path / "missing.pem")
        with pytest.raises(PermanentError, match="ca_file"):
            bench.connector.grant(bench.spec(resource_settings=settings))
