"""Account assignments as Identity Center's API tells them: found, made, taken away, waited for.

What a grant means is in `connector`, settings are in `settings`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import sleep
from typing import Any

from approvals.connectors.aws.client import Aws, Missing, Refused
from approvals.connectors.protocol import (
    ConnectorError,
    NotYet,
    PermanentError,
    TransientError,
    untouched,
)

POLLS_SECONDS = (0.1, 0.2, 0.4, 0.8, 0.8)
"""The waits between two looks at an assignment that AWS is still working on."""
PAGE = 100
MOST_LOOKED_AT = 10
"""Of what AWS is working on, in the whole instance, so much is looked at in one call."""
LISTED_USERS_FROM = 20
"""From so many users on, the whole store is listed instead of asking for each."""

# What a failed assignment says when AWS itself was in trouble.
_AWS_TROUBLE = re.compile(
    r"\b5\d\d\b|throttl|internal|try again|timed? ?out|rate exceeded", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Target:
    """One permission set in one account, and a way to AWS."""

    aws: Aws
    instance_arn: str
    store_id: str
    account_id: str
    permission_set_arn: str
    sso: Any
    store: Any

    def assignment(self, *, user_id: str) -> dict[str, str]:
        """Return what create and delete are told."""
        return {
            "InstanceArn": self.instance_arn,
            "TargetId": self.account_id,
            "TargetType": "AWS_ACCOUNT",
            "PermissionSetArn": self.permission_set_arn,
            "PrincipalType": "USER",
            "PrincipalId": user_id,
        }

    def facts(self, *, name: str) -> dict[str, Any]:
        """Return the part that every receipt has."""
        return {
            "user": name,
            "account_id": self.account_id,
            "permission_set_arn": self.permission_set_arn,
        }


def find(target: Target, *, user_id: str) -> tuple[bool, list[str]]:
    """Return whether the user has the assignment, and through which groups they have it too."""
    own = False
    groups: set[str] = set()
    for row in pages(
        target.aws,
        target.sso.list_account_assignments_for_principal,
        "AccountAssignments",
        InstanceArn=target.instance_arn,
        PrincipalId=user_id,
        PrincipalType="USER",
        Filter={"AccountId": target.account_id},
        MaxResults=PAGE,
    ):
        if (row.get("AccountId"), row.get("PermissionSetArn")) != (
            target.account_id,
            target.permission_set_arn,
        ):
            continue
        if row.get("PrincipalType") == "GROUP":
            groups.add(str(row.get("PrincipalId")))
        elif row.get("PrincipalId") == user_id:
            own = True
    return own, sorted(groups)


def create(target: Target, *, user_id: str) -> None:
    """The user has the assignment, and AWS has provisioned it."""
    with untouched(Refused):
        answer = target.aws.call(
            target.sso.create_account_assignment, **target.assignment(user_id=user_id)
        )
    _finished(
        target,
        status=answer["AccountAssignmentCreationStatus"],
        look=target.sso.describe_account_assignment_creation_status,
        word="Creation",
    )


def delete(target: Target, *, user_id: str) -> bool:
    """Take the assignment away; False if somebody was faster."""
    try:
        answer = target.aws.call(
            target.sso.delete_account_assignment, **target.assignment(user_id=user_id)
        )
    except Missing:
        return False
    _finished(
        target,
        status=answer["AccountAssignmentDeletionStatus"],
        look=target.sso.describe_account_assignment_deletion_status,
        word="Deletion",
    )
    return True


def must_rest(target: Target, *, user_id: str) -> None:
    """Raise NotYet while AWS is making or taking this very assignment, or that can't be told.

    Meanwhile no list says what will be: an assignment appears in it once it is made, and a deletion
    may fail. What AWS is working on is listed for the whole instance, without saying about whom.
    """
    looks = (
        (
            "Creation",
            target.sso.list_account_assignment_creation_status,
            target.sso.describe_account_assignment_creation_status,
        ),
        (
            "Deletion",
            target.sso.list_account_assignment_deletion_status,
            target.sso.describe_account_assignment_deletion_status,
        ),
    )
    looked_at = 0
    for word, listed, look in looks:
        for row in pages(
            target.aws,
            listed,
            f"AccountAssignments{word}Status",
            InstanceArn=target.instance_arn,
            Filter={"Status": "IN_PROGRESS"},
            MaxResults=PAGE,
        ):
            looked_at += 1
            if looked_at > MOST_LOOKED_AT or target.aws.elapsed_seconds() > target.aws.seconds:
                raise NotYet(
                    "AWS is working on many assignments, and does not list whose: it is looked at "
                    "again."
                )
            status = _status(target, look, word=word, request_id=row["RequestId"])
            if status.get("Status") == "IN_PROGRESS" and _is_about(target, status, user_id=user_id):
                raise _still_working(word)


def _is_about(target: Target, status: dict[str, Any], *, user_id: str) -> bool:
    """Return whether it is about this assignment; what AWS leaves out may be."""
    wanted = target.assignment(user_id=user_id)
    names = ("TargetId", "PermissionSetArn", "PrincipalId")
    return all(status.get(name, wanted[name]) == wanted[name] for name in names)


def _status(
    target: Target, look: Callable[..., Any], *, word: str, request_id: str
) -> dict[str, Any]:
    """Return how far AWS is with one creation or deletion."""
    answer = target.aws.call(
        look,
        **{
            "InstanceArn": target.instance_arn,
            f"AccountAssignment{word}RequestId": request_id,
        },
    )
    found: dict[str, Any] = answer[f"AccountAssignment{word}Status"]
    return found


def _still_working(word: str) -> NotYet:
    return NotYet(
        f"AWS is still working on the {word.lower()} of the assignment: it is looked at again."
    )


def _finished(
    target: Target, *, status: dict[str, Any], look: Callable[..., Any], word: str
) -> None:
    """Wait, bounded, until AWS has done it. Raises: PermanentError, TransientError, NotYet."""
    for seconds in (0.0, *POLLS_SECONDS):
        if status.get("Status") not in (None, "IN_PROGRESS"):
            break
        sleep(seconds)
        found = _status(target, look, word=word, request_id=status["RequestId"])
        status = {**status, **found}
    if status.get("Status") == "SUCCEEDED":
        return
    if status.get("Status") == "FAILED":
        reason = target.aws.say(str(status.get("FailureReason", "without a reason"))).rstrip(".")
        kind = TransientError if _AWS_TROUBLE.search(reason) else PermanentError
        raise kind(f"AWS failed at the {word.lower()} of the assignment: {reason}.")
    raise _still_working(word)


def session_duration(target: Target) -> str | None:
    """Return how long sessions of the permission set last; None if AWS won't say."""
    try:
        answer = target.aws.call(
            target.sso.describe_permission_set,
            InstanceArn=target.instance_arn,
            PermissionSetArn=target.permission_set_arn,
        )
    except ConnectorError:
        return None
    return answer["PermissionSet"].get("SessionDuration") or None


def names(aws: Aws, *, store_id: str, user_ids: set[str], by_email: bool) -> dict[str, str]:
    """Return the name of each user who exists, by user name or by e-mail address."""
    store = aws.client("identitystore")
    users: list[dict[str, Any]] = []
    if len(user_ids) >= LISTED_USERS_FROM:
        users = list(
            pages(aws, store.list_users, "Users", IdentityStoreId=store_id, MaxResults=PAGE)
        )
    else:
        for user_id in sorted(user_ids):
            try:
                users.append(
                    aws.call(store.describe_user, IdentityStoreId=store_id, UserId=user_id)
                )
            except Missing:
                continue  # deleted since: nobody
    return {
        user["UserId"]: _email(user) if by_email else user["UserName"]
        for user in users
        if user["UserId"] in user_ids
    }


def _email(user: dict[str, Any]) -> str:
    """Return the primary address, or the first, or the user name where there is none."""
    emails = sorted(user.get("Emails") or (), key=lambda email: not email.get("Primary"))
    return str(emails[0]["Value"]) if emails else str(user["UserName"])


def pages(
    aws: Aws, method: Callable[..., Any], key: str, **parameters: Any
) -> Iterator[dict[str, Any]]:
    """Return the rows of every page."""
    token: str | None = None
    while True:
        more = {"NextToken": token} if token else {}
        answer = aws.call(method, **parameters, **more)
        yield from answer.get(key, ())
        token = answer.get("NextToken")
        if not token:
            return
