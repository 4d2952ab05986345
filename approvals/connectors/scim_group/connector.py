"""Membership of a group at a SCIM 2.0 provider, for a user who exists there.

One PATCH of one member grants, and one revokes; the group is never written back as a whole, so what
others change meanwhile stays. Settings are in `settings`.

Removal names the member by a filter in the path (RFC 7644 3.5.2.2). The other form that is in use,
a list of values beside the path `members`, is only sent where the settings ask for it: by the
standard that path without a filter means *every* member, so trying it could empty a group.

What it can't see: users and groups that were given another id, groups in the group. A user whose
userName was changed counts as gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from time import perf_counter
from typing import Any, ClassVar
from urllib.parse import quote

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
from approvals.connectors.scim_group import settings
from approvals.connectors.scim_group.client import (
    CALL_SECONDS,
    OBSERVE_SECONDS,
    Answer,
    Client,
    Refused,
    conversation,
)
from approvals.connectors.scim_group.settings import (
    BY_VALUE,
    LONGEST_CHARACTERS,
    Provider,
    group_path,
)

LOOKUPS_AT_MOST = 25  # beyond, reading everybody page by page is cheaper
PAGE_USERS = 200
_NOT_THAT_FORM = ("invalidPath", "invalidSyntax")  # RFC 7644 3.12
_NO_TARGET = "noTarget"


class ScimGroup(Connector):
    """Adds an existing user to a group, and takes them out."""

    key: ClassVar[str] = "scim_group"
    title: ClassVar[str] = "SCIM group"
    glyph: ClassVar[str] = "SC"
    needs_secret: ClassVar[bool] = True
    ends_at_target: ClassVar[bool] = False
    resource_fields: ClassVar[tuple[Field, ...]] = settings.RESOURCE_FIELDS
    entitlement_fields: ClassVar[tuple[Field, ...]] = settings.ENTITLEMENT_FIELDS

    def lease(self, spec: GrantSpec) -> Mapping[str, Any]:
        """One person's membership of one group of one provider."""
        provider = Provider.read(spec.resource_settings)
        return {
            "provider": provider.base.lower(),
            "group": spec.entitlement_settings["group_id"],
            "login": provider.user_name(spec.subject_login),
        }

    def lease_by_secret(self, spec: GrantSpec) -> bool:
        """The URL names the provider."""
        del spec
        return False

    def grant(self, spec: GrantSpec) -> Receipt:
        """The user is a member of the group.

        `pre_existing` in the receipt: they were one when we came, by somebody else or by an earlier
        attempt of this grant whose answer was lost. It ends with this grant all the same.
        """
        with untouched():
            provider, path, user_name = _checked(spec)
        with _conversation(provider, spec.secret) as client:
            with untouched():
                user, group = _grantable(client, path, user_name)
            pre_existing = user["id"] in _member_ids(group)
            if not pre_existing:
                with untouched(Refused):
                    _add(client, path, user["id"])
                listed = _member_ids(client.get(path))
                # Nobody listed says nothing: some providers never show members.
                if listed and user["id"] not in listed:
                    raise NotYet(
                        "The SCIM provider answered that the member was added, but does not list "
                        "it. It is tried again."
                    )
        detail = _facts(spec, user_name) | {
            "user_id": user["id"],
            "granted": True,
            "pre_existing": pre_existing,
        }
        if _is_id(group.data.get("displayName")):
            detail["group"] = group.data["displayName"]
        if pre_existing:
            detail["note"] = "A member already; the membership ends with this grant."
        return Receipt(detail=detail)

    def revoke(self, spec: GrantSpec) -> Receipt:
        """The user is no direct member of the group, whoever made them one.

        The removal is sent whatever the group lists: that may lag behind, or be cut short.

        Raises: NotYet also when the provider confirms and lists the member still.
        """
        provider, path, user_name = _checked(spec)
        detail = _facts(spec, user_name) | {"granted": False, "removed": False}
        with _conversation(provider, spec.secret) as client:
            user = _user(client, user_name)
            if user is None:
                detail["reason"] = f"There is no user {user_name!r} any more."
                return Receipt(detail=detail)
            detail["user_id"] = user["id"]
            group = client.get(path, understood=(404,))
            if not group.ok:
                detail["reason"] = "There is no group of that id any more."
                return Receipt(detail=detail)
            removed, refused = _remove(client, path, user["id"], by=provider.remove_by)
            listed = _member_ids(client.get(path, understood=(404,)))
            # Nobody listed says nothing. Some refuse to remove a user who is none of those listed.
            if refused is not None and (not listed or user["id"] in listed):
                raise refused
            detail["removed"] = removed
            if user["id"] in listed:
                raise NotYet(
                    "The SCIM provider answered that the member was removed, but lists it still. "
                    "It is tried again."
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
        """The direct members of each entitlement's group, by the portal's logins.

        A member who is no user of the provider's (a group, somebody deleted) is named by its id:
        access that can't be named is still access. A group that is gone has none.
        """
        provider = Provider.read(resource_settings)
        paths = {key: group_path(wanted) for key, wanted in entitlements.items()}
        with _conversation(provider, secret, seconds=OBSERVE_SECONDS) as client:
            members = {
                key: _member_ids(client.get(path, understood=(404,))) for key, path in paths.items()
            }
            user_names = _user_names(client, set().union(*members.values()))
        return sorted(
            Held(provider.login(user_names[one]) if one in user_names else one, key)
            for key, ids in members.items()
            for one in ids
        )

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        """Whether the provider answers, takes the token, and can do what membership needs."""
        started = perf_counter()
        try:
            provider = Provider.read(resource_settings)
            with _conversation(provider, secret) as client:
                config = client.get("/ServiceProviderConfig", understood=(404, 501)).data
                listed = client.get("/Users", params={"startIndex": "1", "count": "1"})
                _resources(listed)
        except ConnectorError as error:
            return Health(ok=False, message=error.message)
        latency_ms = (perf_counter() - started) * 1000
        for name in ("patch", "filter"):
            feature = config.get(name)
            if isinstance(feature, dict) and feature.get("supported") is False:
                return Health(
                    ok=False,
                    message=f"The SCIM provider says that it does not support {name}, which "
                    "membership needs.",
                    latency_ms=latency_ms,
                )
        return Health(
            ok=True,
            message="The SCIM provider answers and takes the token.",
            latency_ms=latency_ms,
        )

    def how_to_connect(self, spec: GrantSpec) -> list[Step]:
        """Which account, and when applications notice."""
        suffix = spec.resource_settings.get("login_suffix") or ""
        return [
            Step("Account", f"{spec.subject_login}{suffix}"),
            Step("Access", f"{spec.entitlement} at {spec.resource}"),
            Step(
                "Takes effect",
                f"When {spec.resource} next reads the group. If you are signed in there already, "
                "sign out and in again.",
            ),
        ]

    def validate(
        self, *, resource_settings: Settings, entitlement_settings: Settings | None
    ) -> list[str]:
        """See `settings` for what there is."""
        return settings.errors(
            resource_settings=resource_settings, entitlement_settings=entitlement_settings
        )


def _checked(spec: GrantSpec) -> tuple[Provider, str, str]:
    provider = Provider.read(spec.resource_settings)
    return provider, group_path(spec.entitlement_settings), provider.user_name(spec.subject_login)


def _conversation(
    provider: Provider, secret: str | None, *, seconds: float = CALL_SECONDS
) -> AbstractContextManager[Client]:
    return conversation(base=provider.base, token=secret, ca=provider.ca, seconds=seconds)


def _grantable(client: Client, path: str, user_name: str) -> tuple[dict[str, Any], Answer]:
    """The user and the group, if they are there. Raises: PermanentError, TransientError."""
    user = _user(client, user_name)
    if user is None:
        raise PermanentError(
            f"The SCIM provider has no user {user_name!r}: create the user there first; this "
            "connector grants groups to users who exist."
        )
    if user.get("active") is False:
        raise PermanentError(
            f"The user {user_name!r} is deactivated at the SCIM provider: activate the user there "
            "first."
        )
    group = client.get(path, understood=(404,))
    if not group.ok:
        raise PermanentError(
            "The SCIM provider has no group of that id: create it, or correct the entitlement's "
            "settings."
        )
    return user, group


def _facts(spec: GrantSpec, user_name: str) -> dict[str, Any]:
    return {
        "group_id": spec.entitlement_settings["group_id"],
        "login": spec.subject_login,
        "user_name": user_name,
    }


def _quoted(text: str) -> str:
    """A value in a filter. Source: RFC 7644 3.4.2.2, which takes JSON's strings."""
    return json.dumps(text, ensure_ascii=False)


def _resources(answer: Answer) -> list[dict[str, Any]]:
    """The resources of a list. Source: RFC 7644 3.4.2.

    Raises: PermanentError if it is no list: "nothing found" is said by lists alone.
    """
    total, found = answer.data.get("totalResults"), answer.data.get("Resources") or []
    if not isinstance(total, int) or not isinstance(found, list):
        raise PermanentError(
            "The answer is no SCIM list: set the url to the provider's SCIM 2.0 base, which often "
            "ends with /v2."
        )
    return [one for one in found if isinstance(one, dict)]


def _is_id(value: object) -> bool:
    """Whether it can be an id or a name: text that can be sent, shown and stored."""
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= LONGEST_CHARACTERS


def _user(client: Client, user_name: str) -> dict[str, Any] | None:
    """The one user of that name, with an id; None if there is nobody.

    Raises: PermanentError also for several, and when the provider does not filter: its first users
    are somebody else, and "not among them" does not mean that nobody is there.
    """
    answer = client.get("/Users", params={"filter": f"userName eq {_quoted(user_name)}"})
    listed = _resources(answer)
    same = [
        one
        for one in listed
        if str(one.get("userName", "")).casefold() == user_name.casefold() and _is_id(one.get("id"))
    ]
    if not same:
        if listed or answer.data["totalResults"]:
            raise PermanentError(
                f"Asked for the user {user_name!r}, the SCIM provider lists others or none at all: "
                "it must support filters by userName."
            )
        return None
    exactly = [one for one in same if one["userName"] == user_name]
    if len(same) > 1 and len(exactly) != 1:
        raise PermanentError(
            f"The SCIM provider has several users {user_name!r}: nobody can tell which one is "
            "meant."
        )
    return (exactly or same)[0]


def _member_ids(group: Answer) -> set[str]:
    """The ids that the group lists; none for a group that is gone, or that shows no members."""
    listed = group.data.get("members") if group.ok else None
    if not isinstance(listed, list):
        return set()
    return {
        one["value"]
        for one in listed
        if isinstance(one, dict) and isinstance(one.get("value"), str)
    }


def _add(client: Client, path: str, user_id: str) -> None:
    """Add one member; asked for in the other form where the first is not understood."""
    value = [{"value": user_id}]
    answer = client.patch(path, {"op": "add", "path": "members", "value": value}, understood=(400,))
    if not answer.ok and answer.scim_type in _NOT_THAT_FORM:
        answer = client.patch(path, {"op": "add", "value": {"members": value}}, understood=(400,))
    if not answer.ok:
        raise client.judged(answer, doing="to add the member")


def _remove(
    client: Client, path: str, user_id: str, *, by: str
) -> tuple[bool, PermanentError | None]:
    """Remove one member; whether that was done, and a refusal. Neither if they were none."""
    operation: dict[str, Any] = {"op": "remove", "path": f"members[value eq {_quoted(user_id)}]"}
    if by == BY_VALUE:
        operation = {"op": "remove", "path": "members", "value": [{"value": user_id}]}
    answer = client.patch(path, operation, understood=(400, 404))
    if answer.ok:
        return True, None
    if answer.status == 404 or answer.scim_type == _NO_TARGET:
        return False, None
    refused = client.judged(answer, doing="to remove the member")
    if by != BY_VALUE:
        refused = PermanentError(
            f"{refused.message} Remove the member there by hand to end this access; if the "
            'provider\'s manual wants members to be removed by value, set "remove_by" to "value".'
        )
    return False, refused


def _user_names(client: Client, ids: set[str]) -> dict[str, str]:
    """The userName of each id that is a user's: asked one by one, or, for many, page by page."""
    if len(ids) <= LOOKUPS_AT_MOST:
        found = {
            one: client.get(f"/Users/{quote(one, safe='')}", understood=(400, 404))
            for one in ids
            if one.strip(".")
        }
        return {
            one: answer.data["userName"]
            for one, answer in found.items()
            if answer.ok and isinstance(answer.data.get("userName"), str)
        }
    return {
        user["id"]: user["userName"]
        for user in _everybody(client)
        if user.get("id") in ids and isinstance(user.get("userName"), str)
    }


def _everybody(client: Client) -> Iterator[dict[str, Any]]:
    """Every user, page by page, whatever the size of the provider's pages."""
    start = 1
    while True:
        answer = client.get(
            "/Users",
            params={
                "attributes": "userName",
                "startIndex": str(start),
                "count": str(PAGE_USERS),
            },
        )
        listed = _resources(answer)
        yield from listed
        start += len(listed)
        if not listed or start > answer.data["totalResults"]:
            return
