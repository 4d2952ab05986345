"""Every setting of the portal, read once from the environment (see docs/configuration.md)."""

import sys
from datetime import timedelta
from pathlib import Path

import dj_database_url
import structlog
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from jitportal import env, logs
from jitportal.broker import celery_broker

BASE_DIR = Path(__file__).resolve().parent.parent

# -- what kind of run this is
DEBUG = env.flag("DEBUG", False, "Error pages with code on them. Never in production.")
DEMO = env.flag("DEMO", False, "Marks every page as a demo and shows the mail that was sent.")
_no_database_needed = len(sys.argv) > 1 and sys.argv[1] in {
    "demo",
    "chain_cases",
    "collectstatic",
    "help",
    "--help",
}

SECRET_KEY = env.text(
    "SECRET_KEY",
    "",
    "A long random text that signs sessions and seals what targets hand over. Keep it secret.",
    secret=True,
)
if not SECRET_KEY:
    if not (_no_database_needed or DEBUG):
        raise ImproperlyConfigured(
            "Set SECRET_KEY (or SECRET_KEY_FILE) to a long random text, for example the output of "
            "`python -c 'import secrets; print(secrets.token_urlsafe(64))'`."
        )
    SECRET_KEY = "only-for-commands-that-sign-nothing-" + "x" * 32
ALLOWED_HOSTS = env.words(
    "ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"], "Host names that the portal answers to."
)
PORTAL_URL = env.url(
    "PORTAL_URL",
    "http://127.0.0.1:8000",
    "Where people reach the portal; links in mails begin with it.",
    schemes=("http", "https"),
).rstrip("/")
CSRF_TRUSTED_ORIGINS = [PORTAL_URL]

# -- applications
INSTALLED_APPS = [
    "audit",
    "approvals",
    "jitportal",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "simple_history",
    "allauth",
    "allauth.account",
    "csp",
    "django_htmx",
    "django_structlog",
    "heroicons",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "jitportal.compression.CompressedStaticMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "approvals.portal.middleware.PersonTimezoneMiddleware",
]
ROOT_URLCONF = "jitportal.urls"
WSGI_APPLICATION = "jitportal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "approvals.portal.context.shell",
            ],
            "builtins": ["approvals.templatetags.portal"],
        },
    }
]

# -- data
DATABASE_URL = env.url(
    "DATABASE_URL",
    "",
    "The PostgreSQL database, as the role that the process should have (app for web and workers, "
    "owner for migrate).",
    schemes=("postgres", "postgresql"),
    secret=True,
)
if not DATABASE_URL and not _no_database_needed:
    raise ImproperlyConfigured(
        "Set DATABASE_URL, for example postgresql://jitportal_app:…@db.example.com/jitportal. "
        "For a trial without any server run `make demo`."
    )
DATABASE_ROLE = env.text(
    "DATABASE_ROLE", "", "A role to take on after connecting (SET ROLE), for example the owner."
)
DATABASES = {
    "default": dj_database_url.parse(
        DATABASE_URL or "postgresql://nobody@127.0.0.1:1/none", conn_max_age=0
    )
}
DATABASES["default"].setdefault("OPTIONS", {})
DATABASES["default"]["OPTIONS"] |= {
    "pool": {
        "min_size": 1,
        "max_size": env.whole(
            "DATABASE_POOL", 12, "Most connections that one process opens.", least=1
        ),
        "timeout": 10,
        # Else it tries at ever longer pauses, and pages fail minutes after the database is back.
        "reconnect_timeout": 4,
    },
    "connect_timeout": 5,
    "server_side_binding": True,
    "prepare_threshold": 5,  # statements are constant; planning them each time is a third of them
    # A host that vanishes must not hold its locks until the operating system gives it up.
    "options": (
        "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3"
        " -c tcp_user_timeout=20000 -c idle_in_transaction_session_timeout=300000"
    ),
    "application_name": "jitportal",
} | ({"assume_role": DATABASE_ROLE} if DATABASE_ROLE else {})
DATABASE_APP_ROLE = "jitportal_app"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "approvals.User"
SIMPLE_HISTORY_HISTORY_CHANGE_REASON_USE_TEXT_FIELD = True

# -- background work
BROKER_URL = env.url(
    "BROKER_URL",
    "",
    "Where Celery's messages go: redis://, rediss://, amqp://, amqps:// or pgmq://.",
    schemes=("redis", "rediss", "amqp", "amqps", "pgmq"),
    secret=True,
)
CELERY = celery_broker(BROKER_URL) | {
    "task_ignore_result": True,
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "task_default_queue": "due",
    "task_serializer": "json",
    "accept_content": ["json"],
    "timezone": "UTC",
    "enable_utc": True,
    "worker_hijack_root_logger": False,
    "broker_connection_retry_on_startup": True,
    "beat_scheduler": "jitportal.schedule:LeadingScheduler",
}
OUTBOX_LEASE = timedelta(
    seconds=env.seconds(
        "OUTBOX_LEASE_SECONDS",
        60,
        "How long a worker may hold a piece of work before another one takes it over.",
    )
)
TARGET_CONCURRENCY = env.whole(
    "TARGET_CONCURRENCY", 4, "Calls that one worker makes to one target at the same time.", least=1
)
STUCK_AFTER = timedelta(
    seconds=env.seconds(
        "STUCK_AFTER_SECONDS", 60, "A removal that fails for longer than this alarms operators."
    )
)
RECONCILE_EVERY = timedelta(
    seconds=env.seconds(
        "RECONCILE_EVERY_SECONDS",
        900,
        "How often what a target holds is compared with what was granted.",
    )
)

# -- watching the processes
WATCH_SILENT = timedelta(
    seconds=env.seconds(
        "WATCH_SILENT_SECONDS", 60, "Longer silence of beat or a worker, or access overdue, alarms."
    )
)
WATCH_PULSE, WATCH_LOOK = (min(timedelta(seconds=most), WATCH_SILENT / 4) for most in (10, 15))
WATCH_WAITING = timedelta(
    seconds=env.seconds(
        "WATCH_WAITING_SECONDS", 300, "Due work that nobody takes for longer alarms operators."
    )
)
METRICS_TOKEN = env.text(
    "METRICS_TOKEN", "", "The bearer token of /metrics. Without it there is none.", secret=True
)

# -- the ledger
LEDGER_ORIGIN = env.text(
    "LEDGER_ORIGIN",
    "",
    "The log's name in every checkpoint, for ever, such as jit.example.com/ledger. A new key needs "
    "a new one. Without it: PORTAL_URL's host and /ledger.",
) or (PORTAL_URL.split("://", 1)[-1] + "/ledger")
from jitportal.settings_ledger import *  # noqa: E402, F403

# -- people and sign-in
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "approvals.portal.accounts.PortalAccountAdapter"
ACCOUNT_FORMS = {
    "login": "approvals.portal.account_forms.Login",
    "change_password": "approvals.portal.account_forms.ChangePassword",
    "set_password": "approvals.portal.account_forms.SetPassword",
    "reset_password": "approvals.portal.account_forms.ResetPassword",
    "reset_password_from_key": "approvals.portal.account_forms.ResetPasswordKey",
    "reauthenticate": "approvals.portal.account_forms.Reauthenticate",
}
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_USER_DISPLAY = "approvals.portal.accounts.display_name"
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    "login_failed": "10/m/ip,5/5m/key",
    "reset_password": "20/m/ip,5/m/key",
}
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_AGE = env.whole(
    "SESSION_SECONDS", 12 * 3600, "A sign-in is good for this many seconds.", least=60
)
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "jitportal_cache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

# -- mail
EMAIL_URL = env.url(
    "EMAIL_URL",
    "",
    "The mail server: smtp://user:password@host:port, smtps:// for TLS from the start, "
    "smtp+tls:// for STARTTLS. Without it mail is written to the log.",
    schemes=("smtp", "smtps", "smtp+tls"),
    secret=True,
)
DEFAULT_FROM_EMAIL = env.text(
    "MAIL_FROM", "jitportal <jitportal@localhost>", "The sender of all mail."
)
SERVER_EMAIL = DEFAULT_FROM_EMAIL
EMAIL_TIMEOUT = 15
DEMO_MAIL_DIR = env.text("DEMO_MAIL_DIR", "", "The demo keeps the mail that it sent here.")
if EMAIL_URL:
    from urllib.parse import unquote, urlsplit

    _mail = urlsplit(EMAIL_URL)
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_HOST = _mail.hostname or ""
    EMAIL_PORT = _mail.port or {"smtps": 465, "smtp+tls": 587}.get(_mail.scheme, 25)
    EMAIL_HOST_USER = unquote(_mail.username or "")
    EMAIL_HOST_PASSWORD = unquote(_mail.password or "")
    EMAIL_USE_SSL = _mail.scheme == "smtps"
    EMAIL_USE_TLS = _mail.scheme == "smtp+tls"
elif DEMO_MAIL_DIR:
    EMAIL_BACKEND = "approvals.channels.demo_backend.FolderBackend"
else:
    EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

# -- time and language
USE_TZ = True
TIME_ZONE = env.text("TIME_ZONE", "UTC", "The timezone of people who did not choose one.")
LANGUAGE_CODE = "en-gb"
USE_I18N = False

# -- files
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

# -- security
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_USE_SESSIONS = False
_https = PORTAL_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SECURE_SSL_REDIRECT = _https and env.flag(
    "SSL_REDIRECT", True, "Send people from http to https (off where a proxy already does)."
)
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _https
if env.flag("BEHIND_PROXY", False, "Trust X-Forwarded-Proto of the proxy in front of the portal."):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    ALLAUTH_TRUSTED_PROXY_COUNT = 1
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "manifest-src": [SELF],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000_000
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_000

# -- logs
LOG_FORMAT = env.text("LOG_FORMAT", "json", "`json` for machines, `console` for people.")
LOGGING = logs.configuration(console=LOG_FORMAT == "console")
structlog.configure(**logs.STRUCTLOG)
