"""Membership of a group at an LDAP server, for a person whose entry exists there.

The group's own attribute says who is a member, so one atomic change of one value grants, and one
revokes; nothing is read first and written back. Settings are in `settings`.

A group whose class can't be empty (`groupOfNames`) would refuse to lose its last member, and the
access would stay. So a configured placeholder becomes a member before the subject does, and stays.

What it can't see: membership by other ways (a group in the group, `memberOf` kept by hand, dynamic
groups, a primary `gidNumber`); a person or group that was renamed counts as gone, unless the
renamed person's old name in the group still shows the login.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any, ClassVar

from approvals.connectors.ldap_group import names, settings
from approvals.connectors.ldap_group.members import logins, members, shown_login
from approvals.connectors.ldap_group.session import (
    CALL_SECONDS,
    ENTRY_EXISTS,
    NO_SUCH_ATTRIBUTE,
    NO_SUCH_OBJECT,
    OBJECT_CLASS_VIOLATION,
    OBSERVE_SECONDS,
    SUCCESS,
    UNWILLING,
    VALUE_EXISTS,
    Entry,
    Session,
    session,
)
from approvals.connectors.ldap_group.settings import BY_UID, Group, Place
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
    untouched,
)

_NEVER_EMPTY = frozenset(("groupofnames", "groupofuniquenames"))


@dataclass(frozen=True, slots=True)
class _Subject:
    """A person's entry. `value` is how the group names them."""

    dn: str
    value: str


class LdapGroup(Connector):
    """Adds an existing person to a group, and takes them out."""

    key: ClassVar[str] = "ldap_group"
    title: ClassVar[str] = "LDAP group"
    glyph: ClassVar[str] = "LD"
    needs_secret: ClassVar[bool] = True
    ends_at_target: ClassVar[bool] = False
    resource_fields: ClassVar[tuple[Field, ...]] = settings.RESOURCE_FIELDS
    entitlement_fields: ClassVar[tuple[Field, ...]] = settings.ENTITLEMENT_FIELDS

    def lease(self, spec: GrantSpec) -> Mapping[str, Any]:
        """One person's value in one group of one server, however its name is written.

        Where the person's entry is looked for does not count: it is the same person.
        """
        place, group = Place.read(spec.resource_settings), Group.read(spec.entitlement_settings)
        return {
            "server": [place.address.host.lower(), place.address.port],
            "group": [_spelled(group.dn), group.attribute.lower()],
            "login": spec.subject_login,
        }

    def lease_by_secret(self, spec: GrantSpec) -> bool:
        """The URL names the server."""
        del spec
        return False

    def grant(self, spec: GrantSpec) -> Receipt:
        """The person's entry is a member of the group.

        `pre_existing` in the receipt: it was one when we came, by somebody else or by an earlier
        attempt of this grant whose answer was lost. It ends with this grant all the same.
        """
        with untouched():  # one change of all or nothing, and nothing is asked after it
            group, subject, pre_existing = _add(spec)
        detail = _facts(spec, group) | {
            "member": subject.value,
            "granted": True,
            "pre_existing": pre_existing,
        }
        if pre_existing:
            detail["note"] = "A member already; the membership ends with this grant."
        return Receipt(detail=detail)

    def revoke(self, spec: GrantSpec) -> Receipt:
        """The person is no direct member of the group, whoever made them one.

        That somebody or something is gone is believed only while its surroundings can be seen.
        A name below the people's base that shows the login and has no entry any more goes too:
        the person was renamed or deleted, and a new entry of that name would get the access.
        """
        place, group = _checked(spec)
        removed: list[str] = []
        with _session(place, spec.secret) as there:
            subject = _subject(there, place, group, login=spec.subject_login)
            if subject is None and there.read(place.people_base, []) is None:
                raise PermanentError(
                    f"There is no {place.people_base} to search people in: correct the settings, "
                    "or give the bind account the right to see it; till then nobody can tell "
                    "whether the access is gone."
                )
            group_entry = there.read(group.dn, [])
            if group_entry is not None:
                value = _uid_value(spec, group) if subject is None else subject.value
                if value and _take(there, place, group, value=value):
                    removed.append(value)
                elif group.attribute != BY_UID:
                    stale = _stale_values(there, place, group, login=spec.subject_login)
                    removed += [one for one in stale if _take(there, place, group, value=one)]
        detail = _facts(spec, group) | {"granted": False, "removed": bool(removed)}
        if removed:
            detail["members_removed"] = removed
        if group_entry is None:
            detail["reason"] = f"There is no group {group.dn} any more."
        elif subject is None:
            detail["reason"] = f"There is nobody {spec.subject_login!r} any more."
        return Receipt(detail=detail)

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        """The direct members of each entitlement's group, by the logins of their entries.

        A member without a login (a group, a service's entry, somebody outside the people's base)
        is named by its DN: access that can't be named is still access. The placeholder is nobody.
        """
        place = Place.read(resource_settings)
        groups = {key: Group.read(wanted) for key, wanted in entitlements.items()}
        with _session(place, secret, seconds=OBSERVE_SECONDS) as there:
            held = {key: members(there, place, group) for key, group in groups.items()}
            by_dn = [
                value
                for key, values in held.items()
                if groups[key].attribute != BY_UID
                for value in values
            ]
            known = logins(there, place, by_dn)
        return sorted(
            {
                Held(known.get(value, value) if groups[key].attribute != BY_UID else value, key)
                for key, values in held.items()
                for value in values
            }
        )

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        """Whether the server answers over verified TLS, takes the account and shows people."""
        started = perf_counter()
        try:
            place = Place.read(resource_settings)
            with _session(place, secret) as there:
                seen = there.read(place.people_base, []) is not None
                version = there.tls_version
        except ConnectorError as error:
            return Health(ok=False, message=error.message)
        latency_ms = (perf_counter() - started) * 1000
        if not seen:
            message = (
                f"There is no {place.people_base}, or {place.bind_dn} may not see it: correct "
                '"people_base", or give that account the right to read it.'
            )
            return Health(ok=False, message=message, latency_ms=latency_ms)
        return Health(
            ok=True,
            message=f"LDAP answers at {place.address.host} over {version} as {place.bind_dn}.",
            latency_ms=latency_ms,
        )

    def how_to_connect(self, spec: GrantSpec) -> list[Step]:
        """Which account and group, and when applications notice."""
        return [
            Step("Account", f"{spec.subject_login}, with the password that it has there already."),
            Step("Group", str(spec.entitlement_settings.get("group") or spec.entitlement)),
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


def _add(spec: GrantSpec) -> tuple[Group, _Subject, bool]:
    """Make the person a member; say whether they were one.

    Raises: PermanentError, TransientError.
    """
    place, group = _checked(spec)
    with _session(place, spec.secret) as there:
        subject = _subject(there, place, group, login=spec.subject_login)
        if subject is None:
            raise PermanentError(
                f"Nobody below {place.people_base} has {place.login_attribute} "
                f"{spec.subject_login!r}: add the person there first; this connector grants "
                "groups to people who exist."
            )
        if names.parse(subject.dn) == names.parse(place.bind_dn):
            raise PermanentError(
                f"{spec.subject_login!r} is jitportal's own account at this server: it can't "
                "be a subject."
            )
        entry = there.read(group.dn, ["objectClass"])
        if entry is None:
            raise PermanentError(
                f"There is no group {group.dn}: create it, or correct the entitlement's settings."
            )
        never_empty = _can_never_be_empty(entry, group)
        if never_empty and place.placeholder_dn:
            _keep_placeholder(there, group, place.placeholder_dn)
        outcome = there.modify(group.dn, group.attribute, add=subject.value)
        pre_existing = outcome.code in (VALUE_EXISTS, ENTRY_EXISTS)
        if not pre_existing:
            there.expect(outcome, doing=f"adding {subject.value} to {group.dn}")
        elif never_empty and not place.placeholder_dn:
            _refuse_an_only_member(there, group, subject)
    return group, subject, pre_existing


def _checked(spec: GrantSpec) -> tuple[Place, Group]:
    errors = settings.login_errors(spec.subject_login)
    if errors:
        raise PermanentError(" ".join(errors))
    return Place.read(spec.resource_settings), Group.read(spec.entitlement_settings)


@contextmanager
def _session(
    place: Place, secret: str | None, *, seconds: float = CALL_SECONDS
) -> Iterator[Session]:
    with session(
        address=place.address,
        bind_dn=place.bind_dn,
        secret=secret,
        ca=place.ca,
        seconds=seconds,
    ) as there:
        yield there


def _facts(spec: GrantSpec, group: Group) -> dict[str, Any]:
    return {"group": group.dn, "attribute": group.attribute, "login": spec.subject_login}


def _subject(there: Session, place: Place, group: Group, *, login: str) -> _Subject | None:
    """The one person with that login; None if there is nobody.

    Raises: PermanentError also when several have it, or the entry has no name for this group.
    """
    found = there.find(place.people_base, names.equals(place.login_attribute, login), ["uid"])
    if not found:
        return None
    if len(found) > 1:
        raise PermanentError(
            f"Several entries below {place.people_base} have {place.login_attribute} {login!r}: "
            "make it one, or narrow people_base; nobody can tell which one is meant."
        )
    entry = found[0]
    if group.attribute != BY_UID:
        return _Subject(dn=entry.dn, value=entry.dn)
    uids = entry.get("uid")
    same = [uid for uid in uids if uid.casefold() == login.casefold()]
    if not same and len(uids) != 1:
        raise PermanentError(
            f"{entry.dn} has {len(uids) or 'no'} values of uid and none is {login!r}: memberUid "
            "needs one that is theirs."
        )
    return _Subject(dn=entry.dn, value=(same or uids)[0])


def _uid_value(spec: GrantSpec, group: Group) -> str:
    """How a group names somebody whose entry is gone, where that can be known."""
    return spec.subject_login if group.attribute == BY_UID else ""


def _can_never_be_empty(entry: Entry, group: Group) -> bool:
    classes = {name.lower() for name in entry.get("objectClass")}
    return group.attribute != BY_UID and bool(classes & _NEVER_EMPTY)


def _keep_placeholder(there: Session, group: Group, placeholder_dn: str) -> None:
    outcome = there.modify(group.dn, group.attribute, add=placeholder_dn)
    if outcome.code not in (VALUE_EXISTS, ENTRY_EXISTS):
        there.expect(outcome, doing=f"adding the placeholder {placeholder_dn} to {group.dn}")


def _refuse_an_only_member(there: Session, group: Group, subject: _Subject) -> None:
    """Access that could not be taken away again is not confirmed."""
    entry = there.read(group.dn, [group.attribute])
    values = entry.get(group.attribute) if entry else []
    if len(values) == 1:
        raise PermanentError(
            f"{subject.dn} is the only member of {group.dn}, which can't be empty, so the access "
            'could not be taken away: set "placeholder_dn" for the resource.'
        )


def _take(there: Session, place: Place, group: Group, *, value: str) -> bool:
    """Take one member out; False if it was none. The last one is exchanged for the placeholder."""
    outcome = there.modify(group.dn, group.attribute, delete=value)
    if outcome.code == OBJECT_CLASS_VIOLATION and place.placeholder_dn:
        placeholder = place.placeholder_dn
        outcome = there.modify(group.dn, group.attribute, add=placeholder, delete=value)
        if outcome.code == VALUE_EXISTS:  # somebody put it there meanwhile
            outcome = there.modify(group.dn, group.attribute, delete=value)
    if outcome.code == NO_SUCH_OBJECT:
        there.believe_absence(outcome, dn=group.dn)
        return False
    if outcome.code == NO_SUCH_ATTRIBUTE:
        return False
    if outcome.code == UNWILLING and not _is_member(there, group, value):
        return False  # what Active Directory says of somebody who is no member
    if outcome.code == OBJECT_CLASS_VIOLATION:
        raise PermanentError(
            f"{value} is the last member of {group.dn}, which can't be empty: add another member "
            'there by hand to end this access, and set "placeholder_dn" for the resource.'
        )
    there.expect(outcome, doing=f"removing {value} from {group.dn}")
    return outcome.code == SUCCESS


def _is_member(there: Session, group: Group, value: str) -> bool:
    return there.read(group.dn, [], where=names.equals(group.attribute, value)) is not None


def _stale_values(there: Session, place: Place, group: Group, *, login: str) -> list[str]:
    """Members below the people's base whose own name shows the login, and that have no entry."""
    entry = there.read(group.dn, [group.attribute])
    base = names.parse(place.people_base)
    stale: list[str] = []
    for value in entry.get(group.attribute) if entry else []:
        shown = shown_login(value, place, base)
        if (
            shown is not None
            and shown.casefold() == login.casefold()
            and there.read(names.without_uid(value), []) is None
        ):
            stale.append(value)
    return stale


def _spelled(dn: str) -> list[list[tuple[str, str]]]:
    """Return a name in one spelling, whatever way it was written."""
    return [sorted(pairs) for pairs in names.parse(dn)]
