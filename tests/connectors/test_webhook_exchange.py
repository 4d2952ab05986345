"""One HTTPS request of a webhook: bounded, verified, direct."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from approvals.connectors.protocol import PermanentError, TransientError
from approvals.connectors.webhook import Webhook, conversation, exchange

from .authority import authority
from .test_webhook import NAMES, SECRET, spec_of
from .webhook_receiver import (
    Receiver,
    Scripted,
    drips_body,
    drips_headers,
    hangs,
    says,
    talks_nonsense,
)

connector = Webhook()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    one = Receiver(authority().server_context(tmp_path, *NAMES), SECRET).start()
    yield one
    one.stop()


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call has a second instead of seven."""
    monkeypatch.setattr(conversation, "WITHIN_SECONDS", 1.0)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("behaviour", [hangs, drips_headers, drips_body])
def test_a_receiver_that_is_slow_in_any_way_is_cut_off_in_time(
    receiver: Receiver, behaviour: Scripted
) -> None:
    receiver.script = [behaviour]
    started = time.monotonic()
    with pytest.raises(TransientError, match="did not answer in time"):
        connector.grant(spec_of(receiver))
    assert time.monotonic() - started < 2


def test_nonsense_is_transient(receiver: Receiver) -> None:
    receiver.script = [talks_nonsense]
    with pytest.raises(TransientError, match="broke off"):
        connector.grant(spec_of(receiver))


def test_an_answer_without_end_is_refused(receiver: Receiver) -> None:
    receiver.script = [says(200, "x" * exchange.LONGEST_ANSWER_BYTES)]
    with pytest.raises(PermanentError, match="shorten it"):
        connector.grant(spec_of(receiver))


def test_the_certificate_must_hold(receiver: Receiver) -> None:
    for ca in (authority("Somebody else").pem, None):
        with pytest.raises(PermanentError, match="certificate"):
            connector.grant(spec_of(receiver, ca=ca))
    assert receiver.got == []


def test_the_certificate_must_be_for_the_name(receiver: Receiver) -> None:
    url = receiver.url.replace("127.0.0.1", "127.0.0.2")
    other = Receiver(receiver.context, SECRET, host="127.0.0.2", port=receiver.port).start()
    with pytest.raises(PermanentError, match="certificate"):
        connector.grant(spec_of(receiver, url=url))
    other.stop()
    assert other.got == []


def test_a_server_that_accepts_and_says_nothing_is_transient(receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(TransientError, match="can't be reached"):
            connector.grant(spec_of(receiver, url=url))


def test_another_address_of_the_name_is_tried(receiver: Receiver) -> None:
    """localhost may be ::1 first, where nobody listens."""
    url = receiver.url.replace("127.0.0.1", "localhost")
    connector.grant(spec_of(receiver, url=url))
    assert receiver.got[0].headers["host"] == f"localhost:{receiver.port}"
    assert receiver.got[0].server_name == "localhost"


def test_proxies_of_the_environment_are_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    connector.grant(spec_of(receiver))
