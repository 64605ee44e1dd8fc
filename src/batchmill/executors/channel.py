"""Whole messages over SEQPACKET socket pairs between the driver and its own children.

A message is a pickle; one over 64 KB travels as a memfd. Nothing here knows what messages mean, and nothing here
may read from a file or a network: unpickling is safe only because the other end is our own child.
"""

from __future__ import annotations

import array
import contextlib
import os
import pickle
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from batchmill.errors import InternalError

LIMIT = 64 * 1024  # bytes of one message: three of the largest fit the default socket buffer
_IN_MEMFD = b"M"  # no pickle of protocol 5 begins like this
_ROOM_FOR_FDS = socket.CMSG_SPACE(8 * array.array("i").itemsize)
# plain numbers: combining the enumeration's members costs as much as the system call
DONT_WAIT = int(socket.MSG_DONTWAIT)
_CLOSE_ON_EXEC = int(socket.MSG_CMSG_CLOEXEC)
_CUT_OFF = int(socket.MSG_TRUNC) | int(socket.MSG_CTRUNC)
_GONE = (ConnectionResetError, BrokenPipeError)


class Gone(Exception):
    """The other end is closed."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets that keep message borders."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def encode(message: Any) -> bytes:
    """The bytes of a message."""
    return pickle.dumps(message, 5)


def send_bytes(sock: socket.socket, data: bytes, fds: Sequence[int] = (), flags: int = 0) -> None:
    """Send one encoded message. Raises Gone, or BlockingIOError when `flags` say not to wait."""
    try:
        if len(data) <= LIMIT and not fds:
            sock.send(data, flags)
        elif len(data) <= LIMIT:
            _send_with(sock, data, fds, flags)
        else:
            _send_memfd(sock, data, fds, flags)
    except _GONE as error:
        raise Gone from error


def _send_memfd(sock: socket.socket, data: bytes, fds: Sequence[int], flags: int) -> None:
    memfd = memfd_of(data)
    try:
        _send_with(sock, _IN_MEMFD, [memfd, *fds], flags)
    finally:
        os.close(memfd)


def _send_with(sock: socket.socket, data: bytes, fds: Sequence[int], flags: int) -> None:
    # not `socket.send_fds`: it ignores its flags, so that it waits when it must not
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))], flags)


def memfd_of(data: bytes) -> int:
    """An anonymous file that holds `data`."""
    memfd = os.memfd_create("batchmill")
    view = memoryview(data)
    while view:
        view = view[os.write(memfd, view) :]
    return memfd


def read_memfd(memfd: int) -> bytes:
    """All of an anonymous file, whatever its offset; closes it."""
    with open(memfd, "rb", buffering=0) as file:
        file.seek(0)
        return file.readall()


def receive_bytes(sock: socket.socket, flags: int = 0) -> tuple[bytes, list[int]]:
    """One encoded message and the descriptors that came with it. Raises Gone at the end, BlockingIOError if none."""
    flags |= _CLOSE_ON_EXEC
    try:
        data, ancillary, got, _ = sock.recvmsg(LIMIT + 1, _ROOM_FOR_FDS, flags)
    except ConnectionResetError:
        # the other end closed without reading all of ours: said once, before what it sent itself can be read
        data, ancillary, got, _ = sock.recvmsg(LIMIT + 1, _ROOM_FOR_FDS, flags)
    if not data:
        raise Gone
    if got & _CUT_OFF:
        raise InternalError("a message between processes was cut off")
    if not ancillary:
        return data, []
    return _with_descriptors(data, ancillary)


def _with_descriptors(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> tuple[bytes, list[int]]:
    fds = array.array("i")
    for _, _, content in ancillary:
        fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if data == _IN_MEMFD:
        return read_memfd(fds[0]), list(fds[1:])
    return data, list(fds)


def receive(sock: socket.socket, flags: int = 0) -> Any:
    """One message, without descriptors of its own. Raises Gone and BlockingIOError."""
    return pickle.loads(receive_bytes(sock, flags)[0])


class Outbox:
    """Sends that never block: what the socket does not take waits here, in order."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._waiting: deque[tuple[bytes, list[int]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def post(self, data: bytes, fds: Sequence[int] = ()) -> bool:
        """Send or queue one encoded message; False when something is left queued. Raises Gone."""
        if self._waiting:
            self._waiting.append((data, _copies(fds)))
            return False
        try:
            send_bytes(self.sock, data, fds, DONT_WAIT)
        except BlockingIOError:
            self._waiting.append((data, _copies(fds)))
            return False
        return True

    def flush(self) -> bool:
        """Send what waits; True when nothing is left. Raises Gone."""
        while self._waiting:
            data, fds = self._waiting[0]
            try:
                send_bytes(self.sock, data, fds, DONT_WAIT)
            except BlockingIOError:
                return False
            self._waiting.popleft()
            _close_all(fds)
        return True

    def take_back(self) -> Iterator[bytes]:
        """Remove and yield what was not sent."""
        while self._waiting:
            data, fds = self._waiting.popleft()
            _close_all(fds)
            yield data

    def close(self) -> None:
        """Forget what waits and close the socket."""
        for _ in self.take_back():
            pass
        self.sock.close()


def unread(sock: socket.socket) -> Iterator[bytes]:
    """Take messages out of a socket without waiting, until none is left."""
    with contextlib.suppress(BlockingIOError, Gone):
        while True:
            data, fds = receive_bytes(sock, DONT_WAIT)
            _close_all(fds)
            yield data


def _copies(fds: Sequence[int]) -> list[int]:
    return [os.dup(fd) for fd in fds]


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
