"""What `aws_sts` is told, checked, and the session policy that follows from it. No network."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from approvals.connectors.aws import client as aws_client
from approvals.connectors.protocol import Field, GrantSpec, PermanentError, Settings

SHORTEST_SECONDS = 900
"""What STS gives at least."""
LONGEST_SECONDS = 12 * 3600
LONGEST_POLICY_CHARACTERS = 2048
MOST_TAGS = 50

_ROLE = re.compile(
    r"arn:aws[a-z-]*:iam::(?P<account>[0-9]{12}):role/([\w+=,.@-]+/)*[\w+=,.@-]{1,64}"
)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_TAG = re.compile(r"(?P<name>[\w .:/+@-]{1,128})=(?P<value>[\w .:/=+@{}-]{0,256})")
UNSAID = re.compile(r"[^\w+=,.@-]", re.ASCII)
"""What AWS does not take in a session's name."""

RESOURCE_FIELDS = (
    *aws_client.RESOURCE_FIELDS,
    Field(
        name="longest_seconds",
        label="Longest session",
        help="In seconds, 900 to 43200; not more than the roles' maximum session duration.",
        kind="number",
    ),
    Field(
        name="revoke_by_policy",
        label="End sessions early",
        help="Let the portal put an inline policy on the role that denies a session which is "
        "ended early. Without it, an early end waits until the session expires.",
        kind="flag",
    ),
)
ENTITLEMENT_FIELDS = (
    Field(
        name="role_arn",
        label="Role",
        help="The role that is assumed: arn:aws:iam::123456789012:role/name.",
        required=True,
    ),
    Field(
        name="session_policy",
        label="Session policy",
        help="A policy (JSON) that narrows the session further.",
        kind="lines",
    ),
    Field(name="external_id", label="External id", help="What the role's trust policy asks for."),
    Field(
        name="session_tags",
        label="Session tags",
        help="name=value; {login}, {email}, {request}, {resource} and {entitlement} are filled in.",
        kind="list",
    ),
    Field(
        name="source_identity",
        label="Source identity",
        help="Set the subject's login as the session's source identity.",
        kind="flag",
    ),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Checked settings of one grant."""

    spec: GrantSpec = field(repr=False)
    role_arn: str
    account_id: str
    longest_seconds: int
    by_policy: bool

    @classmethod
    def read(cls, spec: GrantSpec) -> Target:
        """Raises: PermanentError."""
        found = errors(resource=spec.resource_settings, entitlement=spec.entitlement_settings)
        if found:
            raise PermanentError(" ".join(found))
        login = spec.subject_login
        if not login or len(login) > 128 or not login.isprintable():
            raise PermanentError("The subject's login must be 1 to 128 printable characters.")
        role_arn = spec.entitlement_settings["role_arn"]
        return cls(
            spec=spec,
            role_arn=role_arn,
            account_id=role_arn.split(":")[4],
            longest_seconds=int(spec.resource_settings.get("longest_seconds") or LONGEST_SECONDS),
            by_policy=bool(spec.resource_settings.get("revoke_by_policy", False)),
        )

    def session_name(self) -> str:
        """Return a name of the subject and this request that no other request has."""
        request = self.spec.request_id.replace("-", "").lower()
        if not re.fullmatch(r"[0-9a-f]{32}", request):
            request = hashlib.sha256(self.spec.request_id.encode(errors="replace")).hexdigest()[:32]
        return f"{UNSAID.sub('_', self.spec.subject_login)[:31]}-{request}"

    def facts(self) -> dict[str, Any]:
        """Return the part that every receipt has."""
        return {"role_arn": self.role_arn, "session_name": self.session_name()}

    def until(self, now: datetime) -> datetime:
        """Return the latest moment at which a session of this grant can be good."""
        latest = datetime.fromtimestamp(now.timestamp() + LONGEST_SECONDS, UTC)
        return min(self.spec.ends_at or latest, latest)


def errors(*, resource: Settings, entitlement: Settings | None) -> list[str]:
    """What is wrong with the settings, a sentence each."""
    found = aws_client.errors_in(resource, known=tuple(field.name for field in RESOURCE_FIELDS))
    longest = resource.get("longest_seconds", LONGEST_SECONDS)
    if (
        isinstance(longest, bool)
        or not isinstance(longest, int)
        or not SHORTEST_SECONDS <= longest <= LONGEST_SECONDS
    ):
        found.append(
            f'Set "longest_seconds" to a number from {SHORTEST_SECONDS} to {LONGEST_SECONDS}.'
        )
    if not isinstance(resource.get("revoke_by_policy", False), bool):
        found.append('Set "revoke_by_policy" to true or false.')
    if entitlement is not None:
        found += _entitlement_errors(entitlement)
    return found


def _entitlement_errors(settings: Settings) -> list[str]:
    errors = aws_client.unknown(settings, tuple(field.name for field in ENTITLEMENT_FIELDS))
    if not aws_client.matches(_ROLE, settings.get("role_arn")):
        errors.append('Set "role_arn" to arn:aws:iam::123456789012:role/name.')
    if settings.get("session_policy"):
        try:
            policy(settings["session_policy"], ends_at=_SOME_MOMENT)
        except ValueError as error:
            errors.append(f'"session_policy" {error}.')
    external_id = settings.get("external_id")
    if external_id not in (None, "") and not aws_client.matches(_EXTERNAL_ID, external_id):
        errors.append('Set "external_id" to 2 to 1224 of the characters that AWS permits.')
    tags = settings.get("session_tags") or []
    if not isinstance(tags, list) or not all(aws_client.matches(_TAG, tag) for tag in tags):
        errors.append('Set "session_tags" to a list of texts that read name=value.')
    elif len({tag.partition("=")[0].lower() for tag in tags}) < len(tags) or len(tags) > MOST_TAGS:
        errors.append(f'Name each of the "session_tags" once, and at most {MOST_TAGS}.')
    if not isinstance(settings.get("source_identity", False), bool):
        errors.append('Set "source_identity" to true or false.')
    return errors


def policy(written: object, *, ends_at: datetime | None) -> str:
    """Return the session policy, with an end where one is given; empty for none.

    Raises: ValueError, whose text goes on a sentence that begins with the setting's name.
    """
    if not written and ends_at is None:
        return ""
    found: Any = {"Version": "2012-10-17", "Statement": [_EVERYTHING]}
    if written:
        try:
            found = json.loads(written) if isinstance(written, str) else None
        except ValueError:
            found = None
        if not isinstance(found, dict) or not found.get("Statement"):
            raise ValueError('must be the text of a JSON policy with a "Statement"')
        found.setdefault("Version", "2012-10-17")
        if isinstance(found["Statement"], dict):
            found["Statement"] = [found["Statement"]]
        if not isinstance(found["Statement"], list):
            raise ValueError('must have a list as its "Statement"')
    if ends_at is not None:
        moment = ends_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        over = {"DateGreaterThanEquals": {"aws:CurrentTime": moment}}
        found["Statement"].append({**_EVERYTHING, "Effect": "Deny", "Condition": over})
    text = json.dumps(found, separators=(",", ":"))
    if len(text) > LONGEST_POLICY_CHARACTERS:
        raise ValueError(
            f"must leave room for its end: with it, it is {len(text)} characters, and AWS takes "
            f"{LONGEST_POLICY_CHARACTERS}"
        )
    return text


_SOME_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
"""They are all written with equally many characters."""
_EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
