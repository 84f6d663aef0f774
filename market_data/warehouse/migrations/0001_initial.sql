-- Instants are TIMESTAMP in UTC. Prices are dollars a share, volumes shares.

CREATE TABLE price_history_daily (
    symbol VARCHAR NOT NULL,
    date DATE NOT NULL,
    open DOUBLE CHECK (open > 0),
    high DOUBLE CHECK (high > 0),
    low DOUBLE CHECK (low > 0),
    close DOUBLE CHECK (close > 0),
    volume DOUBLE CHECK (volume >= 0),
    vwap DOUBLE CHECK (vwap > 0),
    trade_count DOUBLE CHECK (trade_count >= 0),
    basis VARCHAR NOT NULL CHECK (basis IN ('raw', 'split', 'split_dividend')),
    adjusted_as_of TIMESTAMP,
    source_provider VARCHAR NOT NULL,
    raw_hash VARCHAR NOT NULL,
    pulled_at TIMESTAMP NOT NULL,
    PRIMARY KEY (symbol, date)
);
COMMENT ON TABLE price_history_daily IS 'Canonical daily bars that passed validation, one for a symbol and XNYS session';
COMMENT ON COLUMN price_history_daily.date IS 'XNYS session';
COMMENT ON COLUMN price_history_daily.volume IS 'Shares; may be fractional; NULL where the provider sent none';
COMMENT ON COLUMN price_history_daily.basis IS 'What the prices are adjusted for: raw (as traded), split, split_dividend';
COMMENT ON COLUMN price_history_daily.adjusted_as_of IS 'Instant (UTC) the adjustment is complete up to; NULL for raw';
COMMENT ON COLUMN price_history_daily.source_provider IS 'Provider whose payload the bar was read from';
COMMENT ON COLUMN price_history_daily.raw_hash IS 'SHA-256 of that payload in the raw store';
COMMENT ON COLUMN price_history_daily.pulled_at IS 'Instant (UTC) the payload was received';

CREATE TABLE price_history_intraday (
    symbol VARCHAR NOT NULL,
    datetime TIMESTAMP NOT NULL,
    session_date DATE NOT NULL,
    interval VARCHAR NOT NULL,
    open DOUBLE CHECK (open > 0),
    high DOUBLE CHECK (high > 0),
    low DOUBLE CHECK (low > 0),
    close DOUBLE CHECK (close > 0),
    volume DOUBLE CHECK (volume >= 0),
    vwap DOUBLE CHECK (vwap > 0),
    trade_count DOUBLE CHECK (trade_count >= 0),
    provisional BOOLEAN NOT NULL DEFAULT FALSE,
    basis VARCHAR NOT NULL CHECK (basis IN ('raw', 'split', 'split_dividend')),
    adjusted_as_of TIMESTAMP,
    source_provider VARCHAR NOT NULL,
    raw_hash VARCHAR NOT NULL,
    pulled_at TIMESTAMP NOT NULL,
    PRIMARY KEY (symbol, datetime)
);
COMMENT ON TABLE price_history_intraday IS 'Canonical intraday bars, one for a symbol and start of interval';
COMMENT ON COLUMN price_history_intraday.datetime IS 'Start of the interval, UTC';
COMMENT ON COLUMN price_history_intraday.session_date IS 'XNYS session the bar belongs to';
COMMENT ON COLUMN price_history_intraday.interval IS 'Length of the interval, as in 1m';
COMMENT ON COLUMN price_history_intraday.provisional IS 'Whether the minute may still change';

CREATE TABLE execution_feedback (
    order_id VARCHAR PRIMARY KEY,
    symbol VARCHAR NOT NULL,
    side VARCHAR NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity DOUBLE NOT NULL CHECK (quantity > 0),
    price DOUBLE NOT NULL CHECK (price > 0),
    decision_price DOUBLE CHECK (decision_price > 0),
    arrived_at TIMESTAMP,
    executed_at TIMESTAMP NOT NULL,
    venue VARCHAR,
    fees DOUBLE,
    received_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE execution_feedback IS 'Executions reported back, one for an order';
COMMENT ON COLUMN execution_feedback.price IS 'Average price of the execution, dollars a share, as traded';
COMMENT ON COLUMN execution_feedback.decision_price IS 'Price when the order was decided, dollars a share';
COMMENT ON COLUMN execution_feedback.fees IS 'Dollars for the whole order';

CREATE TABLE provider_metrics (
    provider_name VARCHAR NOT NULL,
    date DATE NOT NULL,
    calls BIGINT NOT NULL,
    accepted BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    no_data BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    latency_p50_ms DOUBLE,
    latency_p95_ms DOUBLE,
    PRIMARY KEY (provider_name, date)
);
COMMENT ON TABLE provider_metrics IS 'What each provider answered on each UTC date; derived from ingestion_audit';
COMMENT ON COLUMN provider_metrics.calls IS 'Requests sent, retries included';

CREATE TABLE data_quality_log (
    symbol VARCHAR NOT NULL,
    date DATE NOT NULL,
    verdict VARCHAR NOT NULL CHECK (verdict IN ('accepted', 'flagged', 'missing', 'rejected', 'unanswered')),
    score DOUBLE NOT NULL CHECK (score BETWEEN 0 AND 1),
    rules VARCHAR NOT NULL,
    source_provider VARCHAR,
    checked_at TIMESTAMP NOT NULL,
    PRIMARY KEY (symbol, date)
);
COMMENT ON TABLE data_quality_log IS 'The verdict on each expected session of each instrument';
COMMENT ON COLUMN data_quality_log.verdict IS
    'accepted; flagged (stored, with findings); missing (answered without a usable bar); rejected; unanswered';
COMMENT ON COLUMN data_quality_log.score IS '1 minus the penalties of the rules found; 0 without a bar';
COMMENT ON COLUMN data_quality_log.rules IS 'Rules found at the session, comma-separated';

CREATE TABLE quality_findings (
    symbol VARCHAR NOT NULL,
    date DATE,
    rule VARCHAR NOT NULL,
    severity VARCHAR NOT NULL CHECK (severity IN ('error', 'warning', 'info')),
    field VARCHAR NOT NULL,
    value DOUBLE,
    limit_value DOUBLE,
    message VARCHAR NOT NULL,
    source_provider VARCHAR NOT NULL,
    raw_hash VARCHAR NOT NULL,
    job_id VARCHAR NOT NULL,
    found_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE quality_findings IS 'Each thing validation found in a payload: symbol, session, rule, value, limit';
COMMENT ON COLUMN quality_findings.date IS 'Date the finding is about; NULL when it is about the whole batch';

CREATE TABLE ingestion_jobs (
    job_id VARCHAR PRIMARY KEY,
    kind VARCHAR NOT NULL,
    start_date DATE NOT NULL,
    end_date DATE NOT NULL,
    symbols VARCHAR NOT NULL,
    provider VARCHAR NOT NULL,
    synthetic BOOLEAN NOT NULL,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP
);
COMMENT ON TABLE ingestion_jobs IS 'What each job set out to do; what became of it stands in ingestion_audit';
COMMENT ON COLUMN ingestion_jobs.symbols IS 'The symbols, as a JSON list';
COMMENT ON COLUMN ingestion_jobs.finished_at IS 'When the job came to its end; NULL while it runs or when it was cut off';

CREATE TABLE ingestion_audit (
    job_id VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL
        CHECK (outcome IN ('accepted', 'held', 'not_listed', 'rejected', 'no_data', 'failed')),
    provider VARCHAR,
    start_date DATE NOT NULL,
    end_date DATE NOT NULL,
    reason VARCHAR,
    rule VARCHAR,
    calls INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    sessions_expected INTEGER NOT NULL,
    sessions_missing INTEGER NOT NULL,
    rows_received INTEGER NOT NULL,
    rows_inserted INTEGER NOT NULL,
    rows_updated INTEGER NOT NULL,
    rows_unchanged INTEGER NOT NULL,
    null_share DOUBLE,
    score DOUBLE,
    findings INTEGER NOT NULL,
    raw_hash VARCHAR,
    url VARCHAR,
    http_status INTEGER,
    bytes BIGINT NOT NULL,
    latency_ms DOUBLE,
    synthetic BOOLEAN NOT NULL,
    decision VARCHAR NOT NULL,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP NOT NULL,
    PRIMARY KEY (job_id, symbol)
);
COMMENT ON TABLE ingestion_audit IS 'One record for each symbol of each job; the same as the job''s JSONL file';
COMMENT ON COLUMN ingestion_audit.decision IS 'Providers tried, in order, and what each answered, as a JSON list';

CREATE TABLE corporate_actions (
    symbol VARCHAR NOT NULL,
    date DATE NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('split', 'dividend')),
    value DOUBLE NOT NULL CHECK (value > 0),
    source_provider VARCHAR NOT NULL,
    raw_hash VARCHAR NOT NULL,
    pulled_at TIMESTAMP NOT NULL,
    PRIMARY KEY (symbol, date, kind, source_provider)
);
COMMENT ON TABLE corporate_actions IS 'Splits and cash dividends as each provider tells them';
COMMENT ON COLUMN corporate_actions.date IS 'Ex-date';
COMMENT ON COLUMN corporate_actions.value IS 'Split: new shares for an old one; dividend: dollars a share';

CREATE TABLE coverage (
    request_id VARCHAR PRIMARY KEY,
    symbol VARCHAR NOT NULL,
    interval VARCHAR NOT NULL,
    provider VARCHAR NOT NULL,
    first_date DATE NOT NULL,
    last_date DATE NOT NULL,
    outcome VARCHAR NOT NULL CHECK (outcome IN ('answered', 'failed')),
    raw_hash VARCHAR,
    fetched_at TIMESTAMP NOT NULL,
    url VARCHAR,
    http_status INTEGER,
    content_type VARCHAR,
    bytes BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    latency_ms DOUBLE,
    error VARCHAR,
    message VARCHAR,
    job_id VARCHAR
);
COMMENT ON TABLE coverage IS
    'Ledger of what was asked: the sessions from first_date to last_date of a symbol are answered by a stored payload';
COMMENT ON COLUMN coverage.outcome IS 'answered (empty answers too: the payload says so) or failed (nothing to keep)';

CREATE TABLE revisions (
    symbol VARCHAR NOT NULL,
    date DATE NOT NULL,
    open DOUBLE,
    high DOUBLE,
    low DOUBLE,
    close DOUBLE,
    volume DOUBLE,
    vwap DOUBLE,
    trade_count DOUBLE,
    basis VARCHAR NOT NULL,
    adjusted_as_of TIMESTAMP,
    source_provider VARCHAR NOT NULL,
    raw_hash VARCHAR NOT NULL,
    pulled_at TIMESTAMP NOT NULL,
    replaced_at TIMESTAMP NOT NULL,
    replaced_by VARCHAR NOT NULL
);
COMMENT ON TABLE revisions IS 'Each daily bar that was replaced, as it stood before';
COMMENT ON COLUMN revisions.replaced_by IS 'SHA-256 of the payload whose bar replaced it';

CREATE TABLE store_kind (
    synthetic BOOLEAN NOT NULL
);
COMMENT ON TABLE store_kind IS 'One row: whether everything here is made up; real and synthetic data never share a store';

CREATE TABLE sessions (
    session DATE PRIMARY KEY,
    closes_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE sessions IS 'XNYS sessions and their closing instants (UTC)';
