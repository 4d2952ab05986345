"""AWS as moto plays it, behind a real HTTP server, with answers that a test can put in between.

moto's own server needs Flask; its backends don't. So this is a small server of the standard library
in front of them, and the connectors reach it as they reach AWS: by signed requests, over HTTP.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import boto3
from botocore.awsrequest import AWSPreparedRequest
from botocore.compat import HTTPHeaders
from moto.core.base_backend import BackendDict
from moto.core.botocore_stubber import BotocoreStubber

REGION = "eu-central-1"
ACCOUNT = "123456789012"
ACCESS_KEY_ID = "AKIAC4NARYC4NARY0001"
SECRET_ACCESS_KEY = "c4n@ry/+secret==access"
SECRET = json.dumps({"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY})
CANARIES = [SECRET_ACCESS_KEY, ACCESS_KEY_ID, SECRET]

Answer = tuple[int, dict[str, Any] | str]
Rule = Callable[[dict[str, Any]], Answer | None]
"""Told the parameters of a call; None lets moto answer. A text is sent as it is (XML)."""

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")


class AwsTarget:
    """The server, and what it was asked."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.rules: dict[str, Rule] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Serve at the same port as before, or at a free one."""
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, content = target._answer(dict(self.headers.items()), body)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True  # a client that gave up

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    def stop(self) -> None:
        """Nobody listens any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._server = None

    @contextmanager
    def down(self) -> Iterator[str]:
        """Inside it nobody listens."""
        self.stop()
        try:
            yield SECRET
        finally:
            self.start()

    def reset(self) -> None:
        """An AWS that holds nothing, and no rules."""
        BackendDict.reset()
        self.rules.clear()
        self.calls.clear()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def client(self, service: str, **keys: Any) -> Any:
        """The test's own way to AWS, as somebody else."""
        keys = {"aws_access_key_id": "somebody", "aws_secret_access_key": "else", **keys}
        return boto3.session.Session().client(
            service, region_name=REGION, endpoint_url=self.url, **keys
        )

    def asked(self, name: str) -> list[dict[str, Any]]:
        """The parameters of each call of that name."""
        return [parameters for called, parameters in self.calls if called == name]

    def _answer(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        name = headers.get("X-Amz-Target", "").rpartition(".")[2]
        if name:
            parameters = json.loads(body or b"{}")
        else:
            parameters = dict(parse_qsl(body.decode()))
            name = parameters.get("Action", "")
        self.calls.append((name, parameters))
        rule = self.rules.get(name)
        told = rule(parameters) if rule else None
        if told is not None:
            status, made_up = told
            text = made_up if isinstance(made_up, str) else json.dumps(made_up)
            return status, {"Content-Type": "application/x-amz-json-1.1"}, text.encode()
        scope = _SCOPE.search(headers.get("Authorization", ""))
        assert scope is not None, "the request is not signed"
        region = "" if scope["service"] == "iam" else f"{scope['region']}."
        given = HTTPHeaders()
        for header, value in headers.items():
            given[header] = value
        answered = BotocoreStubber().process_request(
            AWSPreparedRequest(
                method="POST",
                url=f"https://{scope['service']}.{region}amazonaws.com/",
                headers=given,
                body=body,
                stream_output=False,
            )
        )
        assert answered is not None, f"moto does not play {scope['service']}"
        status, said, content = answered
        encoded = content.encode() if isinstance(content, str) else content
        kept = {
            key: str(value)
            for key, value in said.items()
            if key.lower() not in ("content-length", "date", "server")
        }
        return status, kept, encoded


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[AwsTarget]:
    """A server for the block."""
    target = AwsTarget(tls)
    target.start()
    try:
        yield target
    finally:
        target.stop()
        BackendDict.reset()
