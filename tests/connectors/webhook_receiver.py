"""A receiver of webhooks as docs/connectors/webhook.md asks for one: a real HTTPS server.

It verifies each message with the `standardwebhooks` package, keeps who holds what, does each thing
once per idempotency key, and can confirm later. A test may script answers that are worse.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from standardwebhooks import Webhook, WebhookVerificationError

from .moments import now

PAGE = 1_000
TOLERANCE = timedelta(minutes=5)


class Verifier(Webhook):
    """Verifies by a clock of its own: a test may have set off the one that the package reads."""

    def _Webhook__verify_timestamp(self, header: str) -> datetime:  # noqa: N802 - it is theirs
        sent_at = datetime.fromtimestamp(float(header), tz=UTC)
        if abs(now() - sent_at) > TOLERANCE:
            raise WebhookVerificationError("Message timestamp too old or too new")
        return sent_at


@dataclass(frozen=True)
class Got:
    """A request that arrived, whatever became of it."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    server_name: str | None

    @property
    def message(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.body))


@dataclass
class Operation:
    """Something that was ordered and is confirmed later."""

    polls_left: int
    outcome: dict[str, Any]


Scripted = Callable[["Handler"], None]


@dataclass
class Receiver:
    """The receiver and its state; the server runs between `start` and `stop`."""

    context: ssl.SSLContext
    secret: str
    host: str = "127.0.0.1"
    port: int = 0
    known: set[str] = field(default_factory=lambda: {"alice"})
    held: set[tuple[str, str]] = field(default_factory=set)
    got: list[Got] = field(default_factory=list)
    effects: list[tuple[str, str, str]] = field(default_factory=list)
    """What was really done: (action, login, role)."""
    done: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    """By key: the body, and the answer that it got."""
    script: list[Scripted] = field(default_factory=list)
    """Answers for the next requests, one each, instead of the right ones."""
    later: str | None = None
    """`status_url` or `operation`: confirm so."""
    polls: int = 2
    outcome: dict[str, Any] = field(default_factory=lambda: {"state": "done"})
    operations: dict[str, Operation] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    server_names: dict[int, str | None] = field(default_factory=dict)
    server: ThreadingHTTPServer | None = None

    def __post_init__(self) -> None:
        def remember(
            sock: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext
        ) -> None:
            self.server_names[id(sock)] = name

        self.context.sni_callback = remember

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}/hooks/jit"

    def start(self) -> Receiver:
        receiver = self

        class Bound(Handler):
            pass

        Bound.receiver = receiver

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that goes away is what some tests are about."""

        self.server = Server((self.host, self.port), Bound)
        self.port = self.server.server_address[1]
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def perform(self, body: str, key: str) -> tuple[int, dict[str, Any]]:
        """Do what is asked, once per key; a key that comes again gets the same answer again."""
        message = json.loads(body)
        action = message["type"].removeprefix("access.")
        data = message["data"]
        login, role = data["subject"]["login"], data["role"]
        with self.lock:
            if key in self.done:
                asked, answer = self.done[key]
                if asked != body:
                    return 422, {"message": "This key has come with another body."}
                return 200, answer
            if action == "grant" and login not in self.known:
                return 422, {"message": f"There is nobody called {login}."}
            before = (login, role) in self.held
            change = self.held.add if action == "grant" else self.held.discard
            change((login, role))
            self.effects.append((action, login, role))
            answer = {"pre_existing": before, "reference": f"T-{len(self.effects)}"}
            self.done[key] = (body, answer)
            return 200, answer

    def observe(self, data: dict[str, Any]) -> dict[str, Any]:
        """One page of who holds which of the roles."""
        with self.lock:
            rows = sorted(pair for pair in self.held if pair[1] in data["roles"])
        start = int(data["cursor"] or 0)
        page = rows[start : start + PAGE]
        more = start + PAGE < len(rows)
        return {
            "held": [{"login": login, "role": role} for login, role in page],
            "next": str(start + PAGE) if more else None,
        }

    def order(self, key: str) -> dict[str, Any]:
        """202's body: where to ask."""
        with self.lock:
            self.operations.setdefault(key, Operation(self.polls, self.outcome))
        if self.later == "status_url":
            return {"status_url": f"/status/{key}?x=1"}
        return {"operation": key}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    receiver: Receiver
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.request.settimeout(10)
        self.request = self.receiver.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        self.close_connection = True
        got = self.note()
        if self.scripted():
            return
        try:
            message = Verifier(self.receiver.secret).verify(got.body, got.headers)
        except WebhookVerificationError as error:
            self.answer(401, {"message": str(error)})
            return
        if message["type"] == "ping":
            self.answer(204, None)
        elif message["type"] == "access.observe":
            self.answer(200, self.receiver.observe(message["data"]))
        else:
            key = got.headers["idempotency-key"]
            status, body = self.receiver.perform(got.body, key)
            if status == 200 and self.receiver.later is not None:
                status, body = 202, self.receiver.order(key)
            self.answer(status, body)

    def do_GET(self) -> None:
        self.close_connection = True
        got = self.note()
        if self.scripted():
            return
        try:
            Verifier(self.receiver.secret).verify("", got.headers, json_parse=False)
        except WebhookVerificationError as error:
            self.answer(401, {"message": str(error)})
            return
        key = got.path.partition("?")[0].rpartition("/")[2]
        with self.receiver.lock:
            operation = self.receiver.operations.get(key)
            if operation is None:
                self.answer(404, {"message": "No such operation."})
                return
            operation.polls_left -= 1
            done = operation.polls_left <= 0
        self.answer(200, operation.outcome if done else {"state": "pending"})

    def note(self) -> Got:
        length = int(self.headers.get("Content-Length") or 0)
        got = Got(
            method=self.command,
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length).decode(),
            server_name=self.receiver.server_names.get(id(self.request)),
        )
        self.receiver.got.append(got)
        return got

    def scripted(self) -> bool:
        if not self.receiver.script:
            return False
        self.receiver.script.pop(0)(self)
        return True

    def answer(self, status: int, body: Any, **headers: str) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def says(status: int, body: Any = None, **headers: str) -> Scripted:
    """A scripted answer."""
    return lambda handler: handler.answer(status, body, **headers)


def hangs(handler: Handler) -> None:
    """Reads the request, and says nothing."""
    time.sleep(3)


def drips_headers(handler: Handler) -> None:
    """A byte at a time, for ever: no single read times out."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


def drips_body(handler: Handler) -> None:
    """The same, later."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.05)


def breaks_off(handler: Handler) -> None:
    """Half a body, then the end."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"')


def talks_nonsense(handler: Handler) -> None:
    """Not HTTP."""
    handler.wfile.write(b"220 mail.example.test ESMTP\r\n")
