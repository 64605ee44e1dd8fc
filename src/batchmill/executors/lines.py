"""The driver's ends of one worker's sockets, and what a slot holds."""

from __future__ import annotations

import itertools
import pickle
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from batchmill.executors.base import SlotSpec
from batchmill.executors.channel import DONT_WAIT, Gone, Outbox, pair, receive_bytes, unread


class Line:
    """Two socket pairs to a worker: `jobs` carries work one way, `talk` everything else both ways.

    The worker's end of `jobs` stays open here too: so unread jobs can be taken back, and the kernel decides who
    reads which.
    """

    def __init__(self, generation: int) -> None:
        jobs, self.unread = pair()
        talk, self.workers_talk = pair()
        self.generation = generation
        self.jobs, self.talk = Outbox(jobs), Outbox(talk)
        self.pid = 0
        self.ended = False  # the talk socket said end of file
        self.killed = False  # we asked for its death

    def hear(self, listen: Callable[[Any], None], most: int = 1 << 30) -> None:
        """Hear what the worker said; an end of file is remembered."""
        try:
            hear(self.talk.sock, listen, most)
        except Gone:
            self.ended = True

    def take_back(self) -> tuple[list[int], list[bytes]]:
        """Jobs that the worker has not read, in the order sent, and the other messages among them."""
        jobs, others = [], []
        for data in itertools.chain(list(unread(self.unread)), list(self.jobs.take_back())):
            message = pickle.loads(data)
            if type(message) is tuple:
                jobs.append(message[0])
            elif type(message) is list:
                jobs += [work[0] for work in message]
            else:
                others.append(data)
        return jobs, others

    def close(self) -> None:
        """Close the sockets."""
        self.talk.close()
        self.jobs.close()
        self.unread.close()
        self.workers_talk.close()


@dataclass
class Slot:
    """One slot and its present worker."""

    spec: SlotSpec
    line: Line | None = None
    flying: dict[int, None] = field(default_factory=dict)  # jobs sent and not ended, in order
    cancels: dict[int, float] = field(default_factory=dict)  # job -> when it must be over
    respawn: bool = True
    stillborn: int = 0  # workers in a row that died before they were ready


def hear(sock: socket.socket, listen: Callable[[Any], None], most: int = 1 << 30) -> None:
    """Hand on at most so many readable messages. Raises Gone after the last message of a closed socket."""
    for _ in range(most):
        try:
            data, _ = receive_bytes(sock, DONT_WAIT)
        except BlockingIOError:
            return
        listen(pickle.loads(data))
