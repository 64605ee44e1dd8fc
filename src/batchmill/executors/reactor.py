"""One epoll over the driver's sockets, itself readable while something is left to receive."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable


class Reactor:
    """Calls a reader for each socket that has something."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._readers: dict[int, Callable[[], None]] = {}

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._epoll.closed

    def fileno(self) -> int:
        """The epoll's descriptor."""
        return self._epoll.fileno()

    def turn(self) -> bool:
        """Call the readers of all that is ready, without waiting; whether there was any."""
        ready = [fd for fd, _ in self._epoll.poll(0) if fd != self._wake]
        for fd in ready:
            # an earlier one of this round may have closed it
            if (reader := self._readers.get(fd)) is not None:
                reader()
        return bool(ready)

    def watch(self, sock: socket.socket, reader: Callable[[], None], *, for_room: bool = False) -> None:
        """Call `reader` when the socket is readable (`for_room`: writable). Watching it already is fine."""
        if sock.fileno() not in self._readers:
            self._readers[sock.fileno()] = reader
            self._epoll.register(sock, select.EPOLLOUT if for_room else select.EPOLLIN)

    def also_for_room(self, sock: socket.socket, wanted: bool) -> None:
        """Call the reader of a watched socket also when it is writable, or no longer."""
        if sock.fileno() in self._readers:
            self._epoll.modify(sock, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def unwatch(self, sock: socket.socket) -> None:
        """Stop watching."""
        if self._readers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock)

    def stay_readable(self, wanted: bool) -> None:
        """Keep `fileno` readable although no socket is, or no longer."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if wanted:
            os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Free the descriptors."""
        os.close(self._wake)
        self._epoll.close()
