"""The mail that the demo sent, read from the folder where its mail server keeps it.

The folder's files are written by `channels.demo_backend`: one mail each, named by their time.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

#: The page shows the newest of them; older ones stay in the folder.
NEWEST = 500
_NAME = re.compile(r"[0-9]{20}-[0-9a-f]{8}", re.ASCII)


@dataclass(frozen=True)
class Mail:
    """One mail that was sent. `name` is its file's, without the suffix."""

    name: str
    sent_at: datetime
    sender: str
    to: str
    subject: str
    text: str
    html: str


def newest(folder: Path, *, to: str = "") -> tuple[list[Mail], list[str]]:
    """Return the newest mails, newest first, and everybody whom they went to.

    `to` leaves only one person's mail; the second list has all of them anyway.
    """
    mails = list(_read_all(folder))
    people = sorted({mail.to for mail in mails})
    return [mail for mail in mails if not to or mail.to == to], people


def one(folder: Path, *, name: str) -> Mail | None:
    """Return the mail of that name; None for a name that no mail of the folder has."""
    if not _NAME.fullmatch(name):
        return None
    return _read(folder / f"{name}.eml")


def _read_all(folder: Path) -> Iterator[Mail]:
    names = (path.stem for path in folder.glob("*.eml"))
    for name in sorted(filter(_NAME.fullmatch, names), reverse=True)[:NEWEST]:
        if mail := _read(folder / f"{name}.eml"):
            yield mail


def _read(path: Path) -> Mail | None:
    try:
        parsed = message_from_bytes(path.read_bytes(), policy=policy.default)
    except FileNotFoundError:  # the demo may have been started anew meanwhile
        return None
    assert isinstance(parsed, EmailMessage)
    seconds, nanoseconds = divmod(int(path.stem.split("-")[0]), 1_000_000_000)
    return Mail(
        name=path.stem,
        sent_at=datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000),
        sender=str(parsed["From"] or ""),
        to=str(parsed["To"] or ""),
        subject=str(parsed["Subject"] or ""),
        text=_body(parsed, "plain"),
        html=_body(parsed, "html"),
    )


def _body(parsed: EmailMessage, kind: str) -> str:
    part = parsed.get_body(preferencelist=(kind,))
    return str(part.get_content()) if part is not None else ""
