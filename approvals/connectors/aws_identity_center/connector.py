"""Account assignments in AWS IAM Identity Center: a permission set, in an account, for a user.

The user exists in the identity store; this connector assigns and takes away. The secret, or the
environment's role, belongs to the organization's management account or to Identity Center's
delegated administrator. docs/connectors/aws_identity_center.md has every setting.

What it can't do: end a session that is open. AWS keeps the credentials of a permission set alive
until its session duration is over, so the removal's receipt names that duration.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from time import perf_counter
from typing import Any, ClassVar

from approvals.connectors.aws import client as aws_client
from approvals.connectors.aws.client import Aws, Missing
from approvals.connectors.aws_identity_center import assignments, settings
from approvals.connectors.aws_identity_center.assignments import PAGE, Target, pages
from approvals.connectors.protocol import (
    Connector,
    ConnectorError,
    Field,
    GrantSpec,
    Health,
    Held,
    NotYet,
    PermanentError,
    Receipt,
    Settings,
    Step,
    untouched,
)

LONGEST_NAME_CHARACTERS = 128


class IdentityCenter(Connector):
    """Assigns a permission set in an account to a user of Identity Center."""

    key: ClassVar[str] = "aws_identity_center"
    title: ClassVar[str] = "AWS IAM Identity Center"
    glyph: ClassVar[str] = "IC"
    needs_secret: ClassVar[bool] = False
    ends_at_target: ClassVar[bool] = False
    resource_fields: ClassVar[tuple[Field, ...]] = settings.RESOURCE_FIELDS
    entitlement_fields: ClassVar[tuple[Field, ...]] = settings.ENTITLEMENT_FIELDS

    def lease(self, spec: GrantSpec) -> Mapping[str, Any]:
        """One person's assignment of one permission set in one account of one instance."""
        return {
            "instance": spec.resource_settings["instance_arn"],
            "account": spec.entitlement_settings["account_id"],
            "permission_set": spec.entitlement_settings["permission_set_arn"],
            "login": spec.subject_login,
        }

    def lease_by_secret(self, spec: GrantSpec) -> bool:
        """The ARN names the instance, whosever credentials are used."""
        del spec
        return False

    def grant(self, spec: GrantSpec) -> Receipt:
        """The user has the assignment, and AWS has provisioned it.

        `pre_existing`: it was there when we came, by somebody else or by an earlier attempt of
        this grant whose answer was lost.

        Raises: NotYet also while AWS is still working on it.
        """
        with untouched():
            target = _target(spec)
            name = _name(spec)
            user_id = _user_id(target, spec, name=name)
            if user_id is None:
                find_by = settings.find_by(spec.resource_settings)
                raise PermanentError(
                    f'There is no user "{name}" in the identity store (looked up by {find_by}): '
                    'create or synchronize them first, or correct "find_user_by".'
                )
            held, _ = assignments.find(target, user_id=user_id)
        if not held:
            assignments.create(target, user_id=user_id)
        detail = {**target.facts(name=name), "granted": True, "pre_existing": held}
        return Receipt(detail=detail)

    def revoke(self, spec: GrantSpec) -> Receipt:
        """The user has no assignment of their own any more, whoever made it.

        An assignment through a group is not ours to take: `still_held_through` names the groups.
        `sessions_live_on` is how long a session that is open may last (ISO 8601), from AWS.

        Raises: NotYet also while AWS is still working on it: on this removal, or on an assignment
        that was ordered before and is in no list yet.
        """
        target = _target(spec)
        name = _name(spec)
        detail: dict[str, Any] = {**target.facts(name=name), "granted": False, "removed": False}
        user_id = _user_id(target, spec, name=name)
        if user_id is None:
            detail["reason"] = f'There is no user "{name}" in the identity store any more.'
            return Receipt(detail=detail)
        held, groups = assignments.find(target, user_id=user_id)
        if groups:
            detail["still_held_through"] = groups
        if held:
            detail["removed"] = assignments.delete(target, user_id=user_id)
            duration = assignments.session_duration(target)
            if duration:
                detail["sessions_live_on"] = duration
        if not detail["removed"]:
            assignments.must_rest(target, user_id=user_id)
            if assignments.find(target, user_id=user_id)[0]:  # made since it was looked for first
                raise NotYet("AWS lists the assignment still: it is taken away at the next try.")
        return Receipt(detail=detail)

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        """The users with an assignment of their own, not those who have it through a group.

        They are named by what `find_user_by` names: the user name, or the first e-mail address.
        """
        keys_by_pair: dict[tuple[str, str], list[str]] = {}
        for key, wanted in entitlements.items():
            errors = self.validate(resource_settings=resource_settings, entitlement_settings=wanted)
            if errors:
                raise PermanentError(f"Entitlement {key}: {' '.join(errors)}")
            pair = (wanted["account_id"], wanted["permission_set_arn"])
            keys_by_pair.setdefault(pair, []).append(key)
        if not keys_by_pair:
            return []
        aws = Aws(resource_settings, secret, seconds=aws_client.OBSERVING_SECONDS)
        sso = aws.client("sso-admin")
        found: set[tuple[str, str]] = set()
        for (account_id, permission_set_arn), keys in sorted(keys_by_pair.items()):
            for row in pages(
                aws,
                sso.list_account_assignments,
                "AccountAssignments",
                InstanceArn=resource_settings["instance_arn"],
                AccountId=account_id,
                PermissionSetArn=permission_set_arn,
                MaxResults=PAGE,
            ):
                if row.get("PrincipalType") == "USER":
                    found.update((row["PrincipalId"], key) for key in keys)
        names = assignments.names(
            aws,
            store_id=resource_settings["identity_store_id"],
            user_ids={user_id for user_id, _ in found},
            by_email=settings.find_by(resource_settings) == "email",
        )
        return sorted({Held(names[user], key) for user, key in found if user in names})

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        """Whether AWS lets us see the instance, and users in its identity store."""
        started = perf_counter()
        errors = self.validate(resource_settings=resource_settings, entitlement_settings=None)
        if errors:
            return Health(ok=False, message=" ".join(errors))
        wanted = resource_settings["instance_arn"]
        store_id = resource_settings["identity_store_id"]
        try:
            aws = Aws(resource_settings, secret)
            rows = pages(aws, aws.client("sso-admin").list_instances, "Instances")
            stores = {row["InstanceArn"]: row.get("IdentityStoreId") for row in rows}
            aws.call(aws.client("identitystore").list_users, IdentityStoreId=store_id, MaxResults=1)
        except ConnectorError as error:
            return Health(ok=False, message=error.message)
        latency_ms = (perf_counter() - started) * 1000
        if wanted not in stores:
            message = f"This account does not see the instance {wanted}: correct it, or the region."
        elif stores[wanted] != store_id:
            message = f'Set "identity_store_id" to {stores[wanted]}: that is the instance\'s store.'
        else:
            message = f"Identity Center answers for {wanted}."
            return Health(ok=True, message=message, latency_ms=latency_ms)
        return Health(ok=False, message=message, latency_ms=latency_ms)

    def how_to_connect(self, spec: GrantSpec) -> list[Step]:
        """Where to sign in, and the lines of a CLI profile."""
        account_id = spec.entitlement_settings.get("account_id", "")
        portal = spec.resource_settings.get("portal_url") or ""
        steps = [Step("Account", f"{account_id}")]
        if portal:
            steps.insert(0, Step("Sign in", f"{portal}"))
            steps.append(
                Step(
                    "Command line", f"aws configure sso   # start URL {portal}, then aws sso login"
                )
            )
        else:
            steps.append(Step("Sign in", "Your organization's AWS access portal."))
        return steps

    def validate(
        self, *, resource_settings: Settings, entitlement_settings: Settings | None
    ) -> list[str]:
        """See `settings`."""
        return settings.errors(resource=resource_settings, entitlement=entitlement_settings)


def _target(spec: GrantSpec) -> Target:
    """Return the checked settings, and a way to AWS. Raises: PermanentError."""
    errors = settings.errors(resource=spec.resource_settings, entitlement=spec.entitlement_settings)
    if errors:
        raise PermanentError(" ".join(errors))
    aws = Aws(spec.resource_settings, spec.secret)
    return Target(
        aws=aws,
        instance_arn=spec.resource_settings["instance_arn"],
        store_id=spec.resource_settings["identity_store_id"],
        account_id=spec.entitlement_settings["account_id"],
        permission_set_arn=spec.entitlement_settings["permission_set_arn"],
        sso=aws.client("sso-admin"),
        store=aws.client("identitystore"),
    )


def _name(spec: GrantSpec) -> str:
    """Return what names the user in the store. Raises: PermanentError."""
    by_login = settings.find_by(spec.resource_settings) == "login"
    name = spec.subject_login if by_login else spec.subject_email
    if not name or len(name) > LONGEST_NAME_CHARACTERS or not name.isprintable():
        raise PermanentError(
            f"The subject's {'login' if by_login else 'e-mail address'} can't be a user's in "
            f"Identity Center: it takes 1 to {LONGEST_NAME_CHARACTERS} printable characters."
        )
    return name


def _user_id(target: Target, spec: GrantSpec, *, name: str) -> str | None:
    """Return the id of the one user of that name; None for nobody."""
    path = "emails.value" if settings.find_by(spec.resource_settings) == "email" else "userName"
    unique = {"AttributePath": path, "AttributeValue": name}
    try:
        answer = target.aws.call(
            target.store.get_user_id,
            IdentityStoreId=target.store_id,
            AlternateIdentifier={"UniqueAttribute": unique},
        )
    except Missing:
        # A store that is missing would make every removal look done.
        target.aws.call(target.store.list_users, IdentityStoreId=target.store_id, MaxResults=1)
        return None
    return str(answer["UserId"])
