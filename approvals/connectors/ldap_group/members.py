"""Who a group's members are: from what is written in the group to people's logins."""

from __future__ import annotations

from approvals.connectors.ldap_group import names
from approvals.connectors.ldap_group.session import Session
from approvals.connectors.ldap_group.settings import BY_UID, Group, Place

LOOKUPS_AT_MOST = 100  # beyond, reading everybody page by page is cheaper


def shown_login(value: str, place: Place, base: names.Name) -> str | None:
    """The login that a member's own RDN shows, if it is below the people's base."""
    dn = names.without_uid(value)
    try:
        if names.is_under(names.parse(dn), base):
            return names.first_value(dn, attribute=place.login_attribute)
    except names.BadName:
        pass
    return None


def members(there: Session, place: Place, group: Group) -> list[str]:
    """The group's values without the placeholder; a group that is gone has none."""
    entry = there.read(group.dn, [group.attribute])
    values = entry.get(group.attribute) if entry else []
    if group.attribute == BY_UID or not place.placeholder_dn:
        return values
    placeholder = names.parse(place.placeholder_dn)
    return [value for value in values if _parsed(value) != placeholder]


def _parsed(value: str) -> names.Name | None:
    try:
        return names.parse(names.without_uid(value))
    except names.BadName:
        return None


def logins(there: Session, place: Place, members: list[str]) -> dict[str, str]:
    """The logins of those members that have one, by the member's value.

    Where the entry's own RDN shows it nothing is asked; a few others are looked up one by one, and
    many by reading everybody below the people's base once.
    """
    base = names.parse(place.people_base)
    found: dict[str, str] = {}
    unknown: dict[str, names.Name] = {}
    for value in members:
        shown = shown_login(value, place, base)
        parsed = _parsed(value)
        if shown is not None:
            found[value] = shown
        elif parsed is not None and names.is_under(parsed, base):
            unknown[value] = parsed
    if len(unknown) <= LOOKUPS_AT_MOST:
        for value in unknown:
            entry = there.read(names.without_uid(value), [place.login_attribute])
            if entry and entry.get(place.login_attribute):
                found[value] = entry.get(place.login_attribute)[0]
        return found
    everybody = {
        names.parse(entry.dn): entry.get(place.login_attribute)
        for entry in there.pages(
            place.people_base, f"({place.login_attribute}=*)", [place.login_attribute]
        )
    }
    for value, parsed in unknown.items():
        if everybody.get(parsed):
            found[value] = everybody[parsed][0]
    return found
