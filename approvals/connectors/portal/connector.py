"""Access that lives in this portal and is asked for by others (AuthZEN, SCIM, OIDC claims).

The access is membership of a directory group for the time of the grant. Connectors may not see
models, so the membership is kept by a `Store` that the services hand in once, with `store.use()`.

Entitlement settings: `{"group": "report-readers"}`. Resource settings: none. Secret: none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from time import perf_counter
from typing import Any, ClassVar

from approvals.connectors.portal import store
from approvals.connectors.portal.store import UnknownGroup, UnknownLogin
from approvals.connectors.protocol import (
    Connector,
    ConnectorError,
    Field,
    GrantSpec,
    Health,
    Held,
    PermanentError,
    Receipt,
    Settings,
    Step,
    TransientError,
    untouched,
)


class PortalGroup(Connector):
    """Membership of a directory group of this portal."""

    key: ClassVar[str] = "portal"
    title: ClassVar[str] = "Group in this portal"
    glyph: ClassVar[str] = "JP"
    needs_secret: ClassVar[bool] = False
    ends_at_target: ClassVar[bool] = False
    resource_fields: ClassVar[tuple[Field, ...]] = ()
    entitlement_fields: ClassVar[tuple[Field, ...]] = (
        Field(
            name="group",
            label="Group",
            help="The directory group that the subject is a member of while the grant lasts.",
            required=True,
        ),
    )

    def lease(self, spec: GrantSpec) -> Mapping[str, Any]:
        """Whichever resource and entitlement name the group, it is one membership."""
        return {"group": spec.entitlement_settings["group"], "login": spec.subject_login}

    def lease_by_secret(self, spec: GrantSpec) -> bool:
        """There is one directory here, and no secret."""
        del spec
        return False

    def grant(self, spec: GrantSpec) -> Receipt:
        """The subject is a member. `pre_existing` says that it was standing and will stay."""
        with untouched():  # the store adds, or knows the person or the group not
            group = _group(spec.entitlement_settings, resource_settings=spec.resource_settings)
            with _translated(login=spec.subject_login, group=group):
                carried = store.registered().add(
                    login=spec.subject_login,
                    group=group,
                    request_id=spec.request_id,
                    reason=f"granted by request {spec.request_id}",
                )
        return Receipt(
            detail={
                "group": group,
                "login": spec.subject_login,
                "granted": True,
                "pre_existing": not carried,
            }
        )

    def revoke(self, spec: GrantSpec) -> Receipt:
        """No membership that a grant carries is left. `granted` true says: a standing one is."""
        group = _group(spec.entitlement_settings, resource_settings=spec.resource_settings)
        with _translated(login=spec.subject_login, group=group):
            kept = store.registered()
            removed = kept.remove(
                login=spec.subject_login,
                group=group,
                request_id=spec.request_id,
                reason=f"ended with request {spec.request_id}",
            )
            try:
                standing = spec.subject_login in kept.members(group=group)
            except UnknownGroup:
                standing = False
        return Receipt(
            detail={
                "group": group,
                "login": spec.subject_login,
                "granted": standing,
                "removed": removed,
            }
        )

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        """The members of each entitlement's group; a group that is gone has none."""
        held: list[Held] = []
        for key, settings in entitlements.items():
            group = _group(settings, resource_settings=resource_settings)
            with _translated(login="", group=group):
                try:
                    members = store.registered().members(group=group)
                except UnknownGroup:
                    continue
            held.extend(Held(login, key) for login in members)
        return sorted(held)

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        """Whether the services have handed in the directory, and it answers."""
        started = perf_counter()
        try:
            with _translated(login="", group=""), suppress(UnknownGroup):
                store.registered().members(group="")  # "no such group" is an answer
        except ConnectorError as error:
            return Health(ok=False, message=error.message)
        return Health(
            ok=True,
            message="Memberships are kept in this portal.",
            latency_ms=(perf_counter() - started) * 1000,
        )

    def how_to_connect(self, spec: GrantSpec) -> list[Step]:
        """Nothing to connect to: applications ask the portal."""
        group = str(spec.entitlement_settings.get("group", spec.entitlement))
        return [
            Step("Account", spec.subject_login),
            Step("Group", group),
            Step(
                "Takes effect",
                f"At once: {spec.resource} asks this portal. Sign in there again if it remembers "
                "your groups from sign-in.",
            ),
        ]

    def validate(
        self, *, resource_settings: Settings, entitlement_settings: Settings | None
    ) -> list[str]:
        """A resource needs nothing; an entitlement names its group."""
        errors = [f"Unknown setting {name!r}: remove it." for name in sorted(resource_settings)]
        if entitlement_settings is None:
            return errors
        errors += [
            f"Unknown setting {name!r}: use group."
            for name in sorted(entitlement_settings)
            if name != "group"
        ]
        group = entitlement_settings.get("group")
        if not isinstance(group, str) or not group.strip() or "\0" in group:
            errors.append('Set "group" to the name of the directory group that is granted.')
        return errors


def _group(settings: Settings, *, resource_settings: Settings) -> str:
    errors = PortalGroup().validate(
        resource_settings=resource_settings, entitlement_settings=settings
    )
    if errors:
        raise PermanentError(" ".join(errors))
    return str(settings["group"])


@contextmanager
def _translated(*, login: str, group: str) -> Iterator[None]:
    """The store's errors become ours. One that we don't know may pass, so it is transient."""
    try:
        yield
    except ConnectorError:
        raise
    except UnknownLogin:
        raise PermanentError(
            f"{login!r} is not in this portal's directory: add the person first."
        ) from None
    except UnknownGroup:
        raise PermanentError(
            f"There is no group {group!r}: create it, or correct the entitlement's settings."
        ) from None
    except Exception as error:
        raise TransientError(
            f"This portal's directory did not answer ({type(error).__name__}): see the worker's "
            "log."
        ) from error
