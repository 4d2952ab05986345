"""The part of the settings that the ledger reads; `jitportal.settings` has all of them."""

from datetime import timedelta

from jitportal import env

LEDGER_KEY = env.text(
    "LEDGER_KEY",
    "",
    "For the sealer alone: the log's private key, as `manage.py ledger_key` makes it.",
    secret=True,
)
LEDGER_SIGN_COMMAND = env.text(
    "LEDGER_SIGN_COMMAND",
    "",
    "Instead of the key: a command that reads a text and writes its Ed25519 signature in base64 "
    "(a KMS, an HSM). Needs LEDGER_VKEY.",
)
LEDGER_VKEY = env.text(
    "LEDGER_VKEY",
    "",
    "The log's public key, as a vkey: for LEDGER_SIGN_COMMAND, and for workers, whose nightly "
    "verification then trusts no key of the database's.",
)
LEDGER_SEAL = timedelta(
    seconds=env.seconds("LEDGER_SEAL_SECONDS", 1, "How often the sealer signs what is new.")
)
LEDGER_HEARTBEAT = timedelta(
    seconds=env.seconds(
        "LEDGER_HEARTBEAT_SECONDS",
        3600,
        "The log grows by a leaf at least this often, so that silence shows.",
    )
)

ERASURE_WAIT = timedelta(
    seconds=env.whole(
        "ERASURE_WAIT_SECONDS",
        86400,
        "For the sealer above all: an approved erasure can be withdrawn for so long before it is "
        "carried out.",
    )
)
LEDGER_STALE = timedelta(
    seconds=env.seconds(
        "LEDGER_STALE_SECONDS",
        300,
        "An entry that waits longer than this for the sealer alarms operators; so does a "
        "checkpoint older than the heartbeat by as much.",
    )
)
LEDGER_HOLD = timedelta(
    seconds=env.seconds(
        "LEDGER_HOLD_SECONDS", 3600, "How often witnesses and timestamp authorities are asked."
    )
)
LEDGER_MAIL = timedelta(
    seconds=env.seconds(
        "LEDGER_MAIL_SECONDS", 86400, "How often auditors are mailed the newest checkpoint."
    )
)
LEDGER_MAIL_TO = env.words(
    "LEDGER_MAIL_TO",
    [],
    "Outside auditors' mail addresses: each gets the newest checkpoint too, and is a holder of its "
    "own.",
)
LEDGER_TSA_URLS = env.words(
    "LEDGER_TSA_URLS", [], "RFC 3161 timestamp authorities that are shown each checkpoint's hash."
)
LEDGER_TSA_CERTIFICATES = env.text(
    "LEDGER_TSA_CERTIFICATES", "", "A PEM file of the authorities' root certificates."
)
LEDGER_WITNESSES = env.text(
    "LEDGER_WITNESSES", "", "A C2SP policy file that names witnesses with their addresses."
)
