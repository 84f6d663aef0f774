"""A symbol's features of one session, to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from market_data.errors import WarehouseError
from market_data.features.catalogue import FEATURES
from market_data.features.lineage import read_standing
from market_data.features.reasons import reason_for
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.features import read_features, read_last

__all__ = ["FeatureRow", "read_row"]


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A row of `features_daily`.

    Attributes:
        session: XNYS session.
        values: by feature; None for null.
        text: why features of the row are null, as stored; None where none is.
        stale: why the session is to be computed anew; None where it is up to date.
    """

    session: date
    values: dict[str, float | None]
    text: str | None
    stale: str | None

    def reason(self, name: str) -> str | None:
        """Why a feature is null; None where it is not."""
        return reason_for(name, self.text) if self.values[name] is None else None


def read_row(settings: Settings, symbol: str, session: date | None, *, synthetic: bool) -> FeatureRow:
    """The features of a symbol on `session`, by default on the last session that was made of it.

    Raises:
        WarehouseError: there are none, or the database cannot be used.
    """
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if database.exists():
        database.prepare()
    with database.reading() as connection:
        day = session or read_last(connection, symbol)
        rows = (
            []
            if day is None
            else read_features(connection, [symbol], day, day, [one.name for one in FEATURES]).to_pylist()
        )
        if day is None or not rows:
            when = "" if day is None else f" on {day}"
            raise WarehouseError(
                f"no features of {symbol}{when}: the session is not expected of it, or not made yet; "
                "`market-data features update` makes what is not"
            )
        standing = read_standing(connection, day, day)
    values = {one.name: rows[0][one.name] for one in FEATURES}
    return FeatureRow(day, values, rows[0]["reason"], standing.stale.get(day))
