"""SSH certificates, against a real sshd, a real ssh, and OpenSSH's own ssh-keygen."""

from __future__ import annotations

import fcntl
import itertools
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from approvals.connectors.protocol import (
    GrantSpec,
    Held,
    NotYet,
    PermanentError,
    Receipt,
    TransientError,
)
from approvals.connectors.ssh_certificate import SshCertificate, files
from approvals.connectors.ssh_certificate.krl import Krl, NotAKrl

from .contract import CALL_WITHIN_SECONDS, Bench, ConnectorContract
from .moments import now
from .sshd import ACCOUNT, Sshd, needs_terminals, running

_numbers = itertools.count(1)
SSH = SshCertificate()


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running(tmp_path_factory.mktemp("sshd")) as server:
        server.keygen_run("-k", "-f", server.krl_file)
        server.make_key("alice")
        server.make_key("bob")
        yield server


def public(sshd: Sshd, name: str) -> str:
    return (sshd.folder / f"{name}.pub").read_text().strip()


def ask(sshd: Sshd, **changes: Any) -> GrantSpec:
    """alice's next request."""
    spec = GrantSpec(
        now=now(),
        request_id=f"0199-ssh-{next(_numbers)}",
        subject_login="alice",
        subject_email="alice@example.test",
        resource="bastion",
        entitlement="shell",
        resource_settings={"krl_file": str(sshd.krl_file)},
        entitlement_settings={"principals": [ACCOUNT]},
        secret=sshd.authority,
        ends_at=datetime.now(UTC) + timedelta(hours=1),
        subject_keys=(public(sshd, "alice"),),
    )
    return replace(spec, **changes)


def certificate(receipt: Receipt) -> str:
    (handed,) = receipt.handover
    assert not handed.once
    return handed.text


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_host_s_clock_ends_no_certificate(sshd: Sshd, hours: int) -> None:
    spec = ask(sshd, resource_settings={}, ends_at=now() + timedelta(minutes=40))
    with time_machine.travel(now() + timedelta(hours=hours)):
        receipt = SSH.grant(spec)
        with pytest.raises(NotYet, match="stays good until"):
            SSH.revoke(spec)
    read = load_ssh_public_identity(certificate(receipt).encode())
    assert isinstance(read, SSHCertificate)
    assert spec.ends_at is not None
    assert read.valid_before == int(spec.ends_at.timestamp())
    assert 55 <= time.time() - read.valid_after <= 120, "from a minute ago"


# --- the contract ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SshBench(Bench):
    """A subject with a key, which this connector can't do without."""

    public_key: str

    def spec(self, **changes: Any) -> GrantSpec:
        return super().spec(**{"subject_keys": (self.public_key,), **changes})


class TestSshCertificate(ConnectorContract):
    key = "ssh_certificate"

    @pytest.fixture
    def bench(self, sshd: Sshd, tmp_path: Path) -> SshBench:
        folder = tmp_path / "shared"
        folder.mkdir()
        resource = {"host": "bastion.example.com", "krl_file": str(folder / "revoked.krl")}
        entitlement = {"principals": ["ops", "{login}"]}

        @contextmanager
        def unmounted() -> Iterator[str]:
            """The file system that the two files are on goes away for a while."""
            folder.rename(tmp_path / "elsewhere")
            yield sshd.authority
            (tmp_path / "elsewhere").rename(folder)

        body = "".join(sshd.authority.splitlines()[1:-1])
        return SshBench(
            connector=SSH,
            login="alice",
            unknown_login="nobody",
            public_key=public(sshd, "alice"),
            secret=sshd.authority.rstrip("\n"),  # as secrets.resolve gives it
            canaries=[body, *(line for line in sshd.authority.splitlines()[2:-1])],
            resource_settings=resource,
            entitlement_settings=entitlement,
            unknown_entitlement_settings={"principals": ["gone"]},
            bad_settings=[
                (resource, {}),
                (resource, {"principals": "ops"}),
                (resource, {"principals": []}),
                (resource, {"principals": [""]}),
                (resource, {"principals": ["a b"]}),
                (resource, {"principals": ["a,b"]}),
                (resource, {"principals": ["{email}"]}),
                (resource, {"principals": [7]}),
                (resource, {**entitlement, "account": "-oProxyCommand=x"}),
                (resource, {**entitlement, "force_command": "a\nb"}),
                (resource, {**entitlement, "source_address": "10.0.0.0/8"}),
                (resource, {**entitlement, "source_address": ["10.0.0.1/8"]}),
                (resource, {**entitlement, "source_address": ["bastion"]}),
                (resource, {**entitlement, "extensions": ["permit-everything"]}),
                (resource, {**entitlement, "end_sessions": "yes"}),
                (
                    resource,
                    {**entitlement, "end_sessions": True, "extensions": ["permit-port-forwarding"]},
                ),
                (resource, {**entitlement, "principal": "ops"}),
                ({**resource, "krl_file": "revoked.krl"}, entitlement),
                ({**resource, "krl_file": "/etc/../revoked.krl"}, entitlement),
                ({**resource, "krl_file": "/etc/ssh/"}, entitlement),
                ({**resource, "krl_file": "/a\0b"}, entitlement),
                ({**resource, "host": "-oProxyCommand=x"}, entitlement),
                ({**resource, "port": "22"}, entitlement),
                ({**resource, "port": 0}, entitlement),
                ({**resource, "user": "x"}, entitlement),
            ],
            unreachable=unmounted,
        )

    def test_a_login_that_the_target_does_not_know_is_permanent(self, bench: Bench) -> None:
        # An authority knows no logins: it signs for whoever the portal names, and sshd looks for
        # the account when somebody comes. What it can't do without is the subject's key.
        with pytest.raises(PermanentError, match="Settings → SSH keys") as caught:
            bench.connector.grant(bench.spec(subject_keys=()))
        bench.keeps_secret(caught.value)
        assert not bench.holds()


# --- at sshd --------------------------------------------------------------------------------------


def test_a_certificate_signs_in_and_sshd_logs_whose_request_it_is(sshd: Sshd) -> None:
    spec = ask(sshd)
    receipt = SSH.grant(spec)
    assert sshd.lets_in("alice", certificate(receipt))
    key_id, serial = receipt.detail["key_id"], receipt.detail["serial"]
    assert key_id == f"jit:{spec.request_id}:1:alice"
    assert f"ID {key_id} (serial {serial})" in sshd.log


def test_the_certificate_is_no_good_with_another_key(sshd: Sshd) -> None:
    assert not sshd.lets_in("bob", certificate(SSH.grant(ask(sshd))))


def test_the_certificate_of_another_authority_is_no_good(sshd: Sshd, tmp_path: Path) -> None:
    sshd.keygen_run("-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other")
    spec = ask(sshd, secret=(tmp_path / "other").read_text())
    assert not sshd.lets_in("alice", certificate(SSH.grant(spec)))


def test_a_principal_that_sshd_does_not_list_is_refused(sshd: Sshd) -> None:
    for principals, accepted in ((["ops"], True), (["dba"], False), (["{login}"], False)):
        spec = ask(sshd, entitlement_settings={"principals": principals})
        assert sshd.lets_in("alice", certificate(SSH.grant(spec))) is accepted


def test_sshd_refuses_it_after_its_end(sshd: Sshd) -> None:
    ends_at = datetime.now(UTC) + timedelta(seconds=4)
    spec = ask(sshd, ends_at=ends_at)
    receipt = SSH.grant(spec)
    assert datetime.fromisoformat(receipt.detail["valid_until"]) <= ends_at
    assert sshd.lets_in("alice", certificate(receipt))
    time.sleep(max(0.0, (ends_at - datetime.now(UTC)).total_seconds()))
    assert not sshd.lets_in("alice", certificate(receipt))
    assert "Certificate invalid: expired" in sshd.log
    assert SSH.revoke(replace(spec, now=now())).detail["ended_by"] == "expiry"


def test_sshd_refuses_it_after_its_removal_and_only_it(sshd: Sshd) -> None:
    spec, other = ask(sshd), ask(sshd)
    receipt = SSH.grant(spec)
    again, kept = certificate(SSH.grant(spec)), certificate(SSH.grant(other))
    removal = SSH.revoke(spec).detail
    assert removal["ended_by"] == "revocation list"
    assert removal["serials"] == [receipt.detail["serial"]]
    # Both certificates of the request are gone: a delivery whose answer was lost leaves nothing.
    assert not sshd.lets_in("alice", certificate(receipt))
    assert not sshd.lets_in("alice", again)
    assert f"revoked by file {sshd.krl_file}" in sshd.log
    assert sshd.lets_in("alice", kept)
    assert sshd.revokes(again)
    assert not sshd.revokes(kept)


def test_an_open_session_lives_on_after_the_removal(sshd: Sshd) -> None:
    """What docs/connectors/ssh_certificate.md says: login lag and session lag are two things."""
    spec = ask(sshd)
    line = certificate(SSH.grant(spec))
    with subprocess.Popen(
        sshd.command("alice", line, "cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write("before\n")
        assert session.stdout.readline() == "before\n"
        SSH.revoke(spec)
        assert not sshd.lets_in("alice", line)
        session.stdin.write("after\n")
        assert session.stdout.readline() == "after\n"
        session.stdin.close()


@pytest.mark.parametrize("terminal", [False, True])
def test_with_end_sessions_an_open_session_ends_with_the_grant(sshd: Sshd, terminal: bool) -> None:
    if terminal:
        needs_terminals()
    ends_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
    settings = {"principals": [ACCOUNT], "end_sessions": True}
    line = certificate(SSH.grant(ask(sshd, ends_at=ends_at, entitlement_settings=settings)))
    words = ["-tt"] if terminal else []
    started = time.monotonic()
    ran = sshd.run("alice", line, *words, "echo begun; sleep 60 & sleep 60; echo never")
    lasted = time.monotonic() - started
    assert "begun" in ran.stdout
    assert "never" not in ran.stdout
    assert ran.returncode != 0
    assert lasted < 10
    assert datetime.now(UTC) >= ends_at


def test_with_end_sessions_a_command_is_still_itself(sshd: Sshd) -> None:
    settings = {"principals": [ACCOUNT], "end_sessions": True}
    line = certificate(SSH.grant(ask(sshd, entitlement_settings=settings)))
    ran = sshd.run("alice", line, """printf '%s|' "it's" 'a "b" $c'; exit 7""")
    assert (ran.stdout, ran.returncode) == ("""it's|a "b" $c|""", 7)
    settings["force_command"] = "echo 'only this'"
    line = certificate(SSH.grant(ask(sshd, entitlement_settings=settings)))
    assert sshd.run("alice", line, "echo other").stdout == "only this\n"


def test_with_end_sessions_an_old_connection_begins_nothing_new(
    sshd: Sshd,
) -> None:
    ends_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
    settings = {"principals": [ACCOUNT], "end_sessions": True}
    line = certificate(SSH.grant(ask(sshd, ends_at=ends_at, entitlement_settings=settings)))
    control = f"-oControlPath={sshd.folder}/c"
    command = sshd.command("alice", line, control, "-oControlMaster=yes", "-N")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as master:
        try:
            for _ in range(100):
                if (sshd.folder / "c").exists():
                    break
                time.sleep(0.05)
            assert sshd.run("alice", line, control, "echo in").stdout == "in\n"
            time.sleep(max(0.0, (ends_at - datetime.now(UTC)).total_seconds()))
            ran = sshd.run("alice", line, control, "echo in")
            assert (ran.returncode, ran.stdout) == (1, "")
            assert "This access has ended." in ran.stderr
        finally:
            master.terminate()


def test_a_forced_command_replaces_what_is_asked(sshd: Sshd) -> None:
    settings = {"principals": [ACCOUNT], "force_command": "echo only $((1+1))"}
    line = certificate(SSH.grant(ask(sshd, entitlement_settings=settings)))
    assert sshd.run("alice", line, "echo other").stdout == "only 2\n"


def test_it_is_good_from_its_addresses_only(sshd: Sshd) -> None:
    for networks, accepted in (
        (["127.0.0.0/8", "::1"], True),
        (["192.0.2.0/24", "2001:db8::/32"], False),
    ):
        settings = {"principals": [ACCOUNT], "source_address": networks}
        line = certificate(SSH.grant(ask(sshd, entitlement_settings=settings)))
        assert sshd.lets_in("alice", line) is accepted


def test_a_terminal_is_given_unless_the_entitlement_says_otherwise(sshd: Sshd) -> None:
    needs_terminals()
    cases: list[tuple[dict[str, Any], bool]] = [({}, True), ({"extensions": []}, False)]
    for settings, terminal in cases:
        spec = ask(sshd, entitlement_settings={"principals": [ACCOUNT], **settings})
        ran = sshd.run("alice", certificate(SSH.grant(spec)), "-tt", "tty || echo none")
        assert ("/dev/" in ran.stdout) is terminal


@pytest.mark.parametrize(
    ("authority", "subject"), [("ecdsa", "ed25519"), ("rsa", "ecdsa"), ("ed25519", "rsa")]
)
def test_other_kinds_of_keys(sshd: Sshd, authority: str, subject: str) -> None:
    name = f"{subject}-of-{authority}"
    line = sshd.make_key(name, kind=subject)
    sshd.make_key(f"ca-{authority}", kind=authority, bits=2048 if authority == "rsa" else None)
    secret = (sshd.folder / f"ca-{authority}").read_text()
    trusted = sshd.folder / "ca.pub"
    before = trusted.read_text()
    trusted.write_text(before + public(sshd, f"ca-{authority}") + "\n")
    try:
        spec = ask(sshd, subject_keys=(line,), secret=secret)
        signed = certificate(SSH.grant(spec))
        assert sshd.lets_in(name, signed)
        SSH.revoke(spec)
        assert not sshd.lets_in(name, signed)
        assert f"id_{subject}-cert.pub" in SSH.how_to_connect(spec)[0].text
    finally:
        trusted.write_text(before)


def test_openssh_reads_in_it_what_was_granted(sshd: Sshd) -> None:
    settings = {
        "principals": ["ops", "{login}"],
        "source_address": ["127.0.0.1"],
        "force_command": "true",
        "extensions": ["permit-pty", "permit-agent-forwarding"],
    }
    ends_at = datetime(2031, 1, 1, 12, 0, 0, 900_000, tzinfo=UTC)
    receipt = SSH.grant(ask(sshd, entitlement_settings=settings, ends_at=ends_at))
    words = " ".join(sshd.shown(certificate(receipt)).split())
    assert "user certificate" in words
    assert f"Serial: {receipt.detail['serial']} " in words
    assert f'Key ID: "{receipt.detail["key_id"]}"' in words
    assert f"Signing CA: ED25519 {receipt.detail['authority']} " in words
    assert f"Public key: ED25519-CERT {receipt.detail['subject_key']} " in words
    assert "Principals: ops alice Critical Options: force-command true " in words
    assert "source-address 127.0.0.1 Extensions: permit-agent-forwarding permit-pty" in words
    assert words.count("permit-") == 2
    assert receipt.detail["valid_until"] == "2031-01-01T12:00:00+00:00"


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ((), "no SSH key"),
        (("nonsense",), "can't be certified"),
        (("ssh-ed25519 AAAA",), "can't be certified"),
        (
            (
                "sk-ssh-ed25519@openssh.com "
                "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIJQxPdTg2TWxHYGmDkGWKJTaVMMcpoUp"
                "WfMOZjBMJ7KOAAAABHNzaDo=",
            ),
            "security token",
        ),
    ],
)
def test_a_key_that_cannot_be_certified_says_what_to_do(
    sshd: Sshd, keys: tuple[str, ...], says: str
) -> None:
    with pytest.raises(PermanentError, match=says) as caught:
        SSH.grant(ask(sshd, subject_keys=keys))
    assert "Settings → SSH keys" in caught.value.message


def test_a_weak_key_and_a_certificate_for_a_key_are_refused(sshd: Sshd) -> None:
    weak = sshd.make_key("weak", kind="rsa", bits=1024)
    for line, says in ((weak, "under 2048 bits"), (certificate(SSH.grant(ask(sshd))), "certified")):
        with pytest.raises(PermanentError, match=says):
            SSH.grant(ask(sshd, subject_keys=(line,)))


def test_an_authority_that_cannot_be_read_says_what_it_must_be(sshd: Sshd, tmp_path: Path) -> None:
    sshd.keygen_run("-q", "-t", "ed25519", "-N", "passphrase", "-f", tmp_path / "locked")
    for secret in (None, "", "nonsense", public(sshd, "alice"), (tmp_path / "locked").read_text()):
        with pytest.raises(PermanentError, match="without a passphrase"):
            SSH.grant(ask(sshd, secret=secret))
        assert not SSH.check(now=now(), resource_settings={}, secret=secret).ok


def test_a_grant_that_is_over_or_has_no_end_is_refused(sshd: Sshd) -> None:
    for ends_at in (None, datetime.now(UTC) - timedelta(seconds=1)):
        with pytest.raises(PermanentError):
            SSH.grant(ask(sshd, ends_at=ends_at))


def test_nobody_becomes_root_by_their_login(sshd: Sshd) -> None:
    settings = {"principals": ["{login}"]}
    with pytest.raises(PermanentError, match="becomes root"):
        SSH.grant(ask(sshd, subject_login="root", entitlement_settings=settings))


# --- without a list -------------------------------------------------------------------------------


def test_without_a_list_an_early_end_waits_and_says_until_when(sshd: Sshd) -> None:
    ends_at = datetime.now(UTC) + timedelta(seconds=2)
    spec = ask(sshd, resource_settings={}, ends_at=ends_at)
    line = certificate(SSH.grant(spec))
    with pytest.raises(NotYet, match=f"good until {ends_at:%Y-%m-%d %H:%M:%S} UTC") as caught:
        SSH.revoke(spec)
    assert caught.value.until == ends_at
    assert sshd.lets_in("alice", line)
    time.sleep(max(0.0, (ends_at - datetime.now(UTC)).total_seconds()))
    assert SSH.revoke(replace(spec, now=now())).detail == {
        "granted": False,
        "ended_by": "expiry",
        "request": spec.request_id,
    }
    assert not sshd.lets_in("alice", line)


def test_without_a_list_it_says_that_it_cannot_be_observed(sshd: Sshd) -> None:
    with pytest.raises(PermanentError, match="krl_file"):
        SSH.observe(
            now=now(),
            resource_settings={},
            secret=None,
            entitlements={"it": {"principals": ["ops"]}},
        )


# --- the files ------------------------------------------------------------------------------------


def observed(spec: GrantSpec) -> list[Held]:
    return SSH.observe(
        now=now(),
        resource_settings=spec.resource_settings,
        secret=spec.secret,
        entitlements={"shell": spec.entitlement_settings, "other": {"principals": ["x"]}},
    )


def test_a_list_that_is_missing_is_made_by_the_first_grant(sshd: Sshd) -> None:
    kept = sshd.krl_file.read_bytes()
    try:
        sshd.krl_file.unlink()
        line = certificate(SSH.grant(ask(sshd, resource_settings={})))
        assert not sshd.lets_in("alice", line)  # sshd refuses every key without its list
        settings = {"krl_file": str(sshd.krl_file)}
        assert (
            "comes with the first grant"
            in SSH.check(now=now(), resource_settings=settings, secret=sshd.authority).message
        )
        SSH.grant(ask(sshd))
        assert sshd.lets_in("alice", line)
    finally:
        sshd.krl_file.write_bytes(kept)


def test_what_operators_revoked_stays_revoked_and_so_does_ours(sshd: Sshd, tmp_path: Path) -> None:
    sshd.make_key("mallory")
    theirs = ask(sshd, resource_settings={}, subject_keys=(public(sshd, "mallory"),))
    by_key = certificate(SSH.grant(theirs))
    ours, early, late = ask(sshd), ask(sshd), ask(sshd)
    lines = [certificate(SSH.grant(spec)) for spec in (ours, early, late)]
    SSH.revoke(early)
    # An operator adds a key, and serial numbers that OpenSSH keeps as range and as bitmap.
    ca = sshd.folder / "ca.pub"
    numbers = tmp_path / "numbers"
    numbers.write_text("serial: 1-5000\n" + "".join(f"serial: {n}\n" for n in range(9000, 9200, 3)))
    sshd.keygen_run("-k", "-u", "-f", sshd.krl_file, sshd.folder / "mallory.pub")
    sshd.keygen_run("-k", "-u", "-f", sshd.krl_file, "-s", ca, numbers)
    SSH.revoke(late)
    assert [sshd.revokes(line) for line in lines] == [False, True, True]
    assert sshd.revokes(by_key)
    assert not sshd.lets_in("mallory", by_key)
    assert sshd.lets_in("alice", lines[0])
    krl = Krl.parse(sshd.krl_file.read_bytes())
    blob = files.read(sshd.krl_file).issued[-1].authority
    covered = [n for n in range(1, 10_000) if krl.revokes(authority=blob, serial=n)]
    assert covered == [*range(1, 5001), *range(9000, 9200, 3)]


def test_observed_are_live_certificates_only(sshd: Sshd, tmp_path: Path) -> None:
    settings = {"krl_file": str(tmp_path / "list")}
    soon = datetime.now(UTC) + timedelta(seconds=2)
    live, ended, over = (ask(sshd, resource_settings=settings) for _ in range(3))
    for spec, login in ((live, "alice"), (ended, "bob"), (replace(over, ends_at=soon), "carol")):
        SSH.grant(replace(spec, subject_login=login))
    SSH.revoke(replace(ended, subject_login="bob"))
    assert observed(live) == [Held("alice", "shell"), Held("carol", "shell")]
    time.sleep(2)
    assert observed(live) == [Held("alice", "shell")]


def test_a_lost_file_of_the_issued_does_not_save_a_certificate(sshd: Sshd) -> None:
    spec = ask(sshd)
    line = certificate(SSH.grant(spec))
    files.ledger_path(sshd.krl_file).unlink()
    SSH.revoke(spec)
    assert not sshd.lets_in("alice", line)
    # Nor is a number given again that the list revokes.
    files.ledger_path(sshd.krl_file).unlink()
    receipt = SSH.grant(spec)
    assert receipt.detail["key_id"].endswith(":2:alice")
    assert sshd.lets_in("alice", certificate(receipt))


def test_a_change_of_the_authority_does_not_save_a_certificate(sshd: Sshd, tmp_path: Path) -> None:
    spec = ask(sshd)
    line = certificate(SSH.grant(spec))
    sshd.keygen_run("-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "next")
    SSH.revoke(replace(spec, secret=(tmp_path / "next").read_text()))
    assert not sshd.lets_in("alice", line)


def test_the_version_only_grows_and_the_expired_leave(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "list"
    settings = {"krl_file": str(path)}
    specs = [ask(sshd, resource_settings=settings) for _ in range(3)]
    versions = []
    for spec in specs:
        SSH.grant(spec)
        versions += [SSH.revoke(spec).detail["krl_version"] for _ in range(2)]
    assert versions == [2, 2, 3, 3, 4, 4]
    entries = files.read(path).issued
    blob = entries[0].authority
    for after, listed in ((timedelta(hours=24), 3), (timedelta(hours=26), 0)):
        with files.locked(path) as held:
            held.save(now=datetime.now(UTC) + after)
        krl = Krl.parse(path.read_bytes())
        assert sum(krl.revokes(authority=blob, serial=e.serial) for e in entries) == listed
        assert len(files.read(path).issued) == listed
    assert krl.version == 5


def test_both_files_are_replaced_whole_and_keep_their_modes(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "list"
    spec = ask(sshd, resource_settings={"krl_file": str(path)})
    SSH.grant(spec)

    def modes() -> list[int]:
        return [stat.S_IMODE(p.stat().st_mode) for p in (path, files.ledger_path(path))]

    assert modes() == [0o644, 0o600]
    path.chmod(0o640)
    inode = path.stat().st_ino
    SSH.revoke(spec)
    assert modes() == [0o640, 0o600]
    assert path.stat().st_ino != inode
    assert {p.name for p in tmp_path.iterdir()} == {"list", "list.lock", "list.issued.json"}


REVOKE_IN_ANOTHER_PROCESS = """
import sys
from datetime import UTC, datetime, timedelta
from approvals.connectors.protocol import GrantSpec
from approvals.connectors.ssh_certificate import SshCertificate
path, prefix, key, secret = sys.argv[1:5]
for number in range(15):
    spec = GrantSpec(now=datetime.now(UTC), request_id=f"{prefix}-{number}", subject_login="alice", subject_email="",
        resource="r", entitlement="e", resource_settings={"krl_file": path},
        entitlement_settings={"principals": ["ops"]}, secret=open(secret).read(),
        ends_at=datetime.now(UTC) + timedelta(hours=1), subject_keys=(key,))
    SshCertificate().grant(spec)
    SshCertificate().revoke(spec)
"""


def test_several_workers_lose_nothing_of_each_others(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "list"
    words = [sys.executable, "-c", REVOKE_IN_ANOTHER_PROCESS, str(path)]
    rest = [public(sshd, "alice"), str(sshd.folder / "ca")]
    workers = [subprocess.Popen([*words, f"worker{n}", *rest]) for n in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    held = files.read(path)
    assert len(held.issued) == 45
    assert all(entry.revoked for entry in held.issued)
    assert all(
        held.krl.revokes(authority=entry.authority, serial=entry.serial) for entry in held.issued
    )
    assert held.krl.version == 46


def test_a_lock_that_is_held_is_transient_in_time(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "list"
    spec = ask(sshd, resource_settings={"krl_file": str(path)})
    SSH.grant(spec)
    with (tmp_path / "list.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = time.monotonic()
        with pytest.raises(TransientError, match="holds the lock"):
            SSH.revoke(spec)
        assert time.monotonic() - started < CALL_WITHIN_SECONDS
        assert observed(spec) == [Held("alice", "shell")]  # reading needs no lock
    SSH.revoke(spec)
    assert observed(spec) == []


def test_a_writer_that_dies_leaves_the_old_files_and_no_lock(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "list"
    spec = ask(sshd, resource_settings={"krl_file": str(path)})
    SSH.grant(spec)
    before = path.read_bytes()
    child = os.fork()
    if child == 0:
        with files.locked(path):
            (tmp_path / ".list.new").write_bytes(b"half a li")
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert path.read_bytes() == before
    SSH.revoke(spec)
    assert observed(spec) == []


@pytest.mark.parametrize(
    "content", [b"ssh-ed25519 AAAA\n", b"SSHKRL\n\0\0\0\0\1", b"SSHKRL\n\0\0\0\0\2" + bytes(40)]
)
def test_a_file_that_is_no_list_is_left_alone(sshd: Sshd, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list"
    path.write_bytes(content)
    spec = ask(sshd, resource_settings={"krl_file": str(path)})
    for call in (SSH.grant, SSH.revoke):
        with pytest.raises(PermanentError, match="no revocation list"):
            call(spec)
    assert not SSH.check(now=now(), resource_settings=spec.resource_settings, secret=spec.secret).ok
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2, "issued": []}', "\xff"])
def test_a_broken_file_of_the_issued_is_named(sshd: Sshd, tmp_path: Path, content: str) -> None:
    path = tmp_path / "list"
    files.ledger_path(path).write_bytes(content.encode("latin-1"))
    spec = ask(sshd, resource_settings={"krl_file": str(path)})
    with pytest.raises(PermanentError, match=r"issued\.json can't be read"):
        SSH.grant(spec)


def test_an_authority_that_is_revoked_whole_is_told(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "list"
    (tmp_path / "all").write_text(f"serial: 1-{2**64 - 1}\n")
    sshd.keygen_run("-k", "-f", path, "-s", sshd.folder / "ca.pub", tmp_path / "all")
    with pytest.raises(PermanentError, match="use a new one"):
        SSH.grant(ask(sshd, resource_settings={"krl_file": str(path)}))


def test_a_folder_that_may_not_be_written_is_permanent(sshd: Sshd) -> None:
    settings = {"krl_file": "/proc/sys/revoked.krl"}
    spec = ask(sshd, resource_settings=settings)
    with pytest.raises((PermanentError, TransientError), match="must be allowed to write"):
        SSH.grant(spec)


def test_a_signed_list_is_never_changed() -> None:
    signed = Krl().write(generated_at=0) + b"\4" + bytes(8)
    with pytest.raises(NotAKrl, match="signed"):
        Krl.parse(signed)


def test_how_to_connect_quotes_and_names_the_account(sshd: Sshd) -> None:
    spec = ask(
        sshd,
        resource_settings={"host": "bastion.example.com", "port": 2222},
        entitlement_settings={"principals": ["dba-{login}"], "account": "postgres"},
    )
    steps = dict(SSH.how_to_connect(spec))
    assert steps["Connect"] == "ssh -i ~/.ssh/id_ed25519 -p 2222 postgres@bastion.example.com"
    odd = replace(spec, subject_login="a;reboot", entitlement_settings={"principals": ["{login}"]})
    assert dict(SSH.how_to_connect(odd))["Connect"].endswith("'a;reboot@bastion.example.com'")
