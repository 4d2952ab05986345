"""Mails as tests read them, and the notices that wait to become mails."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from django.core.mail import EmailMultiAlternatives

from approvals.models import OutboxItem
from tests.services import smtp


class Page(HTMLParser):
    """What a mail's HTML form shows and holds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self._silent = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._silent += tag in ("style", "title")
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("style", "title")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@dataclass
class Mail:
    to: str
    subject: str
    text: str
    page: Page
    html: str
    headers: dict[str, str] = field(default_factory=dict)

    def says(self, *facts: str) -> bool:
        """Both forms hold every fact, however their lines are broken."""
        flat = " ".join(self.text.split())
        for fact in facts:
            assert fact in flat, f"{fact!r} is not in the text:\n{self.text}"
            assert fact in self.page.text, f"{fact!r} is not in the HTML:\n{self.page.text}"
        return True


Deliver = Callable[..., list[Mail]]


def mail_of(message: EmailMultiAlternatives) -> Mail:
    html = str(message.alternatives[0][0])
    headers = {str(k): str(v) for k, v in message.extra_headers.items()}
    body = str(message.body)
    return Mail(message.to[0], str(message.subject), body, Page(html), html, headers)


def waiting(kind: str) -> list[OutboxItem]:
    return list(OutboxItem.objects.filter(topic="notice.send", payload__kind=kind).order_by("id"))


@contextmanager
def mail_server(settings: Any) -> Iterator[smtp.Server]:
    """Send mail over real SMTP to a server of the test's own."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with smtp.running() as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        yield server
