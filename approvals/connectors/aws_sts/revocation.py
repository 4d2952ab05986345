"""Ending a role's session early: an inline policy at the role that denies one session's past.

AWS's own console revokes sessions by a policy `AWSRevokeOlderSessions`. This one is narrower: it
names the session, and each session has a policy of its own, so two removals at the same moment
never undo each other. Policies whose session has expired are deleted at the next removal.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from approvals.connectors.aws.client import Aws, Missing
from approvals.connectors.protocol import ConnectorError, PermanentError

PREFIX = "AWSRevokeOlderSessions-jit"
_OURS = re.compile(rf"{PREFIX}-(?P<until>[0-9]{{10}})-(?P<session>[0-9a-f]{{32}})")
MOST_PAGES = 3


def deny(
    aws: Aws, *, role_arn: str, session_name: str, now: datetime, until: datetime
) -> dict[str, Any]:
    """The role denies everything to sessions of this name's request that were issued before now.

    `until` is when the last of them expires. A role that is gone has no sessions: a success.

    Raises: PermanentError, also when the role is in another account than the portal's, where IAM
    would say that there is no such role; TransientError.
    """
    account_id = role_arn.split(":")[4]
    role = role_arn.rpartition("/")[2]
    who = aws.call(aws.client("sts").get_caller_identity)
    if who["Account"] != account_id:
        raise PermanentError(
            f"The role is in account {account_id} and the portal's credentials are of "
            f"{who['Account']}: only an account's own credentials can put a policy on its roles. "
            "Give this resource credentials of that account, or deny the session there."
        )
    # By AWS's clock, which dates the sessions; it tells whole seconds, rounded down.
    issued_before = _their_time(who, otherwise=now) + timedelta(seconds=1)
    iam = aws.client("iam")
    request = session_name.rpartition("-")[2]
    policy_name = f"{PREFIX}-{int(until.timestamp()) + 1:010}-{request}"
    try:
        aws.call(
            iam.put_role_policy,
            RoleName=role,
            PolicyName=policy_name,
            PolicyDocument=_document(request=request, issued_before=issued_before),
        )
    except Missing:
        return {"ended_by": "role", "reason": f"There is no role {role} any more."}
    with suppress(ConnectorError):  # the session is ended; the next removal tidies up
        _tidy(aws, iam, role=role, keep=policy_name, request=request, now=now)
    return {"ended_by": "policy", "policy_name": policy_name}


def _their_time(answer: dict[str, Any], *, otherwise: datetime) -> datetime:
    told = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return max(parsedate_to_datetime(told), otherwise)
    except (TypeError, ValueError):
        return otherwise


def _document(*, request: str, issued_before: datetime) -> str:
    # By the request alone, which ends the session's name: its login may have been renamed since.
    condition = {
        "DateLessThan": {"aws:TokenIssueTime": issued_before.strftime("%Y-%m-%dT%H:%M:%SZ")},
        "StringLike": {"aws:userid": f"*:*-{request}"},
    }
    statement = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))


def _tidy(aws: Aws, iam: Any, *, role: str, keep: str, request: str, now: datetime) -> None:
    """Delete the policies that earlier removals left, when they are of no more use."""
    marker: dict[str, str] = {}
    for _ in range(MOST_PAGES):
        answer = aws.call(iam.list_role_policies, RoleName=role, **marker)
        for name in answer["PolicyNames"]:
            found = _OURS.fullmatch(name)
            if found is None:
                continue
            # Of one session the latest stays: two deliveries at once must not delete each other's.
            older = found["session"] == request and name < keep
            if older or int(found["until"]) < now.timestamp():
                aws.call(iam.delete_role_policy, RoleName=role, PolicyName=name)
        if not answer.get("IsTruncated"):
            return
        marker = {"Marker": answer["Marker"]}
