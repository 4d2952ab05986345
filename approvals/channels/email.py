"""E-mail, text and HTML from one message."""

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection

from approvals.channels.protocol import Attachment, DeliveryFailed, Message, Reachable

__all__ = [
    "INTERRUPTS", "NAME", "Attachment", "DeliveryFailed", "Message", "address",
    "leaves_the_machine", "send",
]  # fmt: skip

NAME = "email"
INTERRUPTS = True


def address(person: Reachable) -> str | None:
    """Return the person's mail address, None for those who have none."""
    return person.email or None


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
