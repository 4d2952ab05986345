"""Exits 0 when the container's web process answers /healthz, else 1 with a line that says why.

It asks as the proxy does: with a name of ALLOWED_HOSTS, and marked as https. HEALTHCHECK_URL asks
another address than the container's own port.
"""

import http.client
import os
import sys
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 4


def problem() -> str | None:
    """Ask once; return what is wrong, or None."""
    address = urlsplit(os.environ.get("HEALTHCHECK_URL", "http://127.0.0.1:8000/healthz"))
    name = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].strip()
    host = name.removeprefix(".") if name not in ("", "*") else "localhost"
    connection = http.client.HTTPConnection(
        address.hostname or "127.0.0.1", address.port or 8000, timeout=TIMEOUT_SECONDS
    )
    try:
        headers = {"Host": host, "X-Forwarded-Proto": "https"}
        connection.request("GET", address.path, headers=headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{address.geturl()} does not answer: {type(error).__name__}"
    finally:
        connection.close()
    return None if status == 200 else f"{address.geturl()} answers {status} to {host}"


if __name__ == "__main__":
    sys.exit(problem())
