"""A FAKE of Kubernetes' API server: the part about roles and bindings, over real HTTPS.

No Kubernetes runs here. What keeps it honest: each request's body, and each answer of ours, is
judged by a schema that is made from the official client (`kubernetes_schema`), and the rules of the
real server that matter are kept: names and labels, immutable `roleRef`, resource versions,
preconditions, pages with `continue`, finalizers, and errors as `Status` objects.

Source: Kubernetes API concepts; RBAC (`roleRef` is immutable, binding to a missing role is allowed).
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .authority import authority
from .kubernetes_schema import problems

TOKEN = "eyJhbGciOiJSUzI1NiJ9.canary-of-the-tests.c2lnbmF0dXJl"
GROUP = "rbac.authorization.k8s.io"
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?")
QUALIFIED = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9][-A-Za-z0-9_.]{0,62}")
KINDS = {
    "rolebindings": "RoleBinding",
    "clusterrolebindings": "ClusterRoleBinding",
    "roles": "Role",
    "clusterroles": "ClusterRole",
}


class Refused(Exception):
    """Answered with a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


Key = tuple[str, str | None, str]
"""Resource, namespace, name."""


@dataclass
class FakeAPIServer:
    """The fake's state; the server runs between `start` and `stop`."""

    context: ssl.SSLContext
    token: str
    host: str = "127.0.0.1"
    port: int = 0
    namespaces: set[str] = field(default_factory=lambda: {"orders", "billing"})
    objects: dict[Key, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    """What a schema had against any request or answer: a test that ends with some fails."""
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    """(verb, resource) that our account may not."""
    before: list[Callable[[str, str], None]] = field(default_factory=list)
    """Called with method and path before each request is served; may raise `Refused`."""
    version: int = 100
    lock: threading.RLock = field(default_factory=threading.RLock)
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    def start(self) -> FakeAPIServer:
        api = self

        class Bound(Handler):
            pass

        Bound.api = api

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that goes away."""

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

    # What tests say to it

    def role(self, name: str, *rules: dict[str, Any], namespace: str | None = None) -> None:
        """There is a role."""
        resource = "clusterroles" if namespace is None else "roles"
        rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
        self.put(resource, namespace, {"metadata": {"name": name}, "rules": list(rules) or [rule]})

    def binding(
        self,
        name: str,
        role: str,
        *users: str,
        namespace: str | None = "orders",
        kind: str = "ClusterRole",
        **meta: Any,
    ) -> None:
        """Somebody else made a binding."""
        resource = "clusterrolebindings" if namespace is None else "rolebindings"
        self.put(
            resource,
            namespace,
            {
                "metadata": {"name": name} | meta,
                "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
                "subjects": [{"apiGroup": GROUP, "kind": "User", "name": user} for user in users],
            },
        )

    def users(self, role: str, namespace: str | None = "orders") -> list[str]:
        """Who has the role there: read from the state, not by the code that is tested."""
        with self.lock:
            return sorted(
                subject["name"]
                for (resource, where, _), found in self.objects.items()
                if resource.endswith("bindings") and where == namespace
                and found["roleRef"]["name"] == role
                for subject in found.get("subjects", [])
                if subject["kind"] == "User"
            )  # fmt: skip

    def named(self, name: str, namespace: str | None = "orders") -> dict[str, Any] | None:
        """The binding of that name."""
        resource = "clusterrolebindings" if namespace is None else "rolebindings"
        return self.objects.get((resource, namespace, name))

    # What the server does

    def put(self, resource: str, namespace: str | None, body: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.version += 1
            found = deepcopy(body)
            found |= {"apiVersion": f"{GROUP}/v1", "kind": KINDS[resource]}
            meta = found["metadata"]
            meta.setdefault("uid", str(uuid.uuid4()))
            meta.setdefault("creationTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
            meta["resourceVersion"] = str(self.version)
            if namespace is not None:
                meta["namespace"] = namespace
            self.objects[resource, namespace, meta["name"]] = found
            return found

    def checked(self, model: str, value: Any, what: str) -> None:
        """A value that its schema has something against is remembered, and refused if it came in.

        Raises: Refused.
        """
        found = problems(model, value)
        self.invalid += [f"{what}: {problem}" for problem in found]
        if found and what.startswith("request"):
            raise Refused(400, "BadRequest", "; ".join(found))

    def serve(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Answer a request that is signed in."""
        if path == "/version" and method == "GET":
            return 200, {
                "buildDate": "2026-01-01T00:00:00Z", "compiler": "gc", "gitCommit": "0" * 40,
                "gitTreeState": "clean", "gitVersion": "v1.37.0-fake", "goVersion": "go1.25",
                "major": "1", "minor": "37", "platform": "linux/amd64",
            }  # fmt: skip
        if path.endswith("/selfsubjectaccessreviews") and method == "POST":
            self.checked("V1SelfSubjectAccessReview", body, "request")
            asked = body["spec"]["resourceAttributes"]
            allowed = (asked["verb"], asked["resource"]) not in self.forbidden
            return 201, body | {"status": {"allowed": allowed}}
        match = re.fullmatch(
            rf"/apis/{re.escape(GROUP)}/v1(?:/namespaces/([^/]+))?/(\w+)(?:/([^/]+))?", path
        )
        if match is None or match[2] not in KINDS or (match[1] is None) != match[2].startswith("c"):
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        namespace, resource, name = match[1], match[2], match[3]
        name = unquote(name) if name else None
        verb = {"GET": "get" if name else "list", "POST": "create", "PUT": "update"}.get(
            method, "delete"
        )
        if (verb, resource) in self.forbidden:
            raise Refused(
                403, "Forbidden",
                f'{resource}.{GROUP} is forbidden: User "jitportal" cannot {verb} resource',
            )  # fmt: skip
        with self.lock:
            if name is None:
                return getattr(self, verb)(resource, namespace, query, body)  # type: ignore[no-any-return]
            found = self.objects.get((resource, namespace, name))
            if found is None:
                raise Refused(404, "NotFound", f'{resource}.{GROUP} "{name}" not found')
            if verb == "get":
                return 200, found
            return getattr(self, verb)(resource, namespace, found, body)  # type: ignore[no-any-return]

    def list(
        self, resource: str, namespace: str | None, query: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        rows = [
            found
            for (one, where, _), found in sorted(
                self.objects.items(), key=lambda item: tuple(map(str, item[0]))
            )
            if (one, where) == (resource, namespace)
        ]
        start, limit = int(query.get("continue") or 0), int(query.get("limit") or 10_000)
        page = rows[start : start + limit]
        meta: dict[str, Any] = {"resourceVersion": str(self.version)}
        if start + limit < len(rows):
            meta |= {"continue": str(start + limit), "remainingItemCount": len(rows)}
        return 200, {
            "apiVersion": f"{GROUP}/v1", "kind": f"{KINDS[resource]}List",
            "metadata": meta, "items": page,
        }  # fmt: skip

    def create(
        self, resource: str, namespace: str | None, query: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        self.judge(resource, namespace, body)
        if namespace is not None and namespace not in self.namespaces:
            raise Refused(404, "NotFound", f'namespaces "{namespace}" not found')
        name = body["metadata"]["name"]
        if (resource, namespace, name) in self.objects:
            raise Refused(409, "AlreadyExists", f'{resource}.{GROUP} "{name}" already exists')
        if body["metadata"].keys() & {"uid", "resourceVersion", "creationTimestamp"}:
            raise Refused(400, "BadRequest", "resourceVersion should not be set on objects to be created")  # fmt: skip
        return 201, self.put(resource, namespace, body)

    def update(
        self, resource: str, namespace: str | None, found: dict[str, Any], body: Any
    ) -> tuple[int, Any]:
        self.judge(resource, namespace, body)
        meta = body["metadata"]
        if meta["name"] != found["metadata"]["name"]:
            raise Refused(400, "BadRequest", "the name of the object does not match the URL")
        if meta.get("resourceVersion") not in (None, found["metadata"]["resourceVersion"]):
            raise Refused(409, "Conflict", "the object has been modified; please apply your changes to the latest version")  # fmt: skip
        if body["roleRef"] != found["roleRef"]:
            raise Refused(422, "Invalid", "roleRef: Invalid value: cannot change roleRef")
        return 200, self.put(resource, namespace, body)

    def delete(
        self, resource: str, namespace: str | None, found: dict[str, Any], body: Any
    ) -> tuple[int, Any]:
        if body is not None:
            self.checked("V1DeleteOptions", body, "request")
        meta = found["metadata"]
        wanted = (body or {}).get("preconditions") or {}
        for name in ("uid", "resourceVersion"):
            if wanted.get(name) not in (None, meta[name]):
                raise Refused(409, "Conflict", f"the {name} in the precondition does not match")
        if (body or {}).get("dryRun"):
            return 200, found
        if meta.get("finalizers"):
            meta.setdefault("deletionTimestamp", "2026-01-01T00:00:00Z")
            return 200, found
        del self.objects[resource, namespace, meta["name"]]
        return 200, {
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success",
            "details": {"name": meta["name"], "group": GROUP, "kind": resource},
        }  # fmt: skip

    def judge(self, resource: str, namespace: str | None, body: Any) -> None:
        """What the real server checks of a binding that is written.

        Raises: Refused.
        """
        kind = KINDS[resource]
        self.checked(f"V1{kind}", body, "request")
        meta, ref = body.get("metadata") or {}, body["roleRef"]
        wrong = [
            (body.get("apiVersion"), body.get("kind")) != (f"{GROUP}/v1", kind),
            meta.get("namespace") not in (None, namespace),
            not meta.get("name") or len(meta["name"]) > 253 or set(meta["name"]) & set("/%"),
            ref.get("apiGroup") != GROUP,
            ref["kind"] not in ("ClusterRole", "Role"),
            ref["kind"] == "Role" and namespace is None,
            any(not QUALIFIED.fullmatch(key) for key in {**meta.get("labels", {}), **meta.get("annotations", {})}),
            any(not LABEL_VALUE.fullmatch(value) for value in meta.get("labels", {}).values()),
            any(one["kind"] == "User" and (one.get("apiGroup", GROUP) != GROUP or not one["name"])
                for one in body.get("subjects") or []),
        ]  # fmt: skip
        if any(wrong):
            self.invalid.append(f"request: rule {wrong.index(True)} of {kind}")
            raise Refused(422, "Invalid", f"{kind} is invalid (rule {wrong.index(True)})")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    api: FakeAPIServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.request.settimeout(10)
        self.request = self.api.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def signed_in(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {self.api.token}":
            return True
        return bool(self.request.getpeercert())

    def handle_method(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        url = urlsplit(self.path)
        self.api.requests.append((self.command, url.path))
        try:
            if not self.signed_in():
                raise Refused(401, "Unauthorized", "Unauthorized")
            for hook in self.api.before:
                hook(self.command, url.path)
            body = json.loads(content) if content else None
            if isinstance(body, dict):
                self.api.bodies.append((f"{self.command} {url.path}", body))
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            status, answer = self.api.serve(self.command, url.path.rstrip("/"), query, body)
            model = "VersionInfo" if url.path.startswith("/version") else f"V1{answer['kind']}"
            self.api.checked(model, answer, f"answer to {self.command} {url.path}")
        except Refused as error:
            status = error.code
            answer = {
                "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
                "message": error.message, "reason": error.reason, "code": error.code,
            }  # fmt: skip
            self.api.checked("V1Status", answer, "answer")
        encoded = json.dumps(answer).encode()
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", f"{self.api.url}/elsewhere")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def do_GET(self) -> None:
        self.handle_method()

    def do_POST(self) -> None:
        self.handle_method()

    def do_PUT(self) -> None:
        self.handle_method()

    def do_DELETE(self) -> None:
        self.handle_method()


@contextmanager
def serving(folder: Path) -> Iterator[FakeAPIServer]:
    """A fake with the roles `view` and `reader`; fails if a schema had anything against it."""
    context = authority().server_context(folder, "127.0.0.1", "kubernetes.test")
    context.load_verify_locations(cadata=authority().pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    one = FakeAPIServer(context, TOKEN).start()
    one.role("view")
    one.role("reader", namespace="orders")
    yield one
    one.stop()
    assert one.invalid == []
