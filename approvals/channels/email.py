"""E-mail, text and HTML from one message."""

from dataclasses import dataclass

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection


class DeliveryFailed(Exception):
    """The mail server did not take the message; it may later."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message, byte for byte."""

    name: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Message:
    """What to send to one person.

    `message_id` is the same whenever the same message is sent, so that copies are known as such.
    Messages of one `thread_id` are shown together.
    """

    address: str
    subject: str
    text: str
    html: str
    message_id: str
    thread_id: str
    attachments: tuple[Attachment, ...] = ()


def leaves_the_machine() -> bool:
    """Return whether mail goes to a mail server, and not into a folder or the log."""
    return str(settings.EMAIL_BACKEND) == "django.core.mail.backends.smtp.EmailBackend"


def send(message: Message) -> None:
    """Hand the message to the mail server. Raises: DeliveryFailed."""
    mail = EmailMultiAlternatives(
        subject=" ".join(message.subject.split()),
        body=message.text,
        to=[message.address],
        headers={
            "Message-ID": message.message_id,
            "In-Reply-To": message.thread_id,
            "References": message.thread_id,
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "All",
        },
        connection=get_connection(),
    )
    mail.attach_alternative(message.html, "text/html")
    for file in message.attachments:
        # As text it could be given other line ends on its way.
        mail.attach(file.name, file.data, "application/octet-stream")
    try:
        mail.send()
    except OSError as error:  # smtplib's errors and sockets' are all OSErrors
        raise DeliveryFailed(f"{type(error).__name__}: {error}"[:300]) from error
