"""Where a webhook may go: the guard against requests that reach inside (SSRF). No HTTP here.

A host name is resolved once. Every address that it stands for is judged, and the connection is made
to one of those very addresses: a name that changes its answer afterwards (DNS rebinding) changes
nothing.

Refused, unless a network that the operator allows holds the address: loopback, link-local,
private, shared and other addresses that are not global. Refused always: clouds' metadata services,
multicast, unspecified and reserved addresses. An IPv4 address that is wrapped in an IPv6 one is
judged too.

Source: OWASP ASVS 5.0, V1.3.6; RFC 6890; RFC 6052 (NAT64).
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from approvals.connectors.protocol import PermanentError, TransientError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MOST_ADDRESSES = 16
SHORTEST_PREFIX = {4: 8, 6: 7}
"""Of a network that may be allowed: 10.0.0.0/8 and fc00::/7 are the widest private ones."""

_METADATA = tuple(
    ip_network(text)
    for text in (
        "169.254.169.254/32",  # AWS, Azure, Google, OpenStack, …
        "169.254.170.0/24",  # AWS ECS and EKS credentials
        "fd00:ec2::/64",  # AWS, IPv6
        "fd20:ce::254/128",  # Google, IPv6
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's host
        "192.0.0.192/32",  # Oracle
    )
)
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_COMPATIBLE = ip_network("::/96")


def addresses(
    *, host: str, port: int, allowed: Sequence[Network], within_seconds: float
) -> list[Address]:
    """What `host` stands for, every one of them judged, in the resolver's order.

    Raises: PermanentError if one of them is refused; TransientError if there is none, or the
    resolver took longer than `within_seconds`.
    """
    found = _resolve(host, port, within_seconds)
    for address in found:
        reason = refusal(address, allowed=allowed)
        if reason is not None:
            raise PermanentError(
                f"The webhook's host {host} leads to {address}, which is {reason}. Name a public "
                'host, or allow its network in the resource\'s "allow_private".'
                if reason != _NEVER
                else f"The webhook's host {host} leads to {address}, which is {reason}."
            )
    return found


_NEVER = "never a webhook's receiver (metadata service, multicast or reserved)"


def refusal(address: Address, *, allowed: Sequence[Network]) -> str | None:
    """Why nothing is sent to `address`; None if something may be."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    wrapped = _wrapped(address)
    meant: list[Address] = [address, *wrapped]
    if any(_is_never(one) for one in meant):
        return _NEVER
    if any(one in network for one in meant for network in allowed):
        return None
    if any(not _is_public(one) for one in meant):
        return "not a public address (loopback, link-local, private or the like)"
    return None


def network_errors(text: object) -> list[str]:
    """What is wrong with `text` as a network that may be allowed."""
    if not isinstance(text, str):
        return ['"allow_private" must be a list of networks, such as 10.20.0.0/16.']
    try:
        network = ip_network(text)
    except ValueError:
        return [f"{text!r} is not a network: write it like 10.20.0.0/16, with host bits zero."]
    if network.prefixlen < SHORTEST_PREFIX[network.version]:
        return [f"{text} is too wide: allow the network that the receiver is in."]
    if _is_public(network.network_address) and _is_public(network.broadcast_address):
        return [f"{text} is public, and needs no leave: take it out."]
    return []


def _is_public(address: Address) -> bool:
    site_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not site_local and not address.is_multicast


def _is_never(address: Address) -> bool:
    if address.is_multicast or address.is_unspecified:
        return True
    if isinstance(address, IPv4Address) and address.is_reserved:
        return True
    return any(address in network for network in _METADATA)


def _wrapped(address: Address) -> list[Address]:
    """IPv4 addresses that a translator or tunnel would make of an IPv6 one."""
    if isinstance(address, IPv4Address):
        return []
    found: list[Address] = []
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found += address.teredo
    compatible = address in _COMPATIBLE and int(address) > 0xFFFF
    if compatible or any(address in network for network in _NAT64):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def _resolve(host: str, port: int, within_seconds: float) -> list[Address]:
    """Ask the resolver, which has no time limit of its own that we could set.

    Raises: TransientError.
    """
    rows: list[str] = []
    problem: list[str] = []

    def ask() -> None:
        try:
            for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                rows.append(str(row[4][0]))  # noqa: PERF401  # what came before an error counts
        except (OSError, UnicodeError) as error:
            problem.append(getattr(error, "strerror", None) or type(error).__name__)

    thread = threading.Thread(target=ask, name="webhook-resolver", daemon=True)
    thread.start()
    thread.join(within_seconds)
    if thread.is_alive():
        raise TransientError(f"The name {host} was not resolved in time. It is tried again.")
    if problem or not rows:
        raise TransientError(
            f"The name {host} can't be resolved ({''.join(problem) or 'no address'}). It is tried "
            "again; check the name."
        )
    found = [ip_address(row.partition("%")[0]) for row in dict.fromkeys(rows)]
    return found[:MOST_ADDRESSES]
