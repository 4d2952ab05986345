"""The portal itself, which reaches everybody: the record of a notice is what its centre shows."""

from approvals.channels.protocol import Message, Reachable

NAME = "portal"
INTERRUPTS = False


def address(person: Reachable) -> str | None:
    """Return no particular address: whoever signs in is reached."""
    return ""


def send(message: Message) -> None:
    """Take the message. Whoever sends it writes it down, and that is what people are shown."""
