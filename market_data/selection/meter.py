"""The permit to send: the vendor's rate, shared between processes, and the count against its quotas."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyrate_limiter import Rate as WindowRate
from pyrate_limiter import RateItem, SQLiteBucket
from pyrate_limiter.buckets.sqlite_bucket import Queries

from market_data.errors import LeftAlone, QuotaExhausted
from market_data.providers.config import ProviderConfig, Rate
from market_data.selection.quota import QuotaLedger, shown, spent_text
from market_data.selection.shared_file import PATIENCE, named_in_errors, opened

__all__ = ["Meter", "RateLimiter"]

_PURPOSE = "record of call rates"
_SHORTEST_WAIT = 0.001
_FRESH = 0.1
"""Seconds a reserved permit is good for. Those of calls that wait longer, such as for a busy connection, would pile up
and leave together, faster than the rate allows."""


class RateLimiter:
    """Calls of one vendor within sliding times, over every thread and process that names the same file.

    The counting is pyrate-limiter's, in its SQLite bucket; each count is one transaction that others wait for, and is
    stamped within it, since a permit stamped before the wait would let calls bunch up.

    Args:
        name: the vendor.
        rates: none for no limit; each longer one allows more calls, at no faster a pace, as a catalogue gives them.
        file: an SQLite file, made when absent; several vendors may share it.
        clock: wall time in seconds, the same for all that share the file.
        patience: seconds to wait for others that use the file.

    Raises:
        MarketDataError: the file cannot be used; its path is named.
    """

    def __init__(
        self,
        name: str,
        rates: tuple[Rate, ...],
        file: Path,
        *,
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE,
    ) -> None:
        self._name = name
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._bucket: SQLiteBucket | None = None
        if rates:
            with named_in_errors(file, _PURPOSE):
                self._bucket = _opened_bucket(name, rates, file, patience)

    def try_take(self) -> bool:
        """Take a permit if one is to be had now."""
        with self._used() as bucket:
            if bucket is None:
                return True
            with _alone(bucket):
                self._tidy(bucket)
            with _alone(bucket):
                return bool(bucket.put(RateItem(self._name, self._now())))

    def ready_in(self) -> float:
        """Seconds until a permit can be had, as things stand; takes none."""
        with self._used() as bucket:
            if bucket is None:
                return 0.0
            now, waits = self._now(), [0]
            for rate in bucket.rates:
                oldest = bucket.peek(rate.limit - 1)
                if oldest is not None:
                    # The bucket's window holds its first millisecond as well.
                    waits.append(min(oldest.timestamp, now) + rate.interval + 1 - now)
            return max(waits) / 1000

    def wait(self) -> None:
        """Take a permit, waiting for it."""
        while not self.try_take():
            time.sleep(max(self.ready_in(), _SHORTEST_WAIT))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._bucket is not None:
                self._bucket.close()  # type: ignore[no-untyped-call]

    @contextmanager
    def _used(self) -> Iterator[SQLiteBucket | None]:
        """The bucket, one thread at a time; None where nothing is limited."""
        if self._bucket is None:
            yield None
            return
        with self._lock, named_in_errors(self._file, _PURPOSE):
            yield self._bucket

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _tidy(self, bucket: SQLiteBucket) -> None:
        """Drop permits that no longer count; one of a time to come, from before the clock was set back, is of now."""
        now = self._now()
        late = f'UPDATE "{bucket.table}" SET item_timestamp = ? WHERE item_timestamp > ?'  # noqa: S608 - not a user's
        bucket.conn.execute(late, (now, now))
        bucket.leak(now)


@contextmanager
def _alone(bucket: SQLiteBucket) -> Iterator[None]:
    """One thing the bucket does, which it commits itself, as one transaction that other processes wait for.

    By itself it counts the old permits and then deletes so many, so that two processes at once deleted new ones.
    """
    bucket.conn.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        if bucket.conn.in_transaction:
            bucket.conn.rollback()


def _opened_bucket(name: str, rates: tuple[Rate, ...], file: Path, patience: float) -> SQLiteBucket:
    table = f"rate_{name}"
    schema = (Queries.CREATE_BUCKET_TABLE, Queries.CREATE_INDEX_ON_TIMESTAMP)
    named = ";".join(each.format(table=table, table_name=table, index_name=f"{table}_by_time") for each in schema)
    windows = [WindowRate(rate.limit, round(rate.seconds * 1000)) for rate in sorted(rates, key=lambda r: r.seconds)]
    # NORMAL: after a power cut, when the last permits may be missing, no window reaches back to before it.
    connection = opened(file, named, synchronous="NORMAL", wal=True, patience=patience)
    try:
        return SQLiteBucket(windows, connection, table)
    except BaseException:
        connection.close()
        raise


class Meter:
    """A vendor's permits; `permit` is given to its HTTP source.

    Args:
        clock: seconds that only pass, for the age of reserved permits.
    """

    def __init__(
        self,
        config: ProviderConfig,
        ledger: QuotaLedger,
        limiter: RateLimiter,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.ledger = ledger
        self.limiter = limiter
        self._clock = clock
        self._thread = threading.local()

    def reserve(self) -> bool:
        """Take the rate's permit for this thread's next call, which is to be sent at once, if one is to be had now."""
        if not self._has_reserved and self.limiter.try_take():
            self._thread.reserved_at = self._clock()
        return self._has_reserved

    def permit(self) -> None:
        """Wait for the rate, then count the call.

        Raises:
            QuotaExhausted: the quota is spent; nothing is to be sent.
            LeftAlone: the vendor is left alone since another call of it failed; nothing is to be sent.
        """
        self._require_open()
        if not self._has_reserved:
            self.limiter.wait()
            self._require_open()  # much can have happened meanwhile
        self._thread.reserved_at = None
        self.ledger.take(self.config)

    def _require_open(self) -> None:
        """Spares a wait, and the rate a permit, where no call can follow."""
        standing = self.ledger.standing(self.config)[self.config.name]
        if standing.closure is not None:
            until = standing.closure.until
            raise LeftAlone(f"{self.config.name} is left alone until {shown(until)}: {standing.closure.reason}")
        spent = standing.spent()
        if spent is not None:
            raise QuotaExhausted(spent_text(self.config.name, spent))

    @property
    def _has_reserved(self) -> bool:
        reserved_at = getattr(self._thread, "reserved_at", None)
        return reserved_at is not None and self._clock() - reserved_at <= _FRESH

    def close(self) -> None:
        """Close the limiter's file."""
        self.limiter.close()
