"""The settings of SCIM resources and entitlements: fields, judgement, and the checked result."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

from approvals.connectors.protocol import Field, PermanentError, Settings
from approvals.connectors.scim_group.wire import trust

BY_FILTER, BY_VALUE = "filter", "value"
LONGEST_CHARACTERS = 1024

RESOURCE_FIELDS: tuple[Field, ...] = (
    Field(
        name="url",
        label="SCIM base",
        help="The provider's SCIM 2.0 base, such as https://id.example.com/scim/v2.",
        required=True,
    ),
    Field(
        name="login_suffix",
        label="Suffix of userName",
        help="What the provider's userName has after the sign-in name, such as @example.com.",
    ),
    Field(
        name="remove_by",
        label="Removal",
        help='"filter" is the standard and the default. "value" only for a provider whose manual '
        "asks for it: one that follows the standard would empty the group.",
        choices=(BY_FILTER, BY_VALUE),
    ),
    Field(
        name="ca",
        label="Authority",
        help="PEM certificates that the provider's is verified against, instead of the system's.",
        kind="lines",
    ),
)
ENTITLEMENT_FIELDS: tuple[Field, ...] = (
    Field(
        name="group_id",
        label="Group's id",
        help="The id that the provider gave the group (not its name, which may change).",
        required=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Provider:
    """A checked resource. `base` has no slash at its end."""

    base: str
    login_suffix: str
    remove_by: str
    ca: str | None

    @classmethod
    def read(cls, settings: Settings) -> Provider:
        """Raises: PermanentError."""
        _refuse(errors(resource_settings=settings, entitlement_settings=None))
        return cls(
            base=settings["url"].rstrip("/"),
            login_suffix=settings.get("login_suffix") or "",
            remove_by=settings.get("remove_by") or BY_FILTER,
            ca=settings.get("ca") or None,
        )

    def user_name(self, login: str) -> str:
        """What the provider calls the portal's `login`.

        Raises: PermanentError.
        """
        try:
            login.encode()
        except UnicodeEncodeError:
            raise PermanentError("The subject's login is no text that SCIM can hold.") from None
        if not login.strip() or len(login) > LONGEST_CHARACTERS:
            raise PermanentError(
                f"The subject's login must have 1 to {LONGEST_CHARACTERS} characters."
            )
        return f"{login}{self.login_suffix}"

    def login(self, user_name: str) -> str:
        """What the portal calls the provider's `user_name`."""
        suffix = self.login_suffix
        if suffix and user_name.casefold().endswith(suffix.casefold()):
            return user_name[: -len(suffix)]
        return user_name


def group_path(settings: Settings) -> str:
    """Where the group of an entitlement is, below the base.

    Raises: PermanentError.
    """
    _refuse(_entitlement_errors(settings))
    return f"/Groups/{quote(settings['group_id'], safe='')}"


def errors(*, resource_settings: Settings, entitlement_settings: Settings | None) -> list[str]:
    """What is wrong, a sentence each."""
    found = _unknown(resource_settings, RESOURCE_FIELDS)
    found += _url_errors(resource_settings.get("url"))
    suffix = _given(resource_settings, "login_suffix")
    if suffix is not None and not _is_text(suffix):
        found.append('Set "login_suffix" to a text such as @example.com, or leave it out.')
    if _given(resource_settings, "remove_by") not in (None, BY_FILTER, BY_VALUE):
        found.append(f'Set "remove_by" to "{BY_FILTER}" or "{BY_VALUE}".')
    ca = _given(resource_settings, "ca")
    if ca is not None:
        try:
            if not _is_text(ca, longest=None):
                raise ValueError("no text")
            trust(ca)
        except (ValueError, PermanentError):
            found.append('Set "ca" to PEM certificates, or leave it out.')
    if entitlement_settings is not None:
        found += _entitlement_errors(entitlement_settings)
    return found


def _url_errors(url: object) -> list[str]:
    wanted = (
        'Set "url" to the provider\'s SCIM base, such as https://id.example.com/scim/v2, without '
        "a name, a query or a fragment in it."
    )
    if not isinstance(url, str) or not _is_text(url) or not url.isascii() or " " in url:
        return [wanted]
    try:
        found = urlsplit(url)
        _ = found.port
    except ValueError:
        return [wanted]
    bare = found.hostname and "@" not in found.netloc and "?" not in url and "#" not in url
    if found.scheme not in ("https", "http") or not bare:
        return [wanted]
    if found.scheme == "http" and not _is_loopback(found.hostname or ""):
        return ['Set "url" to an https:// address: the token would travel in clear text.']
    return []


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _entitlement_errors(settings: Settings) -> list[str]:
    found = _unknown(settings, ENTITLEMENT_FIELDS)
    group_id = settings.get("group_id")
    # "." and ".." would be resolved as steps of the path.
    if not _is_text(group_id) or not str(group_id).strip() or group_id in (".", ".."):
        found.append('Set "group_id" to the id that the provider gave the group.')
    return found


def _is_text(value: object, *, longest: int | None = LONGEST_CHARACTERS) -> bool:
    """Whether it is text that can be sent, of one line unless it may be of any length."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return longest is None or (len(value) <= longest and value.isprintable())


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


def _refuse(found: list[str]) -> None:
    if found:
        raise PermanentError(" ".join(found))
