"""Holders outside, as real servers over HTTP: a witness that remembers, and a timestamp authority.

A test may script answers that are worse than theirs.
"""

from __future__ import annotations

import secrets
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from audit.domain import checkpoint, cosignature, merkle, note, witness
from audit.domain.cosignature import Cosigner, CosignerKey
from audit.domain.lines import Malformed
from tests.programs import require


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Answer = Callable[[str, str, bytes], Reply]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.asked.append((self.path, self.headers.get("Content-Type", ""), body))
        reply = (
            self.server.scripted.pop(0)
            if self.server.scripted
            else self.server.answer(self.path, self.headers.get("Content-Type", ""), body)
        )
        if reply is None:  # a peer that drips its headers and never comes to an end
            try:
                while not self.server.ending.wait(0.05):
                    self.wfile.write(b"x")
                    self.wfile.flush()
            except OSError:
                pass
            self.close_connection = True
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[tuple[str, str, bytes]] = []
        self.scripted: list[Reply | None] = []
        self.ending = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(answer: Answer) -> Iterator[_Server]:
    with _Server(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.ending.set()
            server.shutdown()
            thread.join()


# -- a witness


@dataclass
class Witness:
    """A C2SP witness: cosigns only what its last checkpoint of that log has grown into."""

    keys: tuple[tuple[str, bytes, int], ...]
    logs: dict[str, note.LogKey] = field(default_factory=dict)
    seen: dict[str, checkpoint.Checkpoint] = field(default_factory=dict)

    @classmethod
    def named(cls, *names: str, kind: int = cosignature.ED25519) -> Witness:
        return cls(tuple((name, secrets.token_bytes(32), kind) for name in names))

    def vkeys(self) -> list[CosignerKey]:
        return [
            Cosigner(name=name, seed=seed, time_seconds=1, kind=kind).key
            for name, seed, kind in self.keys
        ]

    def answer(self, path: str, _: str, body: bytes) -> Reply:
        if path != "/prefix/add-checkpoint":
            return Reply(404, b"no such page\n")
        try:
            request = witness.read_request(body)
            said, signed = checkpoint.read(request.checkpoint)
        except Malformed as error:
            return Reply(400, f"{error}\n".encode())
        key = self.logs.get(said.origin)
        if key is None:
            return Reply(404, b"unknown log\n")
        try:
            if not note.verified(note=signed, keys=[key]):
                return Reply(403, b"not signed by the log\n")
        except note.BadSignature:
            return Reply(403, b"not signed by the log\n")
        if request.old > said.size:
            return Reply(400, b"the old size is larger\n")
        last = self.seen.get(said.origin)
        size, root = (last.size, last.root) if last else (0, merkle.EMPTY_ROOT)
        if request.old != size:
            return Reply(409, f"{size}\n".encode(), witness.SIZE_TYPE)
        try:
            merkle.verify_consistency(
                old=size, new=said.size, old_root=root, new_root=said.root, proof=request.proof
            )
        except merkle.ProofFailed as error:
            return Reply(422, f"{error}\n".encode())
        self.seen[said.origin] = said
        now = int(time.time())
        lines = [
            note.Signature(name, signer.key_id, signer.sign(signed.text)).line()
            for name, seed, kind in self.keys
            for signer in [Cosigner(name=name, seed=seed, time_seconds=now, kind=kind)]
        ]
        return Reply(200, "".join(lines).encode())


# -- a timestamp authority

_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
default_policy = 1.3.6.1.4.1.55555.1
digests = sha256, sha512
signer_digest = sha256
accuracy = secs:1
ess_cert_id_chain = no
"""


class Authority:
    """An RFC 3161 authority: OpenSSL's own `ts -reply` behind HTTP."""

    def __init__(self, folder: Path) -> None:
        self.openssl = require("openssl", package="openssl")
        self.folder = folder
        root_key, root = _certificate("Root of tests", None)
        signer_key, signer = _certificate("TSA of tests", (root_key, root))
        pem = serialization.Encoding.PEM
        self.roots = folder / "roots.pem"
        self.roots.write_bytes(root.public_bytes(pem))
        (folder / "signer.pem").write_bytes(signer.public_bytes(pem))
        (folder / "key.pem").write_bytes(
            signer_key.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(_CONFIG.format(folder=folder))

    def answer(self, _: str, content_type: str, body: bytes) -> Reply:
        if content_type != "application/timestamp-query":
            return Reply(415)
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            query, reply = Path(name) / "query", Path(name) / "reply"
            query.write_bytes(body)
            self.run(
                "-reply", "-config", str(self.folder / "tsa.cnf"), "-queryfile", str(query),
                "-inkey", str(self.folder / "key.pem"), "-signer", str(self.folder / "signer.pem"),
                "-out", str(reply),
            )  # fmt: skip
            return Reply(200, reply.read_bytes(), "application/timestamp-reply")

    def verifies(self, *, token: bytes, data: bytes) -> bool:
        """OpenSSL itself takes the token for this data, as an auditor would ask it."""
        (self.folder / "token").write_bytes(token)
        (self.folder / "data").write_bytes(data)
        done = self.run(
            "-verify", "-token_in", "-in", str(self.folder / "token"),
            "-data", str(self.folder / "data"), "-CAfile", str(self.roots), check=False,
        )  # fmt: skip
        return done.returncode == 0

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [str(self.openssl), "ts", *words], capture_output=True, check=check, timeout=20
        )


def _certificate(
    name: str, by: tuple[rsa.RSAPrivateKey, x509.Certificate] | None
) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[1].subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if by:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        made = made.add_extension(usage, critical=True)
    return key, made.sign(by[0] if by else key, hashes.SHA256())
