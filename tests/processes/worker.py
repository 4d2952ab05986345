"""A worker or beat as in production, which also knows the no-op target: `python -m tests.processes.worker -Q due …`."""

import os
import sys
from pathlib import Path

import django
from celery.__main__ import main


def run() -> None:
    """Register the target, then hand over to Celery's own command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jitportal.settings")
    django.setup()
    from approvals.connectors import registry
    from tests.connectors.noop import Noop

    registry._found()["noop"] = Noop(Path(os.environ["NOOP_FOLDER"]))
    sys.argv = ["celery", "-A", "jitportal", *sys.argv[1:]]
    main()


if __name__ == "__main__":
    run()
