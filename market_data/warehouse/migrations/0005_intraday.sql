-- Minutes of sessions: the bars they replaced, and what each poll came to.

COMMENT ON COLUMN price_history_intraday.interval IS
    'Length of the interval: 1m, 5m, 15m, 30m, 1h; a symbol''s session has bars of one length';
COMMENT ON COLUMN price_history_intraday.provisional IS
    'Whether the minute had not settled when its payload was received, so that it may still change';
COMMENT ON COLUMN price_history_intraday.volume IS 'Shares; may be fractional';
COMMENT ON COLUMN price_history_intraday.basis IS
    'What the prices are adjusted for: raw (as traded), split, split_dividend';
COMMENT ON COLUMN price_history_intraday.adjusted_as_of IS 'Instant (UTC) the adjustment is complete up to; NULL for raw';
COMMENT ON COLUMN price_history_intraday.source_provider IS 'Provider whose payload the bar was read from';
COMMENT ON COLUMN price_history_intraday.raw_hash IS 'SHA-256 of that payload, in a pack of polls or in the raw store';
COMMENT ON COLUMN price_history_intraday.pulled_at IS 'Instant (UTC) the payload was received';

CREATE TABLE intraday_revisions (
    symbol VARCHAR NOT NULL,
    datetime TIMESTAMP NOT NULL,
    session_date DATE NOT NULL,
    interval VARCHAR NOT NULL,
    open DOUBLE,
    high DOUBLE,
    low DOUBLE,
    close DOUBLE,
    volume DOUBLE,
    vwap DOUBLE,
    trade_count DOUBLE,
    provisional BOOLEAN NOT NULL,
    basis VARCHAR NOT NULL,
    adjusted_as_of TIMESTAMP,
    source_provider VARCHAR NOT NULL,
    raw_hash VARCHAR NOT NULL,
    pulled_at TIMESTAMP NOT NULL,
    replaced_at TIMESTAMP NOT NULL,
    replaced_by VARCHAR NOT NULL,
    reason VARCHAR NOT NULL CHECK (reason IN ('payload', 'finer'))
);
COMMENT ON TABLE intraday_revisions IS
    'Each final intraday bar that was replaced, as it stood before; provisional ones are replaced without a trace';
COMMENT ON COLUMN intraday_revisions.datetime IS 'Start of the interval, UTC';
COMMENT ON COLUMN intraday_revisions.replaced_at IS 'Instant (UTC) the payload that replaced it was received';
COMMENT ON COLUMN intraday_revisions.replaced_by IS 'SHA-256 of that payload';
COMMENT ON COLUMN intraday_revisions.reason IS
    'payload (the bar changed) or finer (bars of a shorter interval came for the symbol''s session)';

CREATE TABLE intraday_polls (
    session_date DATE NOT NULL,
    polled_at TIMESTAMP NOT NULL,
    provider VARCHAR NOT NULL,
    job_id VARCHAR NOT NULL,
    pack VARCHAR NOT NULL,
    calls INTEGER NOT NULL,
    answered INTEGER NOT NULL,
    empty INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    errors VARCHAR NOT NULL,
    bytes BIGINT NOT NULL,
    latencies DOUBLE[] NOT NULL,
    rows_inserted INTEGER NOT NULL,
    rows_updated INTEGER NOT NULL,
    refused_rows INTEGER NOT NULL,
    refused VARCHAR NOT NULL,
    skipped INTEGER NOT NULL,
    own_ms DOUBLE NOT NULL,
    PRIMARY KEY (session_date, polled_at, job_id, provider)
);
COMMENT ON TABLE intraday_polls IS 'What each poll of a session came to, one row a provider that was asked';
COMMENT ON COLUMN intraday_polls.polled_at IS 'Instant (UTC) the poll began';
COMMENT ON COLUMN intraday_polls.provider IS 'Provider; empty for the symbols that nobody could be asked for';
COMMENT ON COLUMN intraday_polls.pack IS
    'File of the answers, below the folder of packs; empty where the poll has none, since nobody answered';
COMMENT ON COLUMN intraday_polls.calls IS 'Requests sent, retries included';
COMMENT ON COLUMN intraday_polls.answered IS 'Symbols that were answered with bars of the session';
COMMENT ON COLUMN intraday_polls.empty IS 'Symbols that were answered, with no bar that was asked for';
COMMENT ON COLUMN intraday_polls.failed IS 'Symbols that were not answered with bars, or could not be asked for';
COMMENT ON COLUMN intraday_polls.errors IS 'Number of symbols by kind of error, as a JSON object';
COMMENT ON COLUMN intraday_polls.latencies IS 'Milliseconds to the complete answer, one an answered request';
COMMENT ON COLUMN intraday_polls.rows_updated IS 'Bars that replaced stored ones, or made them final';
COMMENT ON COLUMN intraday_polls.refused_rows IS 'Bars that were not stored: a price or volume is null, or cannot be';
COMMENT ON COLUMN intraday_polls.refused IS 'The first of them with the reason, as a JSON list';
COMMENT ON COLUMN intraday_polls.skipped IS
    'Polls that were due before this one and were left out, since the one before took too long';
COMMENT ON COLUMN intraday_polls.own_ms IS 'Milliseconds the poll took but for the wait for answers, all providers together';
