-- Views and macros are made again at each migration; nothing is stored in them. Any DuckDB client can use them.

CREATE OR REPLACE VIEW coverage_sessions AS
SELECT c.symbol, s.session, c.interval, c.provider, c.raw_hash, c.fetched_at
FROM coverage AS c
JOIN sessions AS s ON s.session BETWEEN c.first_date AND c.last_date
WHERE c.outcome = 'answered' AND c.feed = 'bars';

CREATE OR REPLACE VIEW quality_by_session AS
SELECT
    date,
    count(*) AS expected,
    count(*) FILTER (verdict IN ('accepted', 'flagged')) AS held,
    count(*) FILTER (verdict = 'flagged') AS flagged,
    count(*) FILTER (verdict = 'missing') AS missing,
    count(*) FILTER (verdict = 'rejected') AS rejected,
    count(*) FILTER (verdict = 'unanswered') AS unanswered,
    avg(score) AS mean_score,
    min(score) AS least_score
FROM data_quality_log
GROUP BY date;

CREATE OR REPLACE VIEW mixed_basis AS
SELECT symbol, count(DISTINCT (basis, adjusted_as_of)) AS bases, min(date) AS first_date, max(date) AS last_date
FROM price_history_daily
GROUP BY symbol
HAVING count(DISTINCT (basis, adjusted_as_of)) > 1;

CREATE OR REPLACE VIEW bars_not_raw AS
SELECT symbol, basis, adjusted_as_of, count(*) AS sessions, min(date) AS first_date, max(date) AS last_date
FROM price_history_daily
WHERE basis <> 'raw'
GROUP BY symbol, basis, adjusted_as_of;

-- A bar that was replaced beside the one that replaced it: the next revision, or the bar as it stands.
CREATE OR REPLACE VIEW restatements AS
WITH successors AS (
    SELECT
        symbol, date, close AS old_close, known_at AS old_known_at, basis AS old_basis,
        source_provider AS old_provider, replaced_at, replaced_by, reason,
        lead((close, basis, source_provider)) OVER (
            PARTITION BY symbol, date ORDER BY replaced_at, known_at, rowid
        ) AS successor
    FROM revisions
)
SELECT
    r.symbol, r.date, r.old_close, coalesce(r.successor[1], p.close) AS new_close,
    coalesce(r.successor[1], p.close) / r.old_close - 1 AS relative_change,
    r.old_basis, coalesce(r.successor[2], p.basis) AS new_basis,
    r.old_provider, coalesce(r.successor[3], p.source_provider) AS new_provider,
    r.old_known_at, r.replaced_at, r.replaced_by, r.reason
FROM successors AS r
LEFT JOIN price_history_daily AS p ON r.successor IS NULL AND p.symbol = r.symbol AND p.date = r.date;

-- What was known at an instant (UTC). A row of the present that was known by then hides every predecessor of it.
CREATE OR REPLACE MACRO bars_as_of(as_of) AS TABLE
SELECT
    symbol, date, open, high, low, close, volume, vwap, trade_count, basis, adjusted_as_of, source_provider, raw_hash,
    pulled_at, sent_basis, sent_as_of, price_factor, volume_factor, known_at, amendment_id
FROM price_history_daily
WHERE known_at <= as_of
UNION ALL
SELECT
    symbol, date, open, high, low, close, volume, vwap, trade_count, basis, adjusted_as_of, source_provider, raw_hash,
    pulled_at, sent_basis, sent_as_of, price_factor, volume_factor, known_at, amendment_id
FROM revisions AS r
WHERE known_at <= as_of AND replaced_at > as_of AND NOT EXISTS (
    SELECT 1 FROM price_history_daily AS p WHERE p.symbol = r.symbol AND p.date = r.date AND p.known_at <= as_of
)
QUALIFY row_number() OVER (PARTITION BY symbol, date ORDER BY known_at DESC, replaced_at DESC) = 1;

CREATE OR REPLACE MACRO actions_as_of(as_of) AS TABLE
SELECT symbol, date, kind, value, source_provider, also_told_by, raw_hash, known_at
FROM corporate_actions
WHERE known_at <= as_of
UNION ALL
SELECT symbol, date, kind, value, source_provider, also_told_by, raw_hash, known_at
FROM corporate_action_revisions AS r
WHERE known_at <= as_of AND replaced_at > as_of AND NOT EXISTS (
    SELECT 1 FROM corporate_actions AS a
    WHERE a.symbol = r.symbol AND a.date = r.date AND a.kind = r.kind AND a.known_at <= as_of
)
QUALIFY row_number() OVER (PARTITION BY symbol, date, kind ORDER BY known_at DESC, replaced_at DESC) = 1;

-- Date in New York at an instant (UTC): the vendors' own day, up to which they had applied actions.
CREATE OR REPLACE MACRO exchange_date(instant) AS CAST(timezone('America/New_York', timezone('UTC', instant)) AS DATE);

-- Below, `as_of` is the instant of knowledge and `until` the last ex-date that counts. A row's factors are those of the
-- splits after `adjusted_from` and the dividends after `paid_from`: its session, or what it is adjusted up to already.

-- For each ex-date of a split or spin-off, the products of the values from there on.
CREATE OR REPLACE MACRO split_steps(as_of, until) AS TABLE
SELECT
    symbol, date,
    product(value) OVER (PARTITION BY symbol ORDER BY date DESC) AS price_factor,
    product(share_value) OVER (PARTITION BY symbol ORDER BY date DESC) AS volume_factor
FROM (
    SELECT symbol, date, product(value) AS value, product(CASE kind WHEN 'split' THEN value ELSE 1 END) AS share_value
    FROM actions_as_of(as_of)
    WHERE kind IN ('split', 'spinoff') AND date <= until
    GROUP BY symbol, date
);

-- For each ex-date of a dividend, the raw close of the last bar before it, put back by what the bar is adjusted for, and
-- what was paid on the shares of that bar. The close is NULL where that cannot be done: no bar before, or one adjusted
-- for a dividend between itself and the ex-date.
CREATE OR REPLACE MACRO closes_before_dividends(as_of, until) AS TABLE
WITH dividends AS (
    SELECT symbol, date, value, lag(date) OVER (PARTITION BY symbol ORDER BY date) AS paid_before
    FROM actions_as_of(as_of)
    WHERE kind = 'dividend' AND date <= until
),
closes AS (
    SELECT symbol, date, close, basis, greatest(date, exchange_date(adjusted_as_of)) AS adjusted_from
    FROM bars_as_of(as_of)
    WHERE close > 0
)
SELECT
    d.symbol, d.date, c.date AS bar_date,
    d.value * coalesce(since_bar.price_factor, 1) / coalesce(since_paid.price_factor, 1) AS paid,
    CASE WHEN c.basis <> 'split_dividend'
        OR (d.date > c.adjusted_from AND coalesce(d.paid_before <= c.date, TRUE))
    THEN c.close * coalesce(since_bar.price_factor, 1) / coalesce(since_adjusted.price_factor, 1) END AS close_before
FROM dividends AS d
ASOF LEFT JOIN closes AS c ON d.symbol = c.symbol AND d.date > c.date
ASOF LEFT JOIN split_steps(as_of, until) AS since_bar ON d.symbol = since_bar.symbol AND c.date < since_bar.date
ASOF LEFT JOIN split_steps(as_of, until) AS since_paid ON d.symbol = since_paid.symbol AND d.date < since_paid.date
ASOF LEFT JOIN split_steps(as_of, until) AS since_adjusted
    ON d.symbol = since_adjusted.symbol AND c.adjusted_from < since_adjusted.date;

-- For each ex-date of a dividend, the product of the factors 1 - paid / close before from there on, and the last
-- ex-date from there on whose factor is not known. Dividends without a close between them count as one, of their sum:
-- the factors of such a run telescope.
CREATE OR REPLACE MACRO dividend_steps(as_of, until) AS TABLE
WITH owed AS (
    SELECT *, sum(paid) OVER (PARTITION BY symbol, bar_date ORDER BY date DESC) AS owed
    FROM closes_before_dividends(as_of, until)
),
factors AS (
    SELECT symbol, date, CASE
        WHEN owed < close_before THEN (close_before - owed) / (close_before - (owed - paid))
    END AS factor
    FROM owed
)
SELECT
    symbol, date,
    product(factor) OVER (PARTITION BY symbol ORDER BY date DESC) AS factor,
    max(CASE WHEN factor IS NULL THEN date END) OVER (PARTITION BY symbol ORDER BY date DESC) AS unknown
FROM factors;

CREATE OR REPLACE MACRO split_adjusted(as_of, until) AS TABLE
WITH bars AS (
    SELECT *, greatest(date, exchange_date(adjusted_as_of)) AS adjusted_from,
        CASE WHEN basis = 'split_dividend' THEN 'its prices are adjusted for dividends too, as of '
            || CAST(exchange_date(adjusted_as_of) AS VARCHAR) || ', and the actions to undo that are not known'
        END AS refusal
    FROM bars_as_of(as_of)
),
factors AS (
    SELECT b.*, coalesce(s.price_factor, 1) AS split_factor,
        CASE WHEN refusal IS NULL THEN 1 / coalesce(s.price_factor, 1) END AS multiplier,
        CASE WHEN refusal IS NULL THEN coalesce(s.volume_factor, 1) END AS share_multiplier
    FROM bars AS b
    ASOF LEFT JOIN split_steps(as_of, until) AS s ON b.symbol = s.symbol AND b.adjusted_from < s.date
)
SELECT
    symbol, date, open * multiplier AS open, high * multiplier AS high, low * multiplier AS low,
    close * multiplier AS close, volume * share_multiplier AS volume, vwap * multiplier AS vwap, trade_count,
    split_factor, CAST(1 AS DOUBLE) AS dividend_factor, basis, refusal, adjusted_as_of, source_provider, raw_hash,
    known_at
FROM factors;

CREATE OR REPLACE MACRO total_return(as_of, until) AS TABLE
WITH bars AS (
    SELECT *, greatest(date, exchange_date(adjusted_as_of)) AS adjusted_from,
        CASE basis WHEN 'split_dividend' THEN greatest(date, exchange_date(adjusted_as_of)) ELSE date END AS paid_from
    FROM bars_as_of(as_of)
),
factors AS (
    SELECT b.*, coalesce(s.price_factor, 1) AS split_factor, coalesce(d.factor, 1) AS dividend_factor, d.unknown,
        CASE WHEN d.unknown IS NULL THEN coalesce(d.factor, 1) / coalesce(s.price_factor, 1) END AS multiplier,
        CASE WHEN d.unknown IS NULL THEN coalesce(s.volume_factor, 1) END AS share_multiplier
    FROM bars AS b
    ASOF LEFT JOIN split_steps(as_of, until) AS s ON b.symbol = s.symbol AND b.adjusted_from < s.date
    ASOF LEFT JOIN dividend_steps(as_of, until) AS d ON b.symbol = d.symbol AND b.paid_from < d.date
)
SELECT
    symbol, date, open * multiplier AS open, high * multiplier AS high, low * multiplier AS low,
    close * multiplier AS close, volume * share_multiplier AS volume, vwap * multiplier AS vwap, trade_count,
    split_factor, dividend_factor, basis,
    'the raw close before the dividend of ' || CAST(unknown AS VARCHAR) || ' is not known, or not above it' AS refusal,
    adjusted_as_of, source_provider, raw_hash, known_at
FROM factors;

CREATE OR REPLACE MACRO split_adjusted_as_of(as_of) AS TABLE
SELECT
    symbol, date, open, high, low, close, volume, vwap, trade_count, split_factor, dividend_factor, basis, refusal
FROM split_adjusted(as_of, CAST(as_of AS DATE));

CREATE OR REPLACE MACRO total_return_as_of(as_of) AS TABLE
SELECT
    symbol, date, open, high, low, close, volume, vwap, trade_count, split_factor, dividend_factor, basis, refusal
FROM total_return(as_of, CAST(as_of AS DATE));

-- As things stand: everything known, actions up to today (UTC).
CREATE OR REPLACE VIEW price_history_daily_split_adjusted AS
SELECT
    symbol, date, open, high, low, close, volume, vwap, trade_count, split_factor, dividend_factor, basis, refusal
FROM split_adjusted(TIMESTAMP 'infinity', CAST(make_timestamp(epoch_us(now())) AS DATE));

CREATE OR REPLACE VIEW price_history_daily_total_return AS
SELECT
    symbol, date, open, high, low, close, volume, vwap, trade_count, split_factor, dividend_factor, basis, refusal
FROM total_return(TIMESTAMP 'infinity', CAST(make_timestamp(epoch_us(now())) AS DATE));
