"""A real OpenLDAP server for tests: its own files, ports and certificate, as an ordinary account.

What the server holds is written and read here with OpenLDAP's own tools, not with the code under
test nor its library.
"""

from __future__ import annotations

import base64
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.programs import require

HOST = "127.0.0.1"
SUFFIX = "dc=example,dc=test"
PEOPLE = f"ou=people,{SUFFIX}"
GROUPS = f"ou=groups,{SUFFIX}"
PORTAL = f"cn=jitportal,{SUFFIX}"
BLIND = f"cn=blind,{SUFFIX}"
READER = f"cn=reader,{SUFFIX}"
PASSWORD = "c4n@ry p:ss#w?rd%41'&é"
_ROOT = f"cn=root,{SUFFIX}"
_ROOT_PASSWORD = "only for the tests"
_START_SECONDS = 10.0

_CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
{tls}
database mdb
suffix {suffix}
directory {folder}/data
maxsize 268435456
rootdn {root}
rootpw "{root_password}"
index objectClass,uid,mail,member,uniqueMember,memberUid eq
# What the manual tells an operator to give: the portal's account writes members, and no more.
access to dn.subtree="{groups}" attrs=member,uniqueMember,memberUid
  by dn.exact="{portal}" write
  by dn.exact="{reader}" read
  by * none
access to attrs=userPassword by anonymous auth by * none
access to *
  by dn.exact="{blind}" none
  by dn.exact="{portal}" read
  by dn.exact="{reader}" read
  by * none
# More than 500 entries come only page by page, and to the portal's account alone.
sizelimit 500
limits dn.exact="{portal}" size.soft=500 size.hard=500 size.pr=500 size.prtotal=unlimited
"""


def free_port() -> int:
    """A port that nobody listened at a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def make_certificate(folder: Path, *, names: tuple[str, ...] = (HOST, "localhost")) -> Path:
    """Write `ca.pem` and a `cert.pem` with its `key.pem` for `names`; returns `ca.pem`."""
    now = datetime.now(UTC)

    def build(
        subject: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of the tests")])
    ca = (
        build("Authority of the tests", ca_key, ca_name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(ca_key, hashes.SHA256())
    )
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    certificate = (
        build(names[0], key, ca_name)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").touch(mode=0o600)
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "ca.pem"


class Slapd:
    """One server. Its people and groups are made by the tests, each with names of its own."""

    def __init__(
        self, folder: Path, *, tls: bool = True, names: tuple[str, ...] = (HOST, "localhost")
    ) -> None:
        program = require("slapd", package="slapd")
        self._tools = {
            name: str(require(name, package="ldap-utils"))
            for name in ("ldapadd", "ldapmodify", "ldapsearch")
        }
        self.folder = folder
        (folder / "data").mkdir(parents=True)
        # A copy: where AppArmor confines /usr/sbin/slapd, that one may read nothing here.
        self._program = Path(shutil.copy2(program, folder / "slapd"))
        self.ca = make_certificate(folder, names=names).read_text()
        lines = (
            f"TLSCertificateFile {folder}/cert.pem\nTLSCertificateKeyFile {folder}/key.pem\n"
            if tls
            else ""
        )
        (folder / "slapd.conf").write_text(
            _CONFIG.format(
                folder=folder,
                tls=lines,
                suffix=SUFFIX,
                root=_ROOT,
                root_password=_ROOT_PASSWORD,
                groups=GROUPS,
                portal=PORTAL,
                reader=READER,
                blind=BLIND,
            )
        )
        self.port, self.tls_port = free_port(), free_port()
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The port that speaks TLS from the start."""
        return f"ldaps://{HOST}:{self.tls_port}"

    @property
    def plain_url(self) -> str:
        """The port that needs StartTLS."""
        return f"ldap://{HOST}:{self.port}"

    @property
    def log(self) -> str:
        """What the server says of each connection and operation."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> Slapd:
        """It answers when this returns."""
        listen = f"ldap://{HOST}:{self.port}/"
        if self._tls:
            listen += f" ldaps://{HOST}:{self.tls_port}/"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-f", self.folder / "slapd.conf", "-h", listen, "-d", "stats"],
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _START_SECONDS
        for port in (self.port, self.tls_port) if self._tls else (self.port,):
            while True:
                try:
                    socket.create_connection((HOST, port), timeout=1).close()
                    break
                except OSError:
                    if self._process.poll() is not None or time.monotonic() > end:
                        self.stop()
                        raise RuntimeError(f"slapd did not start: {self.log[-2000:]}") from None
                    time.sleep(0.02)
        return self

    def stop(self) -> None:
        """It is gone when this returns."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """Inside, its ports refuse."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, its ports take connections (the kernel does) and nobody ever answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def populate(self) -> None:
        """The tree, and the accounts that tests bind as."""
        tree = [entry(SUFFIX, objectClass=["dcObject", "organization"], dc="example", o="Example")]
        for name in (PEOPLE, GROUPS):
            unit = name.split(",")[0].removeprefix("ou=")
            tree.append(entry(name, objectClass="organizationalUnit", ou=unit))
        for account in (PORTAL, BLIND, READER):
            tree.append(
                entry(
                    account,
                    objectClass=["organizationalRole", "simpleSecurityObject"],
                    cn=account.split(",")[0].removeprefix("cn="),
                    userPassword=PASSWORD,
                )
            )
        self.add(*tree)

    def add(self, *entries: str) -> None:
        """Add entries, as root."""
        self._run("ldapadd", "\n".join(entries))

    def modify(self, ldif: str) -> None:
        """Apply change records, as root."""
        self._run("ldapmodify", ldif)

    def values(self, dn: str, attribute: str) -> list[str]:
        """The values of an attribute, as root reads them; none if the entry is gone."""
        done = subprocess.run(
            [
                self._tools["ldapsearch"],
                *self._as_root(),
                *("-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", dn, attribute),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 32), done.stderr
        found = []
        for line in done.stdout.splitlines():
            name, _, value = line.partition(":")
            if name.lower() == attribute.lower():
                found.append(
                    base64.b64decode(value[1:]).decode() if value[:1] == ":" else value.strip()
                )
        return found

    def _as_root(self) -> list[str]:
        return ["-x", "-H", self.plain_url, "-D", _ROOT, "-w", _ROOT_PASSWORD]

    def _run(self, tool: str, ldif: str) -> None:
        done = subprocess.run(
            [self._tools[tool], *self._as_root()],
            input=ldif,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def entry(dn: str, **attributes: str | list[str]) -> str:
    """An entry as LDIF, whatever the values hold."""
    lines = [f"dn:: {base64.b64encode(dn.encode()).decode()}"]
    for name, values in attributes.items():
        for value in [values] if isinstance(values, str) else values:
            lines.append(f"{name}:: {base64.b64encode(value.encode()).decode()}")
    return "\n".join(lines) + "\n"


def person(uid: str, *, dn: str | None = None, base: str = PEOPLE, **more: str) -> str:
    """A person's entry, named by `uid` or by a `dn` of its own."""
    values: dict[str, str | list[str]] = {"cn": uid, "sn": uid, "uid": uid, **more}
    return entry(dn or f"uid={uid},{base}", objectClass="inetOrgPerson", **values)
