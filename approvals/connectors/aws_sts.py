"""Short sessions of an IAM role: credentials that AWS itself lets expire.

`grant` assumes the role and hands the credentials to the subject, once. The portal keeps nothing of
them. The session's name is the subject's and the request's, so CloudTrail ties what is done to who
asked for it. docs/connectors/aws_sts.md has every setting; aws_revocation ends sessions early.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, ClassVar

from approvals.connectors import aws_client, aws_revocation
from approvals.connectors.aws_client import Aws
from approvals.connectors.protocol import (
    Connector,
    ConnectorError,
    Field,
    GrantSpec,
    Handover,
    Health,
    Held,
    NotYet,
    PermanentError,
    Receipt,
    Settings,
    Step,
)

SHORTEST_SECONDS = 900
"""What STS gives at least. A grant that ends sooner is ended by a condition on the time."""
LONGEST_SECONDS = 12 * 3600
LONGEST_POLICY_CHARACTERS = 2048
MOST_TAGS = 50

_RESOURCE_KEYS = (*aws_client.RESOURCE_KEYS, "longest_seconds", "revoke_by_policy")
_ENTITLEMENT_KEYS = ("role_arn", "session_policy", "external_id", "session_tags", "source_identity")
_ROLE = re.compile(
    r"arn:aws[a-z-]*:iam::(?P<account>[0-9]{12}):role/([\w+=,.@-]+/)*[\w+=,.@-]{1,64}"
)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_TAG = re.compile(r"(?P<name>[\w .:/+@-]{1,128})=(?P<value>[\w .:/=+@{}-]{0,256})")
_UNSAID = re.compile(r"[^\w+=,.@-]", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Target:
    """Checked settings of one grant."""

    spec: GrantSpec = field(repr=False)
    role_arn: str
    account_id: str
    longest_seconds: int
    by_policy: bool

    @classmethod
    def read(cls, spec: GrantSpec) -> _Target:
        """Raises: PermanentError."""
        errors = StsSession().validate(
            resource_settings=spec.resource_settings,
            entitlement_settings=spec.entitlement_settings,
        )
        if errors:
            raise PermanentError(" ".join(errors))
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
        return f"{_UNSAID.sub('_', self.spec.subject_login)[:31]}-{request}"

    def facts(self) -> dict[str, Any]:
        """Return the part that every receipt has."""
        return {"role_arn": self.role_arn, "session_name": self.session_name()}

    def until(self, now: datetime) -> datetime:
        """Return the latest moment at which a session of this grant can be good."""
        latest = datetime.fromtimestamp(now.timestamp() + LONGEST_SECONDS, UTC)
        return min(self.spec.ends_at or latest, latest)


class StsSession(Connector):
    """Hands over credentials of a role that expire by themselves."""

    key: ClassVar[str] = "aws_sts"
    title: ClassVar[str] = "AWS role session"
    glyph: ClassVar[str] = "ST"
    needs_secret: ClassVar[bool] = False
    ends_at_target: ClassVar[bool] = True
    per_request: ClassVar[bool] = True
    resource_fields: ClassVar[tuple[Field, ...]] = (
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
    entitlement_fields: ClassVar[tuple[Field, ...]] = (
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
        Field(
            name="external_id", label="External id", help="What the role's trust policy asks for."
        ),
        Field(
            name="session_tags",
            label="Session tags",
            help="name=value; {login}, {email}, {request}, {resource} and {entitlement} are "
            "filled in.",
            kind="list",
        ),
        Field(
            name="source_identity",
            label="Source identity",
            help="Set the subject's login as the session's source identity.",
            kind="flag",
        ),
    )

    def grant(self, spec: GrantSpec) -> Receipt:
        """The subject's credentials of the role are made, good until `ends_at` at the latest.

        Each call makes new ones of the same session name: a delivery whose answer was lost leaves
        credentials that nobody ever saw. `covers_grant` false says that AWS (or `longest_seconds`)
        ends the session before the grant ends.
        """
        target = _Target.read(spec)
        seconds_left = _seconds_left(spec)
        parameters = _parameters(target, seconds_left=seconds_left)
        aws = Aws(spec.resource_settings, spec.secret)
        answer = aws.call(aws.client("sts").assume_role, **parameters)
        given = answer["Credentials"]
        expires_at = given["Expiration"].astimezone(UTC)
        ends_at = min(expires_at, spec.ends_at or expires_at)
        detail = {
            **target.facts(),
            "granted": True,
            "assumed_role_arn": answer["AssumedRoleUser"]["Arn"],
            "session_ends_at": ends_at.isoformat(),
            "covers_grant": seconds_left <= target.longest_seconds,
        }
        lines = [
            f"export {name}={shlex.quote(value)}"
            for name, value in (
                ("AWS_ACCESS_KEY_ID", given["AccessKeyId"]),
                ("AWS_SECRET_ACCESS_KEY", given["SecretAccessKey"]),
                ("AWS_SESSION_TOKEN", given["SessionToken"]),
                ("AWS_DEFAULT_REGION", spec.resource_settings["region"]),
            )
        ]
        handover = Handover(label="AWS credentials", text="\n".join(lines), once=True)
        return Receipt(detail=detail, handover=(handover,))

    def revoke(self, spec: GrantSpec) -> Receipt:
        """No session of this grant is good any more.

        At its end that is so by itself. Before, the role gets a policy that denies this session, if
        `revoke_by_policy` permits it; IAM needs some seconds to apply it everywhere.

        Raises: NotYet before the end where nothing can end the session early.
        """
        target = _Target.read(spec)
        now = spec.moment()
        detail: dict[str, Any] = {**target.facts(), "granted": False}
        if spec.ends_at is not None and spec.ends_at <= now:
            detail["ended_by"] = "expiry"
            return Receipt(detail=detail)
        until = target.until(now)
        if not target.by_policy:
            raise NotYet(
                f"The session stays good until {until:%Y-%m-%d %H:%M:%S} UTC: STS can't take "
                'credentials back. Set "revoke_by_policy" for the resource to end sessions early, '
                "or deny them at the role.",
                until=until,
            )
        aws = Aws(spec.resource_settings, spec.secret)
        detail |= aws_revocation.deny(
            aws, role_arn=target.role_arn, session_name=target.session_name(), now=now, until=until
        )
        return Receipt(detail=detail)

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        """Raise PermanentError: AWS keeps no list of sessions, and an empty one would be a lie."""
        del secret
        for settings in entitlements.values():
            errors = self.validate(
                resource_settings=resource_settings, entitlement_settings=settings
            )
            if errors:
                raise PermanentError(" ".join(errors))
        raise PermanentError(
            "AWS keeps no list of role sessions, so this resource can't be observed. CloudTrail "
            "has each AssumeRole by its session name."
        )

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        """Whether AWS knows the portal's own account there."""
        started = perf_counter()
        errors = self.validate(resource_settings=resource_settings, entitlement_settings=None)
        if errors:
            return Health(ok=False, message=" ".join(errors))
        try:
            aws = Aws(resource_settings, secret)
            answer = aws.call(aws.client("sts").get_caller_identity)
        except ConnectorError as error:
            return Health(ok=False, message=error.message)
        latency_ms = (perf_counter() - started) * 1000
        message = f"STS answers as {aws.say(answer['Arn'])}."
        return Health(ok=True, message=message, latency_ms=latency_ms)

    def how_to_connect(self, spec: GrantSpec) -> list[Step]:
        """What to do with the credentials, which are shown elsewhere, once."""
        role = str(spec.entitlement_settings.get("role_arn", "")).rpartition("/")[2]
        return [
            Step(
                "Credentials",
                "They are shown once on this page: paste the lines into a shell of yours. They "
                "end by themselves.",
            ),
            Step("Check", f"aws sts get-caller-identity   # shows the role {role}"),
        ]

    def validate(
        self, *, resource_settings: Settings, entitlement_settings: Settings | None
    ) -> list[str]:
        """See docs/connectors/aws_sts.md for the settings."""
        errors = aws_client.errors_in(resource_settings, known=_RESOURCE_KEYS)
        longest = resource_settings.get("longest_seconds", LONGEST_SECONDS)
        if (
            isinstance(longest, bool)
            or not isinstance(longest, int)
            or not SHORTEST_SECONDS <= longest <= LONGEST_SECONDS
        ):
            errors.append(
                f'Set "longest_seconds" to a number from {SHORTEST_SECONDS} to {LONGEST_SECONDS}.'
            )
        if not isinstance(resource_settings.get("revoke_by_policy", False), bool):
            errors.append('Set "revoke_by_policy" to true or false.')
        if entitlement_settings is not None:
            errors += _entitlement_errors(entitlement_settings)
        return errors


def _entitlement_errors(settings: Settings) -> list[str]:
    errors = aws_client.unknown(settings, _ENTITLEMENT_KEYS)
    if not aws_client.matches(_ROLE, settings.get("role_arn")):
        errors.append('Set "role_arn" to arn:aws:iam::123456789012:role/name.')
    if settings.get("session_policy"):
        try:
            _policy(settings["session_policy"], ends_at=_SOME_MOMENT)
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


def _seconds_left(spec: GrantSpec) -> int:
    """Return the whole seconds until the end. Raises: PermanentError."""
    if spec.ends_at is None:
        raise PermanentError("A role session needs an end, and this grant names none.")
    seconds = int((spec.ends_at - spec.moment()).total_seconds())
    if seconds <= 0:
        raise PermanentError("The grant is over: a session would be of no use.")
    return seconds


def _parameters(target: _Target, *, seconds_left: int) -> dict[str, Any]:
    """Return what AssumeRole is told."""
    spec = target.spec
    settings = spec.entitlement_settings
    seconds = max(min(seconds_left, target.longest_seconds), SHORTEST_SECONDS)
    found: dict[str, Any] = {
        "RoleArn": target.role_arn,
        "RoleSessionName": target.session_name(),
        "DurationSeconds": seconds,
    }
    # STS gives no session shorter than this; the condition ends it at the very moment.
    ends_at = spec.ends_at if seconds_left < SHORTEST_SECONDS else None
    try:
        policy = _policy(settings.get("session_policy") or "", ends_at=ends_at)
    except ValueError as error:
        raise PermanentError(f'"session_policy" {error}.') from None
    if policy:
        found["Policy"] = policy
    if settings.get("external_id"):
        found["ExternalId"] = settings["external_id"]
    tags = [tag.partition("=") for tag in settings.get("session_tags") or []]
    if tags:
        found["Tags"] = [{"Key": name, "Value": _filled(value, spec)} for name, _, value in tags]
    if settings.get("source_identity"):
        found["SourceIdentity"] = f"{_UNSAID.sub('_', spec.subject_login)[:64]:_<2}"
    return found


def _filled(value: str, spec: GrantSpec) -> str:
    known = {
        "login": spec.subject_login,
        "email": spec.subject_email,
        "request": spec.request_id,
        "resource": spec.resource,
        "entitlement": spec.entitlement,
    }
    filled = re.sub(
        r"\{(\w+)\}", lambda found: known.get(found[1], found[0]), value
    )  # at once, so that what is filled in is not read again
    return re.sub(r"[^\w .:/=+@-]", "_", filled)[:256]


def _policy(written: object, *, ends_at: datetime | None) -> str:
    """Return the session policy, with an end where one is given; empty for none.

    Raises: ValueError, whose text goes on a sentence that begins with the setting's name.
    """
    if not written and ends_at is None:
        return ""
    policy: Any = {"Version": "2012-10-17", "Statement": [_EVERYTHING]}
    if written:
        try:
            policy = json.loads(written) if isinstance(written, str) else None
        except ValueError:
            policy = None
        if not isinstance(policy, dict) or not policy.get("Statement"):
            raise ValueError('must be the text of a JSON policy with a "Statement"')
        policy.setdefault("Version", "2012-10-17")
        if isinstance(policy["Statement"], dict):
            policy["Statement"] = [policy["Statement"]]
        if not isinstance(policy["Statement"], list):
            raise ValueError('must have a list as its "Statement"')
    if ends_at is not None:
        moment = ends_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        over = {"DateGreaterThanEquals": {"aws:CurrentTime": moment}}
        policy["Statement"].append({**_EVERYTHING, "Effect": "Deny", "Condition": over})
    text = json.dumps(policy, separators=(",", ":"))
    if len(text) > LONGEST_POLICY_CHARACTERS:
        raise ValueError(
            f"must leave room for its end: with it, it is {len(text)} characters, and AWS takes "
            f"{LONGEST_POLICY_CHARACTERS}"
        )
    return text


_SOME_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
"""They are all written with equally many characters."""
_EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}

CONNECTORS = (StsSession(),)
