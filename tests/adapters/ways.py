"""Ways to a server on which a test may let requests or answers get lost."""

from __future__ import annotations

import select
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
        self._clients: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    @abstractmethod
    def carry(self, client: socket.socket, server: socket.socket) -> None:
        """Hand on what comes, until one side leaves or the way is cut; a side may leave while it is sent to."""

    def close(self) -> None:
        """Accept nothing more, and hang up."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                self._clients.append(client)
                self._threads.append(threading.Thread(target=self._connect, args=(client,), daemon=True))
                self._threads[-1].start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(ConnectionError):
            server.connect(self._server)
            self.carry(client, server)


class Proxy(Way):
    """A way to a PostgreSQL server that is cut after so many requests more, whatever sends them.

    After *answers* more it hangs up in place of handing the next one on. While it *is_frozen* it takes what comes,
    connections too, and hands on nothing. *beginnings* are what each connection began with.
    """

    def __init__(self, server: str, folder: Path) -> None:
        self.left: int | None = None
        self.is_frozen = False
        self.answers: int | None = None
        self.beginnings: list[bytes] = []
        socket_file = ".s.PGSQL.5432"
        place, _, options = server.partition("host=")
        there, _, options = options.partition("&")
        self.url = f"{place}host={folder}&{options}"
        super().__init__(Path(there) / socket_file, folder / socket_file)

    def carry(self, client: socket.socket, server: socket.socket) -> None:
        self.beginnings.append(client.recv(1 << 16))  # it is no request
        server.sendall(self.beginnings[-1])
        while True:
            ready, _, _ = select.select([client, server], [], [])
            came = ready[0].recv(1 << 16)
            if not came or (self._is_cut() if ready[0] is client else self._is_lost()):
                return
            if self.is_frozen:
                continue
            (server if ready[0] is client else client).sendall(came)

    def _is_cut(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0

    def _is_lost(self) -> bool:
        if self.answers is None:
            return False
        self.answers -= 1
        return self.answers < 0
