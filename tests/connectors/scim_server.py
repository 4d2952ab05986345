"""A real SCIM provider for tests, and a front that makes it as difficult as providers are.

`ScimServer` is the `scim2-server` package in a process of its own. `Front` is an HTTP(S) server
before it, which forwards everything but what a test's rules answer: limits, failures, redirects,
and the ways in which known providers differ from the standard.
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .slapd import HOST, free_port

TOKEN = "c4n4ry-t0ken.~+/abc=="
_CORE = "urn:ietf:params:scim:schemas:core:2.0:"
_START_SECONDS = 20.0
DRIP_SECONDS = 15.0
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        """Its body, decoded."""
        return json.loads(self.body)


@dataclass
class Reply:
    """An answer. `drip_seconds`: a pause before each byte, of which there are many."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drip_seconds: float = 0.0


Rule = Callable[[Seen], Reply | None]


class ScimServer:
    """One provider. Its users and groups are made by the tests, each with names of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def start(self) -> ScimServer:
        """It answers when this returns."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "scim2_server.testserver.cli"),
                    *("--hostname", HOST, "--port", str(self.port), "--bearer-token", TOKEN),
                ],
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.ask(Seen("GET", "/v2/ServiceProviderConfig"))
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    raise RuntimeError(self._log.read_text()[-2000:]) from None
                time.sleep(0.05)
            else:
                return self

    def stop(self) -> None:
        """It is gone when this returns."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, seen: Seen) -> Reply:
        """Pass a request on. Raises: OSError."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request(seen.method, seen.path, body=seen.body or None, headers=seen.headers)
            answer = connection.getresponse()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP}
            return Reply(answer.status, answer.read(), kept)
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Do something as the provider's own administrator, and not with the code under test."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/scim+json"}
        sent = b"" if body is None else json.dumps(body).encode()
        reply = self.ask(Seen(method, f"/v2{path}", headers, sent))
        assert reply.status < 300, reply.body
        return json.loads(reply.body) if reply.body else None

    def user(self, user_name: str, **more: Any) -> str:
        """Create a user; returns the id."""
        made = self.call(
            "POST", "/Users", {"schemas": [f"{_CORE}User"], "userName": user_name} | more
        )
        return str(made["id"])

    def group(self, name: str, *members: str) -> str:
        """Create a group; returns the id."""
        made = self.call(
            "POST",
            "/Groups",
            {
                "schemas": [f"{_CORE}Group"],
                "displayName": name,
                "members": [{"value": one} for one in members],
            },
        )
        return str(made["id"])

    def members(self, group_id: str) -> set[str]:
        """The ids of the group's members."""
        group = self.call("GET", f"/Groups/{quote(group_id)}")
        return {one["value"] for one in group.get("members", [])}


class Front:
    """An HTTP server before `server`: the first rule that gives a reply answers."""

    def __init__(self, server: ScimServer | None, *, certificate: Path | None = None) -> None:
        self.rules: list[Rule] = []
        self.seen: list[Seen] = []
        self._server = server
        self._stopping = threading.Event()
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                seen = Seen(self.command, self.path, dict(self.headers), self.rfile.read(length))
                front.seen.append(seen)
                reply = front.answer(seen)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.drip_seconds:
                    self.close_connection = True
                    self.end_headers()
                    front.drip(self, reply)
                    return
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer((HOST, 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._scheme = "http"
        if certificate is not None:
            self._scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The base that a resource names."""
        return f"{self._scheme}://{HOST}:{self._http.server_address[1]}/v2"

    def answer(self, seen: Seen) -> Reply:
        """What the rules say, or the provider."""
        for rule in self.rules:
            reply = rule(seen)
            if reply is not None:
                return reply
        return self.forward(seen)

    def forward(self, seen: Seen) -> Reply:
        """What the provider says."""
        if self._server is None:
            return Reply(404)
        try:
            return self._server.ask(seen)
        except OSError:
            return Reply(502)

    def drip(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        """Send byte after byte, until the client hangs up, or long enough for any test."""
        end = time.monotonic() + DRIP_SECONDS
        while time.monotonic() < end and not self._stopping.wait(reply.drip_seconds):
            try:
                handler.wfile.write(reply.body[:1] or b" ")
            except OSError:
                return

    def stop(self) -> None:
        """Its port refuses when this returns."""
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@contextmanager
def fronted(server: ScimServer | None, *, certificate: Path | None = None) -> Iterator[Front]:
    """A front for the time of the block."""
    front = Front(server, certificate=certificate)
    try:
        yield front
    finally:
        front.stop()


def scim_error(status: int, scim_type: str = "", detail: str = "") -> Reply:
    """An error as RFC 7644 3.12 writes it."""
    body = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": str(status),
        "scimType": scim_type,
        "detail": detail,
    }
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/scim+json"})
