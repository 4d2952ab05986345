"""Short sessions of an IAM role: credentials that AWS itself lets expire.

`grant` assumes the role and hands the credentials to the subject, once. The portal keeps nothing of
them. The session's name is the subject's and the request's, so CloudTrail ties what is done to who
asked for it. docs/connectors/aws_sts.md has every setting; `revocation` ends sessions early.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, ClassVar

from approvals.connectors.aws.client import Aws
from approvals.connectors.aws_sts import revocation, settings
from approvals.connectors.aws_sts.settings import Target
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
    untouched,
)


class StsSession(Connector):
    """Hands over credentials of a role that expire by themselves."""

    key: ClassVar[str] = "aws_sts"
    title: ClassVar[str] = "AWS role session"
    glyph: ClassVar[str] = "ST"
    needs_secret: ClassVar[bool] = False
    ends_at_target: ClassVar[bool] = True
    per_request: ClassVar[bool] = True
    resource_fields: ClassVar[tuple[Field, ...]] = settings.RESOURCE_FIELDS
    entitlement_fields: ClassVar[tuple[Field, ...]] = settings.ENTITLEMENT_FIELDS

    def grant(self, spec: GrantSpec) -> Receipt:
        """The subject's credentials of the role are made, good until `ends_at` at the latest.

        However late AWS answers, or this call comes to ask it: the session's own policy says so.
        Each call makes new ones of the same session name: a delivery whose answer was lost leaves
        credentials that nobody ever saw. `covers_grant` false says that AWS (or `longest_seconds`)
        ends the session before the grant ends.
        """
        with untouched():  # nobody has credentials whose answer was lost
            target = Target.read(spec)
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
        target = Target.read(spec)
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
        detail |= revocation.deny(
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
        for wanted in entitlements.values():
            errors = self.validate(resource_settings=resource_settings, entitlement_settings=wanted)
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
        """See `settings`."""
        return settings.errors(resource=resource_settings, entitlement=entitlement_settings)


def _seconds_left(spec: GrantSpec) -> int:
    """Return the whole seconds until the end. Raises: PermanentError."""
    if spec.ends_at is None:
        raise PermanentError("A role session needs an end, and this grant names none.")
    seconds = int((spec.ends_at - spec.moment()).total_seconds())
    if seconds <= 0:
        raise PermanentError("The grant is over: a session would be of no use.")
    return seconds


def _parameters(target: Target, *, seconds_left: int) -> dict[str, Any]:
    """Return what AssumeRole is told."""
    spec = target.spec
    wanted = spec.entitlement_settings
    seconds = max(min(seconds_left, target.longest_seconds), settings.SHORTEST_SECONDS)
    found: dict[str, Any] = {
        "RoleArn": target.role_arn,
        "RoleSessionName": target.session_name(),
        "DurationSeconds": seconds,
    }
    # The duration counts from AWS's answer, however late that comes, and is a quarter of an hour at
    # least; the condition ends the session at the very moment.
    try:
        policy = settings.policy(wanted.get("session_policy") or "", ends_at=spec.ends_at)
    except ValueError as error:
        raise PermanentError(f'"session_policy" {error}.') from None
    if policy:
        found["Policy"] = policy
    if wanted.get("external_id"):
        found["ExternalId"] = wanted["external_id"]
    tags = [tag.partition("=") for tag in wanted.get("session_tags") or []]
    if tags:
        found["Tags"] = [{"Key": name, "Value": _filled(value, spec)} for name, _, value in tags]
    if wanted.get("source_identity"):
        found["SourceIdentity"] = f"{settings.UNSAID.sub('_', spec.subject_login)[:64]:_<2}"
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
