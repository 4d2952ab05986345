"""One short session at an LDAP server: bound, limited in time, with errors in our words.

Referrals are never followed: the password would go to whichever server was named.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from approvals.connectors.ldap_group.wire import Address, Deadline, Server, Tls, ldap3, trust
from approvals.connectors.protocol import ConnectorError, PermanentError, TransientError
from approvals.connectors.secrets import redact

LDAPException = ldap3.core.exceptions.LDAPException


CALL_SECONDS = 7.0
OBSERVE_SECONDS = 60.0
RECEIVE_SECONDS = 4  # for one packet; whole seconds, as ldap3 wants them
PAGE_ENTRIES = 500
LONGEST_SAID = 300

# Result codes. Source: RFC 4511 appendix A.
SUCCESS = 0
NO_SUCH_ATTRIBUTE = 16
VALUE_EXISTS = 20
NO_SUCH_OBJECT = 32
UNWILLING = 53
OBJECT_CLASS_VIOLATION = 65
ENTRY_EXISTS = 68
_SIZE_LIMIT = 4
_REFERRAL = 10
_PAGED_RESULTS = "1.2.840.113556.1.4.319"

# Somebody must change something first. What isn't listed (busy, unavailable, time limit, a code
# that we don't know) is tried again: perhaps in vain, but never given up.
_FOR_GOOD = {
    2: "The server does not speak this part of LDAP.",
    7: "The server does not take a name and a password.",
    8: "The server wants stronger authentication.",
    _REFERRAL: "This server passes the change on to another one: name that one in the url.",
    13: "The server wants more confidentiality than this connection has.",
    NO_SUCH_ATTRIBUTE: "Correct the attribute in the entitlement's settings.",
    17: "The server doesn't know the attribute: correct it in the settings.",
    18: "The attribute can't be searched that way: correct it in the settings.",
    19: "The server's rules forbid this value.",
    21: "The attribute doesn't take such a value: correct it in the settings.",
    NO_SUCH_OBJECT: "Correct the name, or give the bind account the right to see it.",
    34: "The name is malformed: correct it in the settings.",
    48: "The server does not let this account bind with a password.",
    49: "Correct the bind_dn or the resource's secret.",
    50: "Give the bind account the right to read people and to write the group's members.",
    UNWILLING: "The server's policy forbids it.",
    OBJECT_CLASS_VIOLATION: "The group's object class forbids it: correct the attribute.",
    69: "The server protects this entry's object class.",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it was read: values by the attribute's name in lower case."""

    dn: str
    values: dict[str, list[str]]

    def get(self, attribute: str) -> list[str]:
        """The values of the attribute; none if it isn't there or may not be read."""
        return self.values.get(attribute.lower(), [])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ended. `matched` is the nearest entry, if a name is unknown."""

    code: int
    matched: str
    said: str


class Session:
    """A bound connection. What it raises is already in the connector's words."""

    def __init__(self, connection: Any, *, secret: str) -> None:
        self._connection = connection
        self._secret = secret

    @property
    def tls_version(self) -> str:
        """Such as `TLSv1.3`."""
        return str(self._connection.socket.version())

    def read(self, dn: str, attributes: Sequence[str], *, where: str = "") -> Entry | None:
        """The entry of that name, if it matches the filter `where`; None if there is none.

        None is said only where some entry above the name is visible: an account that lost its
        rights is told "no such object" too, and that must not pass for "gone".

        Raises: PermanentError, TransientError.
        """
        outcome, entries = self._search(dn, where or "(objectClass=*)", attributes, ldap3.BASE)
        if outcome.code == NO_SUCH_OBJECT:
            self.believe_absence(outcome, dn=dn)
            return None
        self.expect(outcome, doing=f"reading {dn}")
        return entries[0] if entries else None

    def find(self, base: str, where: str, attributes: Sequence[str]) -> list[Entry]:
        """At most two entries below `base` that match: none, the one, or a sign of ambiguity.

        Raises: PermanentError also when there is no such base; TransientError.
        """
        outcome, entries = self._search(base, where, attributes, ldap3.SUBTREE, size_limit=2)
        if outcome.code != _SIZE_LIMIT or len(entries) < 2:
            self.expect(outcome, doing=f"searching {base}")
        return entries

    def pages(self, base: str, where: str, attributes: Sequence[str]) -> Iterator[Entry]:
        """Every entry below `base` that matches, page by page. Source: RFC 2696.

        Raises: PermanentError, TransientError.
        """
        cookie: Any = None
        while True:
            outcome, entries = self._search(
                base, where, attributes, ldap3.SUBTREE, page=PAGE_ENTRIES, cookie=cookie
            )
            self.expect(outcome, doing=f"searching {base}")
            yield from entries
            controls = self._connection.result.get("controls") or {}
            cookie = controls.get(_PAGED_RESULTS, {}).get("value", {}).get("cookie")
            if not cookie:
                return

    def modify(self, dn: str, attribute: str, *, add: str = "", delete: str = "") -> Outcome:
        """Change values of one attribute, all or nothing; the caller judges the outcome.

        Raises: PermanentError for a referral, TransientError when the server doesn't answer.
        """
        changes = []
        if add:
            changes.append((ldap3.MODIFY_ADD, [add.encode()]))
        if delete:
            changes.append((ldap3.MODIFY_DELETE, [delete.encode()]))
        self._connection.modify(dn, {attribute: changes})
        return _outcome(self._connection.result)

    def expect(self, outcome: Outcome, *, doing: str) -> None:
        """Raise what the outcome means, unless it is success."""
        if outcome.code != SUCCESS:
            raise _judged(outcome, doing=doing, secret=self._secret)

    def believe_absence(self, outcome: Outcome, *, dn: str) -> None:
        """Raise PermanentError if "no such object" may mean that nothing at all may be seen."""
        if not outcome.matched:
            raise PermanentError(
                f"The LDAP server shows nothing of {dn}, not even an entry above it: correct the "
                "name, or give the bind account the right to see it."
            )

    def _search(
        self,
        base: str,
        where: str,
        attributes: Sequence[str],
        scope: Literal["BASE", "SUBTREE"],
        *,
        size_limit: int = 0,
        page: int | None = None,
        cookie: Any = None,
    ) -> tuple[Outcome, list[Entry]]:
        self._connection.search(
            base,
            where,
            search_scope=scope,
            attributes=list(attributes) or ["1.1"],
            size_limit=size_limit,
            paged_size=page,
            paged_cookie=cookie,
        )
        entries = [
            Entry(
                dn=row["dn"],
                values={
                    name.lower(): [_text(value) for value in values]
                    for name, values in row["raw_attributes"].items()
                },
            )
            for row in self._connection.response or []
            if row["type"] == "searchResEntry"
        ]
        return _outcome(self._connection.result), entries


@contextmanager
def session(
    *, address: Address, bind_dn: str, secret: str | None, ca: str | None, seconds: float
) -> Iterator[Session]:
    """A session as `bind_dn`, over verified TLS, that ends within `seconds`.

    Raises: PermanentError, TransientError.
    """
    if not secret:
        # An empty password is no refusal in LDAP but an anonymous bind (RFC 4513 5.1.2).
        raise PermanentError(
            "The resource has no secret reference: set one (env:NAME or file:/path) that holds "
            "the password of the bind_dn."
        )
    where = f"{address.host}, port {address.port}"
    with Deadline(seconds) as deadline:
        tls = Tls(context=trust(ca), deadline=deadline)
        connection: Any = None
        try:
            connection = ldap3.Connection(
                Server(address, tls=tls, deadline=deadline),
                user=bind_dn,
                password=secret,
                authentication=ldap3.SIMPLE,
                client_strategy=ldap3.SYNC,
                auto_referrals=False,
                check_names=False,
                receive_timeout=RECEIVE_SECONDS,
                raise_exceptions=False,
            )
            _open(connection, address=address, deadline=deadline)
            connection.bind()
            outcome = _outcome(connection.result)
            if outcome.code != SUCCESS:
                raise _judged(outcome, doing=f"binding as {bind_dn}", secret=secret)
            yield Session(connection, secret=secret)
        except (LDAPException, OSError) as error:
            raise _broken(error, where=where, refused=tls.refused, secret=secret) from None
        finally:
            if connection is not None:
                _close(connection)


def _open(connection: Any, *, address: Address, deadline: Deadline) -> None:
    connection.open(read_server_info=False)
    if not address.upgrade:
        return
    deadline.watch(connection.socket)
    refused = PermanentError(
        f"The LDAP server at {address.host}, port {address.port}, does not start TLS; nothing was "
        "sent to it. Set TLS up there, or use an ldaps:// address."
    )
    try:
        connection.start_tls(read_server_info=False)
    except ldap3.core.exceptions.LDAPStartTLSError:
        if connection.result and connection.result.get("result"):
            raise refused from None
        raise
    if not connection.tls_started:
        raise refused


def _close(connection: Any) -> None:
    """Never raises; also closes what ldap3 leaves open when a connection could not be opened."""
    with suppress(LDAPException, OSError, AttributeError):
        if connection.bound:
            connection.unbind()
    with suppress(OSError, AttributeError):
        connection.socket.close()


def _text(value: bytes) -> str:
    """The value as text that can be stored: records hold no NUL."""
    return value.decode("utf-8", "replace").replace("\0", "\ufffd")


def _outcome(result: dict[str, Any]) -> Outcome:
    return Outcome(
        code=int(result["result"]),
        matched=str(result.get("dn") or ""),
        said=f"{result.get('description')}: {result.get('message') or 'no further word'}",
    )


def _judged(outcome: Outcome, *, doing: str, secret: str) -> ConnectorError:
    said = "".join(one if one.isprintable() else " " for one in redact(outcome.said, secret))
    head = (
        f"The LDAP server refused while {doing} ({said[:LONGEST_SAID].strip()} [{outcome.code}])."
    )
    if outcome.code in _FOR_GOOD:
        return PermanentError(f"{head} {_FOR_GOOD[outcome.code]}")
    if outcome.code == _SIZE_LIMIT:
        return PermanentError(f"{head} Raise the bind account's size limit for paged searches.")
    return TransientError(f"{head} It is tried again.")


def _broken(
    error: Exception, *, where: str, refused: ssl.SSLError | None, secret: str
) -> ConnectorError:
    if isinstance(refused, ssl.SSLCertVerificationError):
        return PermanentError(
            f"The certificate of the LDAP server at {where} is not trusted "
            f'({refused.verify_message}). Set "ca" to the authority that issued it, and the url '
            "to a name that it is for."
        )
    said = "".join(one if one.isprintable() else " " for one in redact(str(error), secret))
    return TransientError(
        f"The LDAP server at {where} did not answer in time or hung up "
        f"({said[:LONGEST_SAID].strip() or type(error).__name__}). It is tried again; check that "
        "the server is up."
    )
