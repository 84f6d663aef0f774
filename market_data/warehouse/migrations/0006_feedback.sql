-- Executions reported back: each order as it stands, as it was reported before, the files it came from, and what it cost.

DROP TABLE execution_feedback;
CREATE TABLE execution_feedback (
    order_id VARCHAR PRIMARY KEY,
    symbol VARCHAR NOT NULL,
    side VARCHAR NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity DOUBLE NOT NULL CHECK (quantity > 0),
    price DOUBLE NOT NULL CHECK (price > 0),
    decision_price DOUBLE CHECK (decision_price > 0),
    decided_at TIMESTAMP,
    arrived_at TIMESTAMP,
    executed_at TIMESTAMP NOT NULL,
    session_date DATE NOT NULL,
    venue VARCHAR,
    fees DOUBLE,
    reported_at TIMESTAMP,
    version BIGINT,
    received_at TIMESTAMP NOT NULL,
    source_file VARCHAR NOT NULL,
    line INTEGER NOT NULL,
    raw_hash VARCHAR NOT NULL
);
COMMENT ON TABLE execution_feedback IS 'Executions reported back, one for an order, as last corrected';
COMMENT ON COLUMN execution_feedback.quantity IS 'Shares executed, above 0 on either side';
COMMENT ON COLUMN execution_feedback.price IS 'Average price of the execution, dollars a share, as traded';
COMMENT ON COLUMN execution_feedback.decision_price IS
    'Price when the order was decided, dollars a share, as traded then; NULL where not told';
COMMENT ON COLUMN execution_feedback.decided_at IS 'Instant (UTC) of the decision; NULL where not told';
COMMENT ON COLUMN execution_feedback.arrived_at IS 'Instant (UTC) the order reached the market; NULL where not told';
COMMENT ON COLUMN execution_feedback.executed_at IS 'Instant (UTC) the execution was complete';
COMMENT ON COLUMN execution_feedback.session_date IS 'XNYS session it was executed on: the date in New York';
COMMENT ON COLUMN execution_feedback.fees IS
    'Dollars for the whole order; below 0 for a rebate; NULL where not told';
COMMENT ON COLUMN execution_feedback.reported_at IS
    'Instant (UTC) of the report; a later one corrects an earlier one';
COMMENT ON COLUMN execution_feedback.version IS 'Number of the report; a higher one corrects a lower one';
COMMENT ON COLUMN execution_feedback.received_at IS 'Instant (UTC) its file was taken';
COMMENT ON COLUMN execution_feedback.source_file IS 'Name of that file';
COMMENT ON COLUMN execution_feedback.line IS 'Line of that file, from 1';
COMMENT ON COLUMN execution_feedback.raw_hash IS 'SHA-256 of that file in the raw store';

CREATE TABLE execution_revisions (
    order_id VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    side VARCHAR NOT NULL,
    quantity DOUBLE NOT NULL,
    price DOUBLE NOT NULL,
    decision_price DOUBLE,
    decided_at TIMESTAMP,
    arrived_at TIMESTAMP,
    executed_at TIMESTAMP NOT NULL,
    session_date DATE NOT NULL,
    venue VARCHAR,
    fees DOUBLE,
    reported_at TIMESTAMP,
    version BIGINT,
    received_at TIMESTAMP NOT NULL,
    source_file VARCHAR NOT NULL,
    line INTEGER NOT NULL,
    raw_hash VARCHAR NOT NULL,
    replaced_at TIMESTAMP NOT NULL,
    replaced_by VARCHAR NOT NULL
);
COMMENT ON TABLE execution_revisions IS
    'Executions as they were reported before a correction; also those that came after theirs and never stood';
COMMENT ON COLUMN execution_revisions.replaced_at IS
    'Instant (UTC) since when another report stands in its place';
COMMENT ON COLUMN execution_revisions.replaced_by IS 'SHA-256 of the file with that report';

CREATE TABLE execution_files (
    raw_hash VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    bytes BIGINT NOT NULL,
    taken_at TIMESTAMP NOT NULL,
    refused VARCHAR,
    lines INTEGER NOT NULL,
    inserted INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    unchanged INTEGER NOT NULL,
    superseded INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    rejected INTEGER NOT NULL
);
COMMENT ON TABLE execution_files IS 'Files of executions that were taken or refused; the same content is taken once';
COMMENT ON COLUMN execution_files.refused IS 'Why nothing of it could be used; NULL for a file that was taken';
COMMENT ON COLUMN execution_files.lines IS 'Lines with an execution, good or bad';
COMMENT ON COLUMN execution_files.superseded IS 'Reports that came after their correction';
COMMENT ON COLUMN execution_files.duplicates IS 'Lines that say again what another of the file says';
COMMENT ON COLUMN execution_files.rejected IS 'Lines that could not be used, see execution_rejects';

CREATE TABLE execution_rejects (
    raw_hash VARCHAR NOT NULL,
    line INTEGER NOT NULL,
    order_id VARCHAR,
    source_file VARCHAR NOT NULL,
    text VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    rejected_at TIMESTAMP NOT NULL,
    PRIMARY KEY (raw_hash, line)
);
COMMENT ON TABLE execution_rejects IS 'Lines of files of executions that could not be used, as they came';
COMMENT ON COLUMN execution_rejects.order_id IS 'Order the line is of, where that could be read';

CREATE TABLE execution_slippage (
    order_id VARCHAR PRIMARY KEY,
    symbol VARCHAR NOT NULL,
    session_date DATE NOT NULL,
    side VARCHAR NOT NULL,
    quantity DOUBLE NOT NULL,
    price DOUBLE NOT NULL,
    notional DOUBLE NOT NULL,
    fees DOUBLE,
    fees_bp DOUBLE,
    decision_price DOUBLE,
    decision_bp DOUBLE,
    decision_dollars DOUBLE,
    decision_all_in_bp DOUBLE,
    decision_all_in_dollars DOUBLE,
    arrival_price DOUBLE,
    arrival_bp DOUBLE,
    arrival_dollars DOUBLE,
    arrival_all_in_bp DOUBLE,
    arrival_all_in_dollars DOUBLE,
    previous_close_price DOUBLE,
    previous_close_bp DOUBLE,
    previous_close_dollars DOUBLE,
    previous_close_all_in_bp DOUBLE,
    previous_close_all_in_dollars DOUBLE,
    close_price DOUBLE,
    close_bp DOUBLE,
    close_dollars DOUBLE,
    close_all_in_bp DOUBLE,
    close_all_in_dollars DOUBLE,
    interval_vwap_price DOUBLE,
    interval_vwap_bp DOUBLE,
    interval_vwap_dollars DOUBLE,
    interval_vwap_all_in_bp DOUBLE,
    interval_vwap_all_in_dollars DOUBLE,
    day_vwap_price DOUBLE,
    day_vwap_bp DOUBLE,
    day_vwap_dollars DOUBLE,
    day_vwap_all_in_bp DOUBLE,
    day_vwap_all_in_dollars DOUBLE,
    arrival_minute TIMESTAMP,
    interval_minutes INTEGER NOT NULL,
    day_vwap_kind VARCHAR,
    benchmarks INTEGER NOT NULL,
    reason VARCHAR NOT NULL,
    computed_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE execution_slippage IS
    'What each order cost beside benchmarks of the canonical prices; above 0 is a cost: bought above, or sold below';
COMMENT ON COLUMN execution_slippage.notional IS 'Price times quantity, dollars';
COMMENT ON COLUMN execution_slippage.fees_bp IS 'Fees in basis points of the notional';
COMMENT ON COLUMN execution_slippage.decision_price IS
    'Decision price in shares of the execution: splits since the decision are divided out';
COMMENT ON COLUMN execution_slippage.decision_bp IS
    'Implementation shortfall of what was executed, basis points of the benchmark, without fees; likewise *_bp';
COMMENT ON COLUMN execution_slippage.decision_dollars IS 'The same in dollars for the order; likewise *_dollars';
COMMENT ON COLUMN execution_slippage.decision_all_in_bp IS
    'The same with fees, NULL where fees are not told; likewise *_all_in_bp and *_all_in_dollars';
COMMENT ON COLUMN execution_slippage.arrival_price IS
    'Close of the last final minute that was over when the order arrived, same session; splits since divided out';
COMMENT ON COLUMN execution_slippage.previous_close_price IS
    'Raw close of the session before; a split on the session is divided out, a dividend is not';
COMMENT ON COLUMN execution_slippage.close_price IS 'Raw close of the session';
COMMENT ON COLUMN execution_slippage.interval_vwap_price IS
    'Volume-weighted price of the final minutes from arrival to execution';
COMMENT ON COLUMN execution_slippage.day_vwap_price IS 'Volume-weighted price of the session, see day_vwap_kind';
COMMENT ON COLUMN execution_slippage.arrival_minute IS 'Start (UTC) of the bar that arrival_price is of';
COMMENT ON COLUMN execution_slippage.interval_minutes IS 'Intraday bars that interval_vwap_price is of';
COMMENT ON COLUMN execution_slippage.day_vwap_kind IS
    'vwap: as the provider sends it; typical: (high + low + close) / 3 for want of one';
COMMENT ON COLUMN execution_slippage.benchmarks IS 'How many of the six benchmarks are known';
COMMENT ON COLUMN execution_slippage.reason IS 'Why the others are not, by benchmark; empty where all are';
COMMENT ON COLUMN execution_slippage.computed_at IS 'Instant (UTC) since when the row is as it stands';
