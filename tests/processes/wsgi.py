"""The portal's web application as in production, which also knows the no-op target."""

import os
from pathlib import Path

from jitportal.wsgi import application  # first: it makes Django ready

# isort: split
from approvals.connectors import registry
from tests.connectors.noop import Noop

registry._found()["noop"] = Noop(Path(os.environ["NOOP_FOLDER"]))

__all__ = ["application"]
