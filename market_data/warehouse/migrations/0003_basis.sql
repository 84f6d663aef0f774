-- Every bar is turned to raw where the actions allow it; actions of all vendors become one list; amendments, and
-- comparisons of vendors.

ALTER TABLE price_history_daily ADD COLUMN sent_basis VARCHAR;
ALTER TABLE price_history_daily ADD COLUMN sent_as_of TIMESTAMP;
ALTER TABLE price_history_daily ADD COLUMN price_factor DOUBLE DEFAULT 1;
ALTER TABLE price_history_daily ADD COLUMN volume_factor DOUBLE DEFAULT 1;
ALTER TABLE price_history_daily ADD COLUMN known_at TIMESTAMP;
ALTER TABLE price_history_daily ADD COLUMN amendment_id VARCHAR;
UPDATE price_history_daily SET sent_basis = basis, sent_as_of = adjusted_as_of, known_at = pulled_at;
COMMENT ON COLUMN price_history_daily.sent_basis IS 'What the prices were adjusted for as the provider sent them';
COMMENT ON COLUMN price_history_daily.sent_as_of IS 'Instant (UTC) the provider had adjusted them up to; NULL for raw';
COMMENT ON COLUMN price_history_daily.price_factor IS 'Stored price = price as sent * price_factor, rounded to the tick';
COMMENT ON COLUMN price_history_daily.volume_factor IS 'Stored volume = volume as sent * volume_factor';
COMMENT ON COLUMN price_history_daily.known_at IS
    'Instant (UTC) since when the bar was known as it stands: receipt of its payload, of a later corporate action that changed it, or of an amendment';
COMMENT ON COLUMN price_history_daily.amendment_id IS 'Amendment that changed the bar; NULL for a bar as the provider has it';

ALTER TABLE revisions ADD COLUMN sent_basis VARCHAR;
ALTER TABLE revisions ADD COLUMN sent_as_of TIMESTAMP;
ALTER TABLE revisions ADD COLUMN price_factor DOUBLE DEFAULT 1;
ALTER TABLE revisions ADD COLUMN volume_factor DOUBLE DEFAULT 1;
ALTER TABLE revisions ADD COLUMN known_at TIMESTAMP;
ALTER TABLE revisions ADD COLUMN amendment_id VARCHAR;
ALTER TABLE revisions ADD COLUMN reason VARCHAR DEFAULT 'payload';
UPDATE revisions SET sent_basis = basis, sent_as_of = adjusted_as_of, known_at = pulled_at;
COMMENT ON COLUMN revisions.replaced_at IS 'Instant (UTC) since when its successor was known; known_at of the successor';
COMMENT ON COLUMN revisions.replaced_by IS 'SHA-256 of the payload that its successor comes from: of bars, actions, or an amendment';
COMMENT ON COLUMN revisions.reason IS
    'payload (the provider''s bar changed), actions (what is known of corporate actions did), amendment, undo';

ALTER TABLE quality_findings ADD COLUMN proposed DOUBLE;
COMMENT ON COLUMN quality_findings.proposed IS 'Value proposed in place of the one found; NULL where none is';

CREATE TABLE reported_actions (
    symbol VARCHAR NOT NULL,
    date DATE NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('split', 'dividend', 'spinoff')),
    value DOUBLE NOT NULL CHECK (value > 0),
    adjusted_as_of TIMESTAMP,
    source_provider VARCHAR NOT NULL,
    raw_hash VARCHAR NOT NULL,
    pulled_at TIMESTAMP NOT NULL,
    PRIMARY KEY (symbol, date, kind, source_provider)
);
COMMENT ON TABLE reported_actions IS 'Corporate actions as each provider tells them at present';
COMMENT ON COLUMN reported_actions.date IS 'Ex-date';
COMMENT ON COLUMN reported_actions.value IS
    'Split: new shares for an old one; spinoff: price before for price after; dividend: dollars a share';
COMMENT ON COLUMN reported_actions.adjusted_as_of IS
    'Instant (UTC) a dividend is adjusted for later splits up to; NULL as declared';
INSERT INTO reported_actions
SELECT symbol, date, kind, value,
    CASE WHEN source_provider = 'yahoo' AND kind = 'dividend' THEN pulled_at END, source_provider, raw_hash, pulled_at
FROM corporate_actions;

DROP TABLE corporate_actions;
CREATE TABLE corporate_actions (
    symbol VARCHAR NOT NULL,
    date DATE NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('split', 'dividend', 'spinoff')),
    value DOUBLE NOT NULL CHECK (value > 0),
    source_provider VARCHAR NOT NULL,
    also_told_by VARCHAR NOT NULL,
    raw_hash VARCHAR NOT NULL,
    known_at TIMESTAMP NOT NULL,
    PRIMARY KEY (symbol, date, kind)
);
COMMENT ON TABLE corporate_actions IS 'Corporate actions, each once whoever tells of it; what prices are adjusted by';
COMMENT ON COLUMN corporate_actions.date IS 'Ex-date';
COMMENT ON COLUMN corporate_actions.value IS
    'Split: new shares for an old one; spinoff: price before for price after; dividend: dollars a share as declared';
COMMENT ON COLUMN corporate_actions.source_provider IS 'Provider whose date and value these are';
COMMENT ON COLUMN corporate_actions.also_told_by IS 'Other providers that tell the same, comma-separated';
COMMENT ON COLUMN corporate_actions.known_at IS 'Instant (UTC) since when it was known as it stands';

CREATE TABLE corporate_action_revisions (
    symbol VARCHAR NOT NULL,
    date DATE NOT NULL,
    kind VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    source_provider VARCHAR NOT NULL,
    also_told_by VARCHAR NOT NULL,
    raw_hash VARCHAR NOT NULL,
    known_at TIMESTAMP NOT NULL,
    replaced_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE corporate_action_revisions IS 'Corporate actions that were changed or withdrawn, as they stood before';

CREATE TABLE action_conflicts (
    symbol VARCHAR NOT NULL,
    date DATE NOT NULL,
    kind VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    source_provider VARCHAR NOT NULL,
    other_date DATE,
    other_value DOUBLE,
    other_provider VARCHAR NOT NULL,
    message VARCHAR NOT NULL
);
COMMENT ON TABLE action_conflicts IS 'Where providers tell different things of an action; the first named is believed';

CREATE TABLE actions_told (
    symbol VARCHAR NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('split', 'dividend')),
    source_provider VARCHAR NOT NULL,
    first_date DATE NOT NULL,
    last_date DATE NOT NULL,
    raw_hash VARCHAR NOT NULL,
    pulled_at TIMESTAMP NOT NULL,
    PRIMARY KEY (symbol, kind, source_provider, raw_hash)
);
COMMENT ON TABLE actions_told IS
    'Spans of which a provider told every action of a kind (split: spin-offs too); outside of them nothing is known';
COMMENT ON COLUMN actions_told.symbol IS 'Canonical symbol; * for an answer for every symbol at once';

CREATE TABLE amendments (
    amendment_id VARCHAR PRIMARY KEY,
    symbol VARCHAR NOT NULL,
    date DATE NOT NULL,
    field VARCHAR NOT NULL,
    old_value DOUBLE,
    new_value DOUBLE,
    reason VARCHAR NOT NULL,
    author VARCHAR NOT NULL,
    raw_hash VARCHAR NOT NULL,
    amended_at TIMESTAMP NOT NULL,
    ended_at TIMESTAMP,
    ended_by VARCHAR
);
COMMENT ON TABLE amendments IS 'Fields of stored bars that a person changed; each can be undone';
COMMENT ON COLUMN amendments.old_value IS 'What the provider has; while it keeps sending this, the amendment stands';
COMMENT ON COLUMN amendments.raw_hash IS 'SHA-256 of the amendment in the raw store';
COMMENT ON COLUMN amendments.ended_by IS 'undo, or the SHA-256 of a payload with another value; NULL while it stands';

CREATE TABLE reconciliations (
    symbol VARCHAR NOT NULL,
    date DATE NOT NULL,
    provider VARCHAR NOT NULL,
    other_provider VARCHAR NOT NULL,
    verdict VARCHAR NOT NULL
        CHECK (verdict IN ('agree', 'price_differs', 'volume_differs', 'one_missing', 'not_comparable')),
    field VARCHAR NOT NULL,
    value DOUBLE,
    other_value DOUBLE,
    tolerance DOUBLE,
    odd_one VARCHAR,
    raw_hash VARCHAR,
    other_raw_hash VARCHAR NOT NULL,
    compared_at TIMESTAMP NOT NULL,
    PRIMARY KEY (symbol, date, provider, other_provider)
);
COMMENT ON TABLE reconciliations IS 'Two providers'' raw bars of a session compared, one row a pair';
COMMENT ON COLUMN reconciliations.provider IS 'Provider of the stored bar';
COMMENT ON COLUMN reconciliations.field IS 'Field that differs most; empty where they agree';
COMMENT ON COLUMN reconciliations.odd_one IS 'Provider that stands alone against two or more that agree; NULL if none does';

ALTER TABLE provider_metrics ADD COLUMN compared BIGINT DEFAULT 0;
ALTER TABLE provider_metrics ADD COLUMN odd BIGINT DEFAULT 0;
COMMENT ON COLUMN provider_metrics.compared IS 'Answers of the date that were compared with those of two or more others';
COMMENT ON COLUMN provider_metrics.odd IS 'Those of them that stood alone against the others';
COMMENT ON COLUMN corporate_action_revisions.replaced_at IS
    'Instant (UTC) since when it was changed or withdrawn: receipt of the payload that did';
COMMENT ON COLUMN action_conflicts.other_date IS 'Ex-date as the other provider tells it; NULL if it tells of none';
