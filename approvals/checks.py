"""What `manage.py check` refuses: deployments that would break the portal's promises."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import DatabaseError, connection

from audit.models.guards import APP, SEALER


@register(Tags.database)
def connects_without_power(
    *, databases: Sequence[str] | None = None, **_: Any
) -> list[CheckMessage]:
    """Warn where the process could change records, being a superuser or their owner."""
    if not databases:
        return []
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_user, rolsuper, pg_has_role(current_user, relowner, 'MEMBER')"
                " FROM pg_roles, pg_class WHERE rolname = current_user"
                " AND relname = 'approvals_accessrequest'"
            )
            row = cursor.fetchone()
    except DatabaseError:
        return []
    if row is None or not (row[1] or row[2]):
        return []
    return [
        checks.Warning(
            f"The process connects to the database as {row[0]}, which owns the records.",
            hint="Run migrate as the owner, but web and workers as jitportal_app.",
            id="approvals.W001",
        )
    ]


@register(Tags.database)
def nobody_makes_temporary_tables(
    *, databases: Sequence[str] | None = None, **_: Any
) -> list[CheckMessage]:
    """Warn where a role of the portal may make temporary tables, which could stand in for others.

    A database gives that right to everybody until it is taken away, and a dump does not carry it.
    """
    if not databases:
        return []
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT rolname, current_database() FROM pg_roles WHERE rolname = ANY (%s)"
                " AND has_database_privilege(rolname, current_database(), 'TEMPORARY')"
                " ORDER BY rolname",
                [[APP, SEALER]],
            )
            found = cursor.fetchall()
    except DatabaseError:
        return []
    if not found:
        return []
    return [
        checks.Warning(
            f"{' and '.join(name for name, _ in found)} may make temporary tables in "
            f"{found[0][1]}.",
            hint="As a superuser, run jitportal/embedded/database.sql in it: it takes from PUBLIC "
            "what PostgreSQL gives everybody in a new database.",
            id="approvals.W002",
        )
    ]


@register(Tags.security, deploy=True)
def has_a_broker(**_: Any) -> list[CheckMessage]:
    """Refuse a deployment without a broker: nothing would ever be granted or removed."""
    if settings.BROKER_URL:
        return []
    return [
        checks.Error(
            "BROKER_URL is not set: no worker would hear of any work.",
            hint="Give the URL of Redis (redis://…), RabbitMQ (amqp://…) or PostgreSQL (pgmq://…).",
            id="approvals.E001",
        )
    ]


#: Directives that decide what code and styles a page runs.
_RUNS = ("default-src", "script-src", "style-src")
#: Directives that the default does not stand in for.
_KEEPS = ("base-uri", "form-action", "frame-ancestors")
#: What a script must never come from: any host, or a text that somebody put into an address.
_ANYWHERE = frozenset({"*", "data:", "blob:", "filesystem:", "http:", "https:"})
#: Mail programs read inline styles only; these are never shown within the portal's own pages.
_MAILS = (("mail",), ("account", "email"))
_TEMPLATE_CODE = re.compile(
    r"{%\s*comment.*?{%\s*endcomment\s*%}|{%.*?%}|{{.*?}}|{#.*?#}", re.DOTALL
)
_INLINE = re.compile(
    r"<style\b|<[a-z][^>]*?\s(?:style|on[a-z]+)\s*=|<script\b(?![^>]*\ssrc\s*=)"
    r"|[\"']\s*javascript:",
    re.IGNORECASE | re.DOTALL,
)


@register(Tags.security)
def nothing_inline_may_run(**_: Any) -> list[CheckMessage]:
    """Refuse a content security policy under which a text on a page could run as code."""
    policy = getattr(settings, "CONTENT_SECURITY_POLICY", None) or {}
    directives = policy.get("DIRECTIVES") or {}
    wrong = [f"{name} is missing" for name in (*_RUNS, *_KEEPS) if not directives.get(name)]
    for name, sources in directives.items():
        wrong += [f"{name} allows {source}" for source in sources if "unsafe" in source]
        if name.startswith(_RUNS):
            wrong += [f"{name} allows {source}" for source in sources if source in _ANYWHERE]
    if policy.get("EXCLUDE_URL_PREFIXES"):
        wrong.append("some addresses have no policy")
    if "csp.middleware.CSPMiddleware" not in settings.MIDDLEWARE:
        wrong.append("its middleware is not installed")
    if not wrong:
        return []
    return [
        checks.Error(
            f"The content security policy is too weak: {', '.join(wrong)}.",
            hint="Set CONTENT_SECURITY_POLICY as jitportal/settings.py has it: our own files only.",
            id="approvals.E002",
        )
    ]


@register(Tags.templates, deploy=True)
def nothing_inline_is_written(**_: Any) -> list[CheckMessage]:
    """Refuse templates of pages with inline scripts or styles, which the policy would not run."""
    engines: list[dict[str, Any]] = settings.TEMPLATES
    folders = [Path(folder) for engine in engines for folder in engine["DIRS"]]
    errors: list[CheckMessage] = [
        checks.Error(
            f"{path.relative_to(folder)} has something inline: {found}",
            hint="Put scripts and styles into files under static/; no page may run anything else.",
            id="approvals.E003",
        )
        for folder in folders
        for path in sorted(folder.rglob("*.html"))
        if not any(path.relative_to(folder).parts[: len(mail)] == mail for mail in _MAILS)
        for found in inline(path.read_text(encoding="utf-8"))
    ]
    return errors


def inline(template: str) -> list[str]:
    """Return what of a template's HTML a strict policy would not run, one line each."""
    html = _TEMPLATE_CODE.sub(" ", template)
    return [" ".join(found.group().split())[-80:] for found in _INLINE.finditer(html)]
