"""The settings of LDAP resources and entitlements: fields, judgement, and the checked result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from approvals.connectors.ldap_group import names
from approvals.connectors.ldap_group.wire import Address, trust
from approvals.connectors.protocol import Field, PermanentError, Settings

ATTRIBUTES = ("member", "uniqueMember", "memberUid")
BY_UID = "memberUid"
LONGEST_LOGIN_CHARACTERS = 256

RESOURCE_FIELDS: tuple[Field, ...] = (
    Field(
        name="url",
        label="Server",
        help="ldaps://host, or ldap://host (which starts TLS first); with :port if it is another.",
        required=True,
    ),
    Field(
        name="bind_dn",
        label="Bind DN",
        help="The portal's own account there; its password is the secret.",
        required=True,
    ),
    Field(
        name="people_base",
        label="People",
        help="The entry below which people are searched, such as ou=people,dc=example,dc=com.",
        required=True,
    ),
    Field(
        name="login_attribute",
        label="Login attribute",
        help="What holds the sign-in name: uid if left out; sAMAccountName at Active Directory.",
    ),
    Field(
        name="placeholder_dn",
        label="Placeholder member",
        help="A DN that is kept as a member of groups that can't be empty, such as "
        "cn=nobody,dc=example,dc=com. It should name no account.",
    ),
    Field(
        name="ca",
        label="Authority",
        help="PEM certificates that the server's is verified against, instead of the system's.",
        kind="lines",
    ),
)
ENTITLEMENT_FIELDS: tuple[Field, ...] = (
    Field(name="group", label="Group", help="The DN of the group that is granted.", required=True),
    Field(
        name="attribute",
        label="Member attribute",
        help="What holds the members: member if left out.",
        choices=ATTRIBUTES,
    ),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A checked resource."""

    address: Address
    bind_dn: str
    people_base: str
    login_attribute: str
    placeholder_dn: str | None
    ca: str | None

    @classmethod
    def read(cls, settings: Settings) -> Place:
        """Raises: PermanentError."""
        _refuse(errors(resource_settings=settings, entitlement_settings=None))
        return cls(
            address=Address.parse(settings["url"]),
            bind_dn=settings["bind_dn"],
            people_base=settings["people_base"],
            login_attribute=settings.get("login_attribute") or "uid",
            placeholder_dn=settings.get("placeholder_dn") or None,
            ca=settings.get("ca") or None,
        )


@dataclass(frozen=True, slots=True)
class Group:
    """A checked entitlement."""

    dn: str
    attribute: str

    @classmethod
    def read(cls, settings: Settings) -> Group:
        """Raises: PermanentError."""
        _refuse(_entitlement_errors(settings))
        return cls(dn=settings["group"], attribute=settings.get("attribute") or "member")


def errors(*, resource_settings: Settings, entitlement_settings: Settings | None) -> list[str]:
    """What is wrong, a sentence each."""
    found = _unknown(resource_settings, RESOURCE_FIELDS)
    try:
        Address.parse(_text(resource_settings.get("url")))
    except ValueError:
        found.append(
            'Set "url" to ldaps://host or ldap://host, with :port where it is another one, and '
            "nothing after it."
        )
    for name in ("bind_dn", "people_base"):
        found += _name_errors(name, resource_settings.get(name))
    if _given(resource_settings, "placeholder_dn") is not None:
        found += _name_errors("placeholder_dn", resource_settings["placeholder_dn"])
    attribute = _given(resource_settings, "login_attribute")
    if attribute is not None and not (isinstance(attribute, str) and names.is_attribute(attribute)):
        found.append('Set "login_attribute" to the name of an attribute, such as uid.')
    if _given(resource_settings, "ca") is not None:
        try:
            trust(_text(resource_settings["ca"]))
        except (ValueError, PermanentError):
            found.append('Set "ca" to PEM certificates, or leave it out.')
    if entitlement_settings is not None:
        found += _entitlement_errors(entitlement_settings)
    return found


def login_errors(login: str) -> list[str]:
    """What keeps `login` from being anybody's name at an LDAP server."""
    try:
        login.encode()
    except UnicodeEncodeError:
        return ["The subject's login is no text that LDAP can hold."]
    if not login.strip() or len(login) > LONGEST_LOGIN_CHARACTERS:
        return [f"The subject's login must have 1 to {LONGEST_LOGIN_CHARACTERS} characters."]
    return []


def _entitlement_errors(settings: Settings) -> list[str]:
    found = _unknown(settings, ENTITLEMENT_FIELDS)
    found += _name_errors("group", settings.get("group"))
    if _given(settings, "attribute") not in (None, *ATTRIBUTES):
        found.append(f'Set "attribute" to one of {", ".join(ATTRIBUTES)}.')
    return found


def _given(settings: Settings, name: str) -> Any:
    """What is set; None for what is left out, or left empty in a form."""
    value = settings.get(name)
    return None if isinstance(value, str) and not value else value


def _unknown(settings: Settings, fields: tuple[Field, ...]) -> list[str]:
    known = [field.name for field in fields]
    return [
        f"Unknown setting {name!r}: use {', '.join(known)}."
        for name in sorted(set(settings) - set(known))
    ]


def _name_errors(what: str, value: object) -> list[str]:
    try:
        names.parse(_text(value))
    except ValueError:
        return [f'Set "{what}" to a distinguished name, such as cn=it,dc=example,dc=com.']
    return []


def _text(value: object) -> str:
    """The text; ValueError for what is none, or can't be sent."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("no text")
    value.encode()
    return value


def _refuse(found: list[str]) -> None:
    if found:
        raise PermanentError(" ".join(found))
