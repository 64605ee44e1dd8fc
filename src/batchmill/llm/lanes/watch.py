"""One batch, from its intention until its results are in the reply cache: uploaded or found again, looked at, read.

Who waits for its lines is told here; what they make of it is `exchange`'s.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from batchmill.llm.cache import ReplyCache
from batchmill.llm.failures import Failure
from batchmill.llm.lanes.offers import Look, Offer, Result, Sent, Trouble, unanswered
from batchmill.llm.lanes.store import Batch, LaneStore, Line

_LONGEST = 300.0  # seconds between two looks
_GROWTH = 1.5
GONE = "gone"  # the status of a batch that the provider knows no longer
_NOT_THERE = frozenset({404, 410})
_TRIES = 4  # to submit
_LOOKS = 3  # that do not find a batch, until it counts as never made
_AT_ONCE = 200  # results that are written together
_Value = TypeVar("_Value")


class Answer(NamedTuple):
    """What a lane has for a line: the `body` of a reply, or the `failure` of the line; or that it was never given to
    the provider and is to be asked `anew`. Where the end of it is not known, it may be billed; where it `is_open`, it
    is still in the batch `remote`, which cannot be looked at."""

    body: bytes | None = None
    failure: Failure | None = None
    remote: str = ""
    anew: bool = False
    is_known: bool = True
    is_open: bool = False


ANEW = Answer(anew=True)


class Abandoned(Exception):
    """Nobody waits for the batch any more."""


class Gathered(NamedTuple):
    """What all batches of a lane share. `worth`: what a reply costs there, in micro-cents, or None."""

    store: LaneStore
    offer: Offer
    cache: ReplyCache | None
    poll: float
    worth: Callable[[bytes], int | None]


class Watch:
    """See the module. `lines` are those of a batch that was just intended; one that is found again needs none."""

    def __init__(self, shared: Gathered, batch: str, lines: Sequence[bytes] = ()) -> None:
        self._store, self._offer, self._cache, self._poll, self._worth = shared
        self._id, self._lines = batch, lines
        self._waiting: dict[bytes, asyncio.Future[Answer]] = {}
        self._wait, self.size = self._poll, len(lines)
        self._cost: int | None = 0
        self.is_over = self.was_refused = self.is_read = False

    def wait(self, line: bytes, future: asyncio.Future[Answer] | None = None) -> asyncio.Future[Answer]:
        """What will tell of a line."""
        self._waiting[line] = future = future or asyncio.get_running_loop().create_future()
        return future

    async def run(self) -> None:
        """Look after the batch until it is over, or nobody waits."""
        try:
            if (batch := await self._kept()) is not None:
                await self._keep(batch)
        except Abandoned:
            pass  # whoever asks again finds it
        except Trouble as trouble:
            await self._give_up(trouble.failure)
        finally:
            self.is_over = True

    async def _give_up(self, failure: Failure) -> None:
        """It cannot be looked at: where it is gone, its lines have no replies."""
        is_gone = failure.status in _NOT_THERE
        if is_gone:
            await asyncio.to_thread(self._store.end, self._id, status=GONE)
        self._tell_all(Answer(failure=failure, is_known=False, is_open=not is_gone))

    async def _kept(self) -> Batch | None:
        """The batch, once this process is its keeper; None when it is over by then."""
        while (batch := self._store.batch(self._id)) is not None and batch.state != "ended":
            if self._store.take(self._id):
                return self._store.batch(self._id)
            await self._sleep(self._poll)
        self._tell_all(ANEW)  # what there is, is in the cache
        return None

    async def _keep(self, batch: Batch) -> None:
        self.size = batch.lines
        if batch.state == "ended":
            return self._tell_all(ANEW)
        try:
            if remote := batch.remote or await self._submitted(batch):
                look = await self._looked(remote)
                await self._read(look, remote)
        finally:
            self._store.leave(self._id)

    # --- submitting

    async def _submitted(self, batch: Batch) -> str:
        """The provider's id of the batch; empty when it is not there, and everybody was told."""
        refused: Failure | None = None
        for _ in range(_TRIES):
            if self._lines:
                try:
                    return await self._note(await self._offer.submit(self._id, self._lines))
                except Trouble as trouble:
                    refused = trouble.failure
            if refused is not None and not refused.retry:
                break
            if (refused is None or refused.sent) and (remote := await self._found(batch)):
                return await self._note(remote)
            if refused is None:
                break  # a line of it is uploaded anew by the job that asks it
            await self._sleep(refused.after or self._wait)
        await asyncio.to_thread(self._store.forget, self._id)
        self._tell_all(ANEW if refused is None else Answer(failure=replace(refused, sent=False)))
        return ""

    async def _note(self, remote: str) -> str:
        self._lines = ()
        await asyncio.to_thread(self._store.note, self._id, remote=remote, state="submitted")
        return remote

    async def _found(self, batch: Batch) -> str | None:
        """The id of a batch that may have been made; None once several looks did not find it."""
        known = frozenset(other.remote for other in self._store.batches() if other.remote)
        lines = frozenset(line.hex() for line in self._store.open_lines(self._id))
        sent = Sent(batch.id, batch.lines, batch.at)
        for look in range(_LOOKS):
            if look:
                await self._sleep(self._longer())
            if remote := await self._insisted(lambda: self._offer.find(sent, known, lines)):
                return remote
        return None

    # --- looking

    async def _looked(self, remote: str) -> Look:
        """The last look at a batch: it is over."""
        self._wait, last = self._poll, None
        while True:
            look = await self._insisted(lambda: self._offer.look(remote))
            if look != last:
                columns = {"status": look.status, "done": look.done, "failed": look.failed}
                await asyncio.to_thread(self._store.note, self._id, **columns)
                self._wait = self._poll if last is not None and look.status != last.status else self._wait
            if look.is_over:
                return look
            last = look
            await self._sleep(self._longer())

    async def _insisted(self, ask: Callable[[], Awaitable[_Value]]) -> _Value:
        """What the provider says, once it says anything. Raises Trouble where asking again does not help."""
        while True:
            try:
                return await ask()
            except Trouble as trouble:
                if not trouble.failure.retry:
                    raise
                await self._sleep(trouble.failure.after or self._longer())

    def _longer(self) -> float:
        """The next pause."""
        wait, self._wait = self._wait, min(self._wait * _GROWTH, max(_LONGEST, self._poll))
        return wait

    async def _sleep(self, seconds: float) -> None:
        """Raises Abandoned when nobody waits."""
        await asyncio.sleep(seconds)
        if all(future.done() for future in self._waiting.values()):
            raise Abandoned

    # --- reading

    async def _read(self, look: Look, remote: str) -> None:
        """Bring all results into the cache, and tell who waits for them."""
        self.is_read = True
        if look.is_full:
            self.was_refused = True
            await asyncio.to_thread(self._store.forget, self._id)
            self._tell_all(ANEW)
            return
        if look.problem:
            failure = Failure("invalid_request", look.problem, retry=False, sent=False)
        else:
            lines = self._store.open_lines(self._id)
            if len(lines) < self.size:
                self._cost = None  # some were read before a kill
            await self._insisted(lambda: self._collect(look, remote, lines))
            failure = unanswered("missing", f"the batch ended ({look.status}) without a reply to this request")
        await asyncio.to_thread(self._store.end, self._id, status=look.status, cost=self._cost)
        self._tell_all(Answer(failure=failure, remote=remote))

    async def _collect(self, look: Look, remote: str, lines: dict[bytes, Line]) -> None:
        """Read the results of `lines`, which lose what was read."""
        results: dict[bytes, Result] = {}
        async for result in self._offer.results(look):
            id = _id_of(result.line)
            if id not in lines or id in results:
                continue  # another's, or the same again
            results[id] = result
            if len(results) >= _AT_ONCE:
                await self._take(results, lines, remote)
                results = {}
        await self._take(results, lines, remote)

    async def _take(self, results: dict[bytes, Result], lines: dict[bytes, Line], remote: str) -> None:
        """Results to disk, then to who waits."""
        found = {id: result.body for id, result in results.items() if result.body is not None}
        if self._cache is not None:
            puts = [self._cache.put(lines[id].key, body, lines[id].owner) for id, body in found.items()]
            await asyncio.gather(*puts, return_exceptions=True)  # what is not kept is told all the same
        await asyncio.to_thread(self._store.close_lines, self._id, list(found), "done")
        await asyncio.to_thread(self._store.close_lines, self._id, [id for id in results if id not in found], "failed")
        for id, result in results.items():
            del lines[id]
            self._tell(id, Answer(result.body, result.failure, remote))
        for body in found.values():
            worth = self._worth(body)
            self._cost = None if worth is None or self._cost is None else self._cost + worth

    # --- telling

    def _tell(self, line: bytes, answer: Answer) -> None:
        future = self._waiting.pop(line, None)
        if future is not None and not future.done():
            future.set_result(answer)

    def _tell_all(self, answer: Answer) -> None:
        for line in list(self._waiting):
            self._tell(line, answer)

    def broke(self, error: BaseException) -> None:
        """The watch ended by an error of its own."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error if isinstance(error, sqlite3.Error | OSError) else RuntimeError(str(error)))


def _id_of(name: str) -> bytes:
    try:
        return bytes.fromhex(name)
    except ValueError:
        return b""
