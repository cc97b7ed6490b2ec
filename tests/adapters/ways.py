"""A way to a server on which a test may let requests or answers get lost."""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path


class Way(ABC):
    """A socket file that leads to the server's; a subclass says what gets through."""

    def __init__(self, server: Path, socket_file: Path) -> None:
        self.connections = 0
        self._server = str(server)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(socket_file))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    @abstractmethod
    def carry(self, client: socket.socket, server: socket.socket) -> None:
        """Hand on what comes, until one side leaves or the way is cut."""

    def close(self) -> None:
        """Accept nothing more. Whoever is connected must have left."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._connect, args=(client,), daemon=True))
                self._threads[-1].start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._server)
            self.carry(client, server)
