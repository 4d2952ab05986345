"""A port in front of a real server that can be open, refuse, or take connections and stay silent."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal

from jitportal.embedded import server

Mood = Literal["open", "refused", "silent"]


class Gate:
    """Passes bytes to `behind` on 127.0.0.1 while it is open. Its own port never changes."""

    def __init__(self, behind: int) -> None:
        self.port = server.free_port()
        self._behind = behind
        self._mood: Mood = "refused"
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()

    def become(self, mood: Mood) -> None:
        """Change the mood; connections that exist are cut."""
        self._close()
        self._mood = mood
        if mood == "refused":
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self._listener = listener
        if mood == "open":
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more."""
        self.become("refused")

    def _close(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                behind = socket.create_connection(("127.0.0.1", self._behind), timeout=5)
            except OSError:
                client.close()
                continue
            behind.settimeout(None)
            with self._lock:
                self._sockets |= {client, behind}
            for one, other in ((client, behind), (behind, client)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._sockets.discard(source)
        source.close()
