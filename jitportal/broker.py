"""How Celery talks to its broker: PostgreSQL in the quick start, Redis or RabbitMQ elsewhere.

The broker only wakes workers up: all work is found from the database too. So publishing gives up
within seconds rather than hold a web request, and a lost message is late, never lost work.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

# A message that a worker took and didn't acknowledge comes back after this long. Tasks must end
# well before; one that doesn't runs twice, which every task endures.
VISIBILITY_SECONDS = 120
CONNECT_SECONDS = 2
SOCKET_SECONDS = 3
INSTALL_LOCK = 0x6A69745F71  # "jit_q"

Settings = dict[str, Any]


class UnknownBroker(Exception):
    """The URL's scheme is none that the portal can use."""


class NotInstalled(Exception):
    """A package that this kind of broker needs is missing."""


def celery_broker(url: str) -> Settings:
    """Celery's settings for the broker at `url`; {} when there is no URL.

    Raises:
        UnknownBroker: see there.
    """
    if not url:
        return {}
    scheme = urlsplit(url).scheme
    try:
        specific = _KINDS[scheme](url)
    except KeyError:
        raise UnknownBroker(
            f"BROKER_URL begins with {scheme}://, and has to begin with one of: "
            f"{', '.join(f'{known}://' for known in _KINDS)}."
        ) from None
    options = {**_RETRY_WHILE_CONNECTING, **specific.pop("broker_transport_options")}
    return {
        **_COMMON,
        **specific,
        "broker_url": url,
        "broker_transport_options": options,
    }


def install(url: str) -> None:
    """The PostgreSQL-backed broker's tables and functions exist, in the version that we carry.

    Idempotent, also when two processes do it at once. `url` is the broker's, pgmq:// or
    postgresql://; its role must own the database. Another version's queues are dropped with what
    is in them: the sweeps find that work again.

    Raises:
        NotInstalled: the package pgmq isn't there.
    """
    import psycopg
    from psycopg import sql

    try:
        files = resources.files("pgmq.sql")
        script = files.joinpath("pgmq.sql").read_text(encoding="utf-8")
        version = files.joinpath("pgmq.sql.version").read_text(encoding="utf-8").strip()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise NotInstalled("A pgmq:// broker needs the Python package pgmq.") from error
    database = url.replace("pgmq://", "postgresql://", 1)
    with psycopg.connect(database, connect_timeout=CONNECT_SECONDS) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [INSTALL_LOCK])
        row = connection.execute(
            "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'pgmq'"
        ).fetchone()
        if row is not None and row[0] == version:
            return
        connection.execute("DROP SCHEMA IF EXISTS pgmq CASCADE")
        connection.execute(sql.SQL(script))
        connection.execute(sql.SQL("COMMENT ON SCHEMA pgmq IS {}").format(sql.Literal(version)))


_COMMON: Settings = {
    "broker_connection_timeout": CONNECT_SECONDS,
    "broker_pool_limit": 4,
    "broker_pool_acquire_timeout": CONNECT_SECONDS,
    "task_publish_retry": True,
    "task_publish_retry_policy": {
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 0.2,
    },
    "broker_connection_retry": True,
    "broker_connection_max_retries": None,  # workers wait for a broker that is away, for ever
}

# Without these a publisher waits for an absent broker for ever.
_RETRY_WHILE_CONNECTING: Settings = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.2,
}


def _postgres(_url: str) -> Settings:
    return {
        "broker_transport": "jitportal.embedded.queue:Transport",
        # Remote control makes a queue per worker, named after its host: long names are refused.
        "worker_enable_remote_control": False,
        "broker_transport_options": {
            "init_extension": False,  # see install()
            "use_notify": True,
            "notify_throttle_interval_ms": 0,
            "polling_interval": 0.2,
            "wait_time_seconds": 0,  # a waiting read would keep the other queues waiting
            "visibility_timeout": VISIBILITY_SECONDS,
            "pool_size": 2,
            "pool_timeout": CONNECT_SECONDS,
        },
    }


def _redis(_url: str) -> Settings:
    return {
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": SOCKET_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
    }


def _rabbitmq(_url: str) -> Settings:
    return {
        "broker_heartbeat": 20,
        "broker_transport_options": {
            "confirm_publish": True,
            "confirm_timeout": SOCKET_SECONDS,
            "read_timeout": SOCKET_SECONDS,
            "write_timeout": SOCKET_SECONDS,
        },
    }


_KINDS: dict[str, Callable[[str], Settings]] = {
    "redis": _redis,
    "rediss": _redis,
    "amqp": _rabbitmq,
    "amqps": _rabbitmq,
    "pgmq": _postgres,
}
