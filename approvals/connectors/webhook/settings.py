"""What the webhook connector is told, checked. No network."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from ipaddress import ip_network
from urllib.parse import SplitResult, urlsplit

from approvals.connectors.protocol import Field, PermanentError, Settings
from approvals.connectors.webhook.address import Network, network_errors

LONGEST_URL_CHARACTERS = 2_000
LONGEST_ROLE_CHARACTERS = 200

RESOURCE_FIELDS = (
    Field(name="url", label="URL", help="Where events are sent: https only.", required=True),
    Field(
        name="allow_private",
        label="Allowed networks",
        help="Networks that are not public and that the receiver may be in, such as 10.20.0.0/16.",
        kind="list",
    ),
    Field(
        name="ca",
        label="Certificate authority",
        help="PEM of the authority that signed the receiver's certificate, if it is your own.",
        kind="lines",
    ),
)
ENTITLEMENT_FIELDS = (
    Field(
        name="role",
        label="Role",
        help="What the receiver calls that which is granted; sent as it is.",
        required=True,
    ),
)

# Nothing that any of the parsers between here and the receiver could read in two ways.
_PLAIN_URL = re.compile(r"https://[!-\[\]-~]+", re.IGNORECASE)
_PLAIN_TEXT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked URL, and how its receiver may be reached."""

    host: str
    port: int
    path: str
    query: str
    allowed: tuple[Network, ...]
    ca: str | None

    @classmethod
    def read(cls, resource: Settings) -> Endpoint:
        """What the settings of a resource say.

        Raises: PermanentError.
        """
        found = errors(resource=resource, entitlement=None)
        if found:
            raise PermanentError(" ".join(found))
        url = urlsplit(resource["url"])
        return cls(
            host=url.hostname or "",
            port=url.port or 443,
            path=url.path or "/",
            query=url.query,
            allowed=tuple(ip_network(text) for text in resource.get("allow_private") or ()),
            ca=resource.get("ca") or None,
        )

    @property
    def target(self) -> str:
        """Path and query, as a request line has them."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def context(self) -> ssl.SSLContext:
        """TLS that verifies, by the system's authorities or by the one that was given."""
        return ssl.create_default_context(cadata=self.ca)

    def same_origin(self, url: SplitResult) -> bool:
        """Whether `url` leads to the same scheme, host and port, with no user in it."""
        try:
            port = url.port or 443
        except ValueError:
            return False
        return (
            url.scheme == "https"
            and url.hostname == self.host
            and port == self.port
            and "@" not in url.netloc
        )


def is_text(value: object, *, longest: int) -> bool:
    """Whether `value` is a text that may be sent: not empty, no control characters."""
    return isinstance(value, str) and len(value) <= longest and bool(_PLAIN_TEXT.fullmatch(value))


def is_plain_url(value: object) -> bool:
    """Whether `value` is an https URL of printable ASCII without a backslash."""
    return (
        isinstance(value, str)
        and len(value) <= LONGEST_URL_CHARACTERS
        and bool(_PLAIN_URL.fullmatch(value))
    )


def errors(*, resource: Settings, entitlement: Settings | None) -> list[str]:
    """What is wrong with the settings, a sentence each."""
    found = _unknown(resource, RESOURCE_FIELDS)
    found += _url_errors(resource.get("url"))
    networks = resource.get("allow_private") or []
    if isinstance(networks, list | tuple):
        for network in networks:
            found += network_errors(network)
    else:
        found += network_errors(None)
    found += _ca_errors(resource.get("ca"))
    if entitlement is None:
        return found
    found += _unknown(entitlement, ENTITLEMENT_FIELDS)
    if not is_text(entitlement.get("role"), longest=LONGEST_ROLE_CHARACTERS):
        found.append(f'Set "role" to a text of at most {LONGEST_ROLE_CHARACTERS} characters.')
    return found


def _url_errors(url: object) -> list[str]:
    if not isinstance(url, str) or not is_plain_url(url):
        return ['Set "url" to a URL that begins with https:// (plain ASCII, a name as xn--…).']
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return ['The host or the port in "url" can\'t be read.']
    if not host or "%" in host:
        return ['"url" must name a host.']
    if "@" in parts.netloc:
        return ['"url" must not hold a user or password: messages are signed with the secret.']
    if "#" in url:
        return ['"url" must not have a fragment (#).']
    return []


def _ca_errors(ca: object) -> list[str]:
    if not ca:
        return []
    problem = ['"ca" must be the PEM text of a certificate (-----BEGIN CERTIFICATE-----).']
    if not isinstance(ca, str) or not ca.isascii():
        return problem
    try:
        ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError):
        return problem
    return []


def _unknown(settings: Settings, fields: tuple[Field, ...]) -> list[str]:
    known = [field.name for field in fields]
    return [
        f"Unknown setting {name!r}: use {' or '.join(known)}."
        for name in sorted(set(settings) - set(known))
    ]
