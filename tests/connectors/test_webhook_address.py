"""The guard: what a webhook's host may not lead to, and that the judged address is the used one."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.connectors.protocol import PermanentError, TransientError
from approvals.connectors.webhook import Webhook, conversation
from approvals.connectors.webhook.address import network_errors, refusal

from .authority import authority
from .moments import now
from .test_webhook import NAMES, SECRET, settings_of, spec_of
from .webhook_receiver import Receiver

connector = Webhook()
INSIDE = [
    "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.1.1",
    "100.64.0.1", "192.0.2.1", "198.18.0.1", "::1", "fe80::1", "fec0::1", "fd00::1",
    "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
    "2002:7f00:1::", "2002:a00:1::1", "::127.0.0.1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
]  # fmt: skip
NEVER = [
    "169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
    "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1",
    "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::",
]  # fmt: skip
EVERYTHING = [ip_network("0.0.0.0/0"), ip_network("::/0")]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    one = Receiver(authority().server_context(tmp_path, *NAMES), SECRET).start()
    yield one
    one.stop()


@pytest.mark.parametrize("text", INSIDE)
def test_inside_is_refused_unless_it_is_allowed(text: str) -> None:
    assert refusal(ip_address(text), allowed=[])
    assert refusal(ip_address(text), allowed=EVERYTHING) is None


@pytest.mark.parametrize("text", NEVER)
def test_some_are_refused_even_then(text: str) -> None:
    assert refusal(ip_address(text), allowed=EVERYTHING)


@pytest.mark.parametrize("text", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_need_no_leave(text: str) -> None:
    assert refusal(ip_address(text), allowed=[]) is None


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_never_makes_it_better(inner: IPv4Address) -> None:
    number = int(inner)
    if refusal(inner, allowed=[]) is None:
        return
    for outer in (
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
    ):
        assert refusal(outer, allowed=[])


def test_only_networks_that_are_inside_may_be_allowed() -> None:
    for good in ("10.0.0.0/8", "127.0.0.1/32", "fc00::/7", "::1/128", "100.64.0.0/10"):
        assert network_errors(good) == []
    for bad in ("0.0.0.0/0", "::/0", "8.8.8.8/32", "10.1.0.0/8", "x", 5, None, "10.0.0.0/7"):
        assert network_errors(bad)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433", "0177.0.0.1",
     "127.1", "0.0.0.0", "169.254.169.254"],
)  # fmt: skip
def test_no_spelling_of_a_host_reaches_inside(receiver: Receiver, host: str) -> None:
    url = f"https://{host}:{receiver.port}/"
    with pytest.raises(PermanentError, match="leads to"):
        connector.grant(spec_of(receiver, url=url, allow_private=[]))
    health = connector.check(
        now=now(), resource_settings=settings_of(receiver, url=url, allow_private=[]), secret=SECRET
    )
    assert not health.ok
    assert receiver.got == []


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The network's resolver, for the name rebind.test: each answer in turn; what was asked."""

    def answers(*sets: list[str]) -> list[str]:
        left, asked = list(sets), []
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
            if host != "rebind.test":
                return real(host, port, *args, **options)
            asked.append(host)
            found = left.pop(0) if len(left) > 1 else left[0]
            return [row for text in found for row in real(text, port, *args, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return answers


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Receiver, Receiver]]:
    """Two servers on one port: one that may be reached, and one inside that may not."""
    meant, inside = (
        Receiver(authority().server_context(tmp_path, *NAMES), SECRET, host=host)
        for host in ("127.0.0.2", "127.0.0.3")
    )
    inside.port = meant.start().port
    inside.start()
    yield meant, inside
    meant.stop()
    inside.stop()


def rebind(receiver: Receiver) -> dict[str, Any]:
    return {
        "url": f"https://rebind.test:{receiver.port}/hooks/jit",
        "allow_private": ["127.0.0.2/32"],
    }


def test_a_name_that_changes_after_it_was_judged_changes_nothing(
    pair: tuple[Receiver, Receiver], resolver: Callable[..., list[str]]
) -> None:
    meant, inside = pair
    asked = resolver(["127.0.0.2"], ["127.0.0.3"])
    meant.later = "operation"
    connector.grant(spec_of(meant, **rebind(meant)))
    assert asked == ["rebind.test"]
    assert len(meant.got) == 3
    assert inside.got == []
    assert {got.headers["host"] for got in meant.got} == {f"rebind.test:{meant.port}"}
    assert meant.got[0].server_name == "rebind.test"
    # The next call judges anew.
    with pytest.raises(PermanentError, match=r"127\.0\.0\.3"):
        connector.grant(spec_of(meant, **rebind(meant)))
    assert inside.got == []


def test_one_bad_address_among_good_ones_is_refused(
    pair: tuple[Receiver, Receiver], resolver: Callable[..., list[str]]
) -> None:
    meant, inside = pair
    resolver(["127.0.0.2", "127.0.0.3"])
    with pytest.raises(PermanentError, match=r"127\.0\.0\.3"):
        connector.grant(spec_of(meant, **rebind(meant)))
    assert meant.got == inside.got == []


def test_a_name_that_does_not_resolve_is_transient(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(TransientError, match="can't be resolved"):
        connector.grant(spec_of(receiver, url="https://rebind.test/"))


def test_a_resolver_that_hangs_is_not_waited_for(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "RESOLVE_WITHIN_SECONDS", 0.2)

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(1)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    started = time.monotonic()
    with pytest.raises(TransientError, match="not resolved in time"):
        connector.grant(spec_of(receiver, url="https://rebind.test/"))
    assert time.monotonic() - started < 0.9
