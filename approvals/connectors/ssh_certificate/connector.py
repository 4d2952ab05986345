"""SSH certificates: the portal is a certificate authority that sshd trusts.

The secret is the authority's private key. `grant` signs the subject's own public key, for the
entitlement's principals and until the grant ends; sshd itself refuses the certificate after that.
An early end goes through a revocation list, where one is kept. docs/connectors/ssh_certificate.md
has every setting; signing, the files, and the list's format are in modules of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

from approvals.connectors.protocol import (
    Connector,
    ConnectorError,
    Field,
    GrantSpec,
    Handover,
    Health,
    Held,
    NotYet,
    PermanentError,
    Receipt,
    Settings,
    Step,
    untouched,
)
from approvals.connectors.ssh_certificate import files, settings
from approvals.connectors.ssh_certificate.signing import Authority, SubjectKey

SKEW = timedelta(minutes=1)
"""A certificate is good from so long before now: a host's clock may be behind."""

_REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Target:
    """Checked settings of one grant."""

    spec: GrantSpec
    krl_file: Path | None
    right: settings.Right

    @classmethod
    def read(cls, spec: GrantSpec) -> _Target:
        """Raises: PermanentError."""
        errors = settings.resource_errors(spec.resource_settings)
        errors += settings.entitlement_errors(spec.entitlement_settings)
        if not settings.NAME.fullmatch(spec.subject_login):
            errors.append(
                "The subject's login must be 1 to 64 of the letters, digits and ._@+- for SSH."
            )
        if not _REQUEST_ID.fullmatch(spec.request_id):
            errors.append("The request's id must be of letters, digits, dots and dashes.")
        if errors:
            raise PermanentError(" ".join(errors))
        krl_file = spec.resource_settings.get("krl_file")
        return cls(
            spec=spec,
            krl_file=Path(krl_file) if krl_file else None,
            right=settings.right(spec),
        )

    def issued(self, authority: Authority, *, ends_at: datetime) -> files.Issued:
        """Return what is kept of the first certificates of this request."""
        return files.Issued(
            request_id=self.spec.request_id,
            generation=1,
            authority=authority.blob,
            login=self.spec.subject_login,
            right=settings.fingerprint(self.spec.entitlement_settings),
            ends_at=ends_at,
        )

    def key_id(self, generation: int) -> str:
        """Return what sshd writes into its log at each login."""
        return f"jit:{self.spec.request_id}:{generation}:{self.spec.subject_login}"


class SshCertificate(Connector):
    """Signs short certificates of the subject's own key."""

    key: ClassVar[str] = "ssh_certificate"
    title: ClassVar[str] = "SSH certificate"
    glyph: ClassVar[str] = "SH"
    needs_secret: ClassVar[bool] = True
    needs_subject_keys: ClassVar[bool] = True
    ends_at_target: ClassVar[bool] = True
    per_request: ClassVar[bool] = True
    resource_fields: ClassVar[tuple[Field, ...]] = settings.RESOURCE_FIELDS
    entitlement_fields: ClassVar[tuple[Field, ...]] = settings.ENTITLEMENT_FIELDS

    def grant(self, spec: GrantSpec) -> Receipt:
        """The subject has a certificate of their newest key, good until `ends_at`.

        All certificates of a request share serial number and key id, so that repeating this makes
        nothing that its removal does not end.

        Raises: PermanentError also when the subject has no SSH key.
        """
        with untouched():  # a certificate is out with the receipt alone
            return self._signed(spec)

    def _signed(self, spec: GrantSpec) -> Receipt:
        target = _Target.read(spec)
        if not spec.subject_keys:
            raise PermanentError(
                f"{spec.subject_login} has no SSH key here: they add one under "
                "Settings → SSH keys, and ask again."
            )
        key = SubjectKey.read(spec.subject_keys[0])
        now = spec.moment()
        ends_at = _end(spec, now=now)
        authority = Authority.read(spec.secret)
        issued = target.issued(authority, ends_at=ends_at)
        if target.krl_file is not None:
            with files.locked(target.krl_file) as held:
                issued = held.enter(issued)
                held.save(now=now)
        line = authority.sign(
            key.key,
            serial=issued.serial,
            key_id=target.key_id(issued.generation),
            principals=target.right.principals,
            valid_from=now - SKEW,
            valid_until=ends_at,
            critical_options=target.right.critical_options(ends_at=ends_at),
            extensions=target.right.extensions,
        )
        detail = {
            **_facts(target, issued),
            "granted": True,
            "principals": list(target.right.principals),
            "subject_key": key.fingerprint,
            "authority": authority.fingerprint,
            "valid_until": ends_at.isoformat(),
        }
        handover = Handover(label="SSH certificate", text=line, once=False)
        return Receipt(detail=detail, handover=(handover,))

    def revoke(self, spec: GrantSpec) -> Receipt:
        """No certificate of this request is good any more.

        With `krl_file` they are on the list when this returns, expired or not (a host's clock may
        be behind): sshd refuses them as soon as its own copy of the list is this one. Without it,
        a certificate ends by its own time alone.

        Raises: NotYet before that time where no list is kept.
        """
        target = _Target.read(spec)
        now = spec.moment()
        expired = spec.ends_at is not None and spec.ends_at <= now
        if target.krl_file is None:
            if not expired:
                raise NotYet(_stays_good(spec), until=spec.ends_at)
            return Receipt(
                detail={"granted": False, "ended_by": "expiry", "request": spec.request_id}
            )
        with files.locked(target.krl_file) as held:
            known = held.of(spec.request_id)
            if not known and spec.ends_at is not None and not expired:
                # Nobody remembers it. If the ledger was lost, this is the serial number it had.
                authority = Authority.read(spec.secret)
                known = [held.enter(target.issued(authority, ends_at=spec.ends_at))]
            to_list = [entry for entry in known if not entry.revoked]
            expired = all(entry.ends_at <= now for entry in known)
            if to_list:
                held.revoke(to_list)
            held.save(now=now)
            detail = {
                "granted": False,
                "ended_by": "expiry" if expired else "revocation list",
                "request": spec.request_id,
                "serials": sorted(str(entry.serial) for entry in known),
                "krl_file": str(target.krl_file),
                "krl_version": held.krl.version,
            }
        return Receipt(detail=detail)

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        """Who has a certificate that is good now, from the file beside the revocation list.

        No server knows certificates, and without `krl_file` nobody does: then this raises
        PermanentError, since an empty list would be a lie.
        """
        del secret
        errors = settings.resource_errors(resource_settings)
        keys_by_right: dict[str, list[str]] = {}
        for key, given in entitlements.items():
            errors += [
                f"Entitlement {key}: {error}" for error in settings.entitlement_errors(given)
            ]
            if not errors:
                keys_by_right.setdefault(settings.fingerprint(given), []).append(key)
        if errors:
            raise PermanentError(" ".join(errors))
        krl_file = resource_settings.get("krl_file")
        if not krl_file:
            raise PermanentError(
                'Certificates are kept at no server: set "krl_file" for the resource, and those '
                "that are issued from then on can be observed."
            )
        live = files.read(Path(krl_file)).live(now=now)
        return sorted(
            {Held(entry.login, key) for entry in live for key in keys_by_right.get(entry.right, ())}
        )

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        """Whether the authority's key can be read, and the revocation list be written."""
        started = perf_counter()
        errors = settings.resource_errors(resource_settings)
        if errors:
            return Health(ok=False, message=" ".join(errors))
        krl_file = resource_settings.get("krl_file")
        message = ""
        try:
            authority = Authority.read(secret)
            if krl_file:
                with files.locked(Path(krl_file)) as held:
                    message = f" The revocation list is at version {held.krl.version}."
                    if not Path(krl_file).exists():
                        message = (
                            f" {krl_file} comes with the first grant; sshd refuses every key while "
                            'its "RevokedKeys" is missing.'
                        )
        except ConnectorError as error:
            return Health(ok=False, message=error.message)
        latency_ms = (perf_counter() - started) * 1000
        message = f"The authority is {authority.fingerprint}.{message}"
        return Health(ok=True, message=message, latency_ms=latency_ms)

    def how_to_connect(self, spec: GrantSpec) -> list[Step]:
        """Where to save the certificate, and an ssh command."""
        return settings.how_to_connect(spec)

    def validate(
        self, *, resource_settings: Settings, entitlement_settings: Settings | None
    ) -> list[str]:
        """See docs/connectors/ssh_certificate.md for the settings."""
        errors = settings.resource_errors(resource_settings)
        if entitlement_settings is not None:
            errors += settings.entitlement_errors(entitlement_settings)
        return errors


def _end(spec: GrantSpec, *, now: datetime) -> datetime:
    """Return when the certificate ends. Raises: PermanentError."""
    if spec.ends_at is None:
        raise PermanentError("A certificate needs an end, and this grant names none.")
    ends_at = spec.ends_at.astimezone(UTC).replace(microsecond=0)  # never later than asked
    if ends_at <= now:
        raise PermanentError("The grant is over: a certificate would be of no use.")
    return ends_at


def _stays_good(spec: GrantSpec) -> str:
    until = f"{spec.ends_at:%Y-%m-%d %H:%M:%S %Z}" if spec.ends_at else "its own end"
    return (
        f"The certificate stays good until {until}: it can be ended early only through a "
        'revocation list. Set "krl_file" for the resource, or revoke it at the hosts by hand.'
    )


def _facts(target: _Target, issued: files.Issued) -> dict[str, Any]:
    return {
        "login": target.spec.subject_login,
        "key_id": target.key_id(issued.generation),
        "serial": str(issued.serial),  # too large a number for many readers of JSON
    }
