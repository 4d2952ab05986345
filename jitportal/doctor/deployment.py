"""Settings and the other servers: addresses, Django's own checks, broker, mail, operators."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.mail import get_connection
from django.http.request import split_domain_port, validate_host

from approvals.selectors import people
from jitportal.celery import app
from jitportal.doctor.finding import Finding

ANSWER_SECONDS = 5
_LOCAL = {"localhost", "127.0.0.1", "::1"}
#: What follows from http in PORTAL_URL, which is said once; and what `broker` says better.
_SAID_ELSEWHERE = {
    "security.W004", "security.W005", "security.W008", "security.W012", "security.W016",
    "security.W021", "approvals.E001",
}  # fmt: skip


def addresses() -> Iterator[Finding]:
    """PORTAL_URL is where people can reach the portal, by https, and the portal answers to it."""
    host = urlsplit(settings.PORTAL_URL).hostname or ""
    if host in _LOCAL and not settings.DEMO:
        yield Finding(
            f"PORTAL_URL is {settings.PORTAL_URL}.",
            "Links in mails begin with it, and would lead everybody to their own machine.",
            "Set PORTAL_URL to the address that people type, such as https://access.example.com.",
        )
    elif not settings.PORTAL_URL.startswith("https://") and host not in _LOCAL:
        yield Finding(
            f"PORTAL_URL is {settings.PORTAL_URL}, without https.",
            "Passwords and sessions cross the network in the clear; cookies are not kept to https "
            "and no HSTS is sent.",
            "Put a proxy with TLS in front and set PORTAL_URL=https://… (and BEHIND_PROXY=yes).",
        )
    domain, _ = split_domain_port(urlsplit(settings.PORTAL_URL).netloc)
    if not validate_host(domain, settings.ALLOWED_HOSTS):
        yield Finding(
            f"The host of PORTAL_URL, {domain}, is not in ALLOWED_HOSTS.",
            "Everybody who follows a link is answered 400.",
            f"Set ALLOWED_HOSTS={domain}.",
        )
    if "*" in settings.ALLOWED_HOSTS:
        yield Finding(
            "ALLOWED_HOSTS lets any host name in.",
            "Forged Host headers end up in links.",
            f"Set ALLOWED_HOSTS={domain}.",
        )


def django_checks() -> Iterator[Finding]:
    """Django's own checks, those of deployments too, have nothing to say."""
    for message in checks.run_checks(include_deployment_checks=True):
        if message.id in _SAID_ELSEWHERE or message.is_silenced():
            continue
        if message.level < checks.WARNING:
            continue
        yield Finding(
            " ".join(message.msg.split()),
            f"It is {message.id} of `manage.py check --deploy`.",
            message.hint or "See the message.",
            level="wrong" if not settings.DEMO or message.level >= checks.ERROR else "note",
        )


def broker() -> Iterator[Finding]:
    """The broker answers."""
    if not settings.BROKER_URL:
        yield Finding(
            "BROKER_URL is not set.",
            "No worker would hear of any work: nothing would be granted or removed.",
            "Give the URL of Redis (redis://…), RabbitMQ (amqp://…) or PostgreSQL (pgmq://…).",
        )
        return
    try:
        with app.connection_for_write(url=settings.BROKER_URL) as found:
            found.ensure_connection(max_retries=1, interval_start=0, timeout=ANSWER_SECONDS)
            assert found.default_channel  # Redis is not asked before there is a channel
    except Exception as error:  # each kind of broker has its own errors
        yield Finding(
            f"The broker does not answer: {type(error).__name__}.",
            "Work is found by beat's looks alone if beat reaches it, and by nobody if it doesn't.",
            "Check host, port, user and password of BROKER_URL, that the broker runs and has room, "
            "and that firewalls let this host in.",
        )


def mail() -> Iterator[Finding]:
    """The mail server answers, with TLS and the sign-in that EMAIL_URL asks for."""
    if not settings.EMAIL_URL:
        if not settings.DEMO:
            yield Finding(
                "EMAIL_URL is not set: mail is written to the log.",
                "No approver hears of what waits, and no operator of what is wrong.",
                "Set EMAIL_URL, such as smtp+tls://user:password@mail.example.com:587.",
            )
        return
    try:
        server = get_connection(fail_silently=False, timeout=ANSWER_SECONDS)
        server.open()
        server.close()
    except Exception as error:  # sockets, TLS and SMTP have their own
        yield Finding(
            f"The mail server does not take us: {type(error).__name__}.",
            "No approver hears of what waits, and no operator of what is wrong; mail is tried "
            "again for three days.",
            "Check host, port, TLS, user and password of EMAIL_URL, and the mail server's log.",
        )


def operators() -> Iterator[Finding]:
    """There are operators, who can be mailed."""
    found = people.operators()
    if not found:
        yield Finding(
            "There is no active operator.",
            "Nobody is told of stuck removals and dead processes, or may configure anything.",
            "Run `manage.py createsuperuser`, or add somebody to the operators' group.",
        )
    elif not any(person.email for person in found):
        yield Finding(
            "No operator has a mail address.",
            "Nobody is told of stuck removals and dead processes.",
            "Give the operators their addresses, under People.",
        )
    elif not people.standing_operators():
        yield Finding(
            "Every operator's membership ends by itself.",
            "Once the last one ends, nobody is left who may grant it again.",
            "Add at least one standing operator.",
            level="note",
        )
