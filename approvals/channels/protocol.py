"""What every channel offers, and what it is given. No channel lives here.

A channel is a module of this package, named in `registry`, that is a `Channel`. It sends what it is
given and knows neither requests nor whether somebody wants to be reached by it now.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol


class DeliveryFailed(Exception):
    """The channel did not take the message; it may later."""


class Attempts:
    """Tries of several channels: what one of them did not take keeps a message from no other."""

    def __init__(self) -> None:
        self._failures: list[DeliveryFailed] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """Let what the channel did not take wait until the others were tried."""
        try:
            yield
        except DeliveryFailed as failure:
            self._failures.append(failure)

    def finish(self) -> None:
        """Say what failed, so that it is tried again. Raises: DeliveryFailed."""
        if self._failures:
            raise DeliveryFailed("; ".join(map(str, self._failures))) from self._failures[0]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message, byte for byte."""

    name: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Message:
    """What to send to one person.

    `message_id` is the same whenever the same message is sent, so that copies are known as such.
    Messages of one `thread_id` are shown together. `url` is the page that it is about.
    """

    address: str
    subject: str
    text: str
    html: str
    message_id: str
    thread_id: str
    url: str = ""
    attachments: tuple[Attachment, ...] = ()


class Reachable(Protocol):
    """What a channel may know of a person to find their address."""

    @property
    def email(self) -> str:
        """Return the mail address, empty for none."""

    @property
    def username(self) -> str:
        """Return the login name."""


class Channel(Protocol):
    """A way to reach people.

    `NAME` is written into the records. `INTERRUPTS` says whether it reaches people where they are,
    so that what they chose and their quiet hours count.
    """

    NAME: str
    INTERRUPTS: bool

    def address(self, person: Reachable) -> str | None:
        """Return where the channel reaches a person, None where it doesn't."""

    def send(self, message: Message) -> None:
        """Hand the message over. Raises: DeliveryFailed."""
