-- What each answer came to, and which feed it is of.

ALTER TABLE coverage ADD COLUMN feed VARCHAR DEFAULT 'bars';
ALTER TABLE coverage ADD COLUMN verdict VARCHAR;
ALTER TABLE coverage ADD COLUMN considered VARCHAR;
COMMENT ON COLUMN coverage.symbol IS 'Canonical symbol; * for an answer for every symbol at once';
COMMENT ON COLUMN coverage.feed IS 'bars, splits or dividends';
COMMENT ON COLUMN coverage.verdict IS
    'What validation made of the answer: accepted, rejected, no_data; NULL while it was not judged';
COMMENT ON COLUMN coverage.considered IS
    'Providers the choice was made from, with masks and draws, as a JSON list; NULL where there was no choice';

ALTER TABLE provider_metrics ADD COLUMN not_served BIGINT DEFAULT 0;
COMMENT ON TABLE provider_metrics IS 'What each provider answered on each UTC date; derived from coverage';
COMMENT ON COLUMN provider_metrics.calls IS 'Requests sent, retries included';
COMMENT ON COLUMN provider_metrics.failed IS 'Requests without a usable answer, but for those of not_served';
COMMENT ON COLUMN provider_metrics.not_served IS 'Requests beyond the reach or the quota of the provider';
