-- What is asked of providers in more detail, intraday polls included, and how their quotas stood.

ALTER TABLE provider_metrics ADD COLUMN answered BIGINT DEFAULT 0;
ALTER TABLE provider_metrics ADD COLUMN errors VARCHAR DEFAULT '{}';
ALTER TABLE provider_metrics ADD COLUMN intraday_calls BIGINT DEFAULT 0;
ALTER TABLE provider_metrics ADD COLUMN intraday_answered BIGINT DEFAULT 0;
ALTER TABLE provider_metrics ADD COLUMN intraday_empty BIGINT DEFAULT 0;
ALTER TABLE provider_metrics ADD COLUMN intraday_rejected BIGINT DEFAULT 0;
ALTER TABLE provider_metrics ADD COLUMN intraday_failed BIGINT DEFAULT 0;
ALTER TABLE provider_metrics ADD COLUMN intraday_not_served BIGINT DEFAULT 0;

UPDATE provider_metrics SET answered = found.answered, errors = found.errors
FROM (
    SELECT
        provider, day, coalesce(sum(n) FILTER (kind IS NULL), 0) AS answered,
        coalesce(map_from_entries(list({'k': kind, 'v': n} ORDER BY kind) FILTER (kind IS NOT NULL)), MAP {})::JSON
        AS errors
    FROM (
        SELECT
            provider, fetched_at::DATE AS day,
            CASE outcome WHEN 'failed' THEN coalesce(error, 'unknown') END AS kind, count(*) AS n
        FROM coverage
        WHERE attempts > 0
        GROUP BY ALL
    )
    GROUP BY provider, day
) AS found
WHERE provider_metrics.provider_name = found.provider AND provider_metrics.date = found.day;

COMMENT ON TABLE provider_metrics IS
    'What each provider answered on each UTC date; derived from coverage and intraday_polls';
COMMENT ON COLUMN provider_metrics.provider_name IS 'Provider, as in the providers file';
COMMENT ON COLUMN provider_metrics.date IS 'UTC date of the answers';
COMMENT ON COLUMN provider_metrics.calls IS 'Requests sent, retries included; those for minutes are not in it';
COMMENT ON COLUMN provider_metrics.accepted IS 'Answers with daily bars that validation accepted';
COMMENT ON COLUMN provider_metrics.rejected IS 'Answers that validation rejected';
COMMENT ON COLUMN provider_metrics.no_data IS 'Answers without data';
COMMENT ON COLUMN provider_metrics.answered IS
    'Answers: accepted, rejected, no_data, and those of other feeds, such as splits; without those for minutes';
COMMENT ON COLUMN provider_metrics.errors IS
    'Requests without a usable answer by kind of error, as a JSON object; those for minutes included';
COMMENT ON COLUMN provider_metrics.bytes IS 'Bytes received, those for minutes included';
COMMENT ON COLUMN provider_metrics.latency_p50_ms IS
    'Median of the milliseconds to a complete answer, those for minutes included';
COMMENT ON COLUMN provider_metrics.latency_p95_ms IS 'The 95th percentile of the same';
COMMENT ON COLUMN provider_metrics.intraday_calls IS
    'Requests for minutes sent, retries included: those of past sessions, and those of polls, of which one may ask for '
    'many symbols';
COMMENT ON COLUMN provider_metrics.intraday_answered IS
    'Answers with minutes: requests for past sessions, and symbols of polls; so for the other columns of intraday';
COMMENT ON COLUMN provider_metrics.intraday_empty IS 'Answers without a minute that was asked for';
COMMENT ON COLUMN provider_metrics.intraday_rejected IS 'Answers that validation rejected';
COMMENT ON COLUMN provider_metrics.intraday_failed IS 'No usable answer, but for those of intraday_not_served';
COMMENT ON COLUMN provider_metrics.intraday_not_served IS 'Beyond the reach or the quota of the provider';

CREATE TABLE provider_quotas (
    provider_name VARCHAR NOT NULL,
    date DATE NOT NULL,
    period VARCHAR NOT NULL CHECK (period IN ('day', 'month')),
    calls_limit BIGINT NOT NULL CHECK (calls_limit >= 0),
    calls_used BIGINT NOT NULL CHECK (calls_used >= 0),
    calls_left BIGINT NOT NULL CHECK (calls_left >= 0),
    resets_at TIMESTAMP NOT NULL,
    noted_at TIMESTAMP NOT NULL,
    PRIMARY KEY (provider_name, date, period)
);
COMMENT ON TABLE provider_quotas IS
    'How each quota of a provider stood on each UTC date, as last noted; the ledger of calls has the counts of now';
COMMENT ON COLUMN provider_quotas.date IS 'UTC date it was noted on';
COMMENT ON COLUMN provider_quotas.period IS 'Calendar period of the quota in the provider''s own zone: day or month';
COMMENT ON COLUMN provider_quotas.calls_limit IS 'Calls the provider allows in the period';
COMMENT ON COLUMN provider_quotas.calls_used IS 'Calls sent in it up to noted_at, by every process';
COMMENT ON COLUMN provider_quotas.calls_left IS 'Calls that were left of it';
COMMENT ON COLUMN provider_quotas.resets_at IS 'Instant (UTC) the next period begins';
COMMENT ON COLUMN provider_quotas.noted_at IS 'Instant (UTC) of the count';
