-- Features of daily prices, and what each session of them was made from.

CREATE TABLE features_daily (
    symbol VARCHAR NOT NULL,
    date DATE NOT NULL,
    log_return_1 DOUBLE,
    log_return_5 DOUBLE,
    log_return_21 DOUBLE,
    log_return_63 DOUBLE,
    log_return_252 DOUBLE,
    simple_return_1 DOUBLE,
    simple_return_5 DOUBLE,
    simple_return_21 DOUBLE,
    simple_return_63 DOUBLE,
    simple_return_252 DOUBLE,
    volatility_close_21 DOUBLE,
    volatility_close_63 DOUBLE,
    volatility_parkinson_21 DOUBLE,
    volatility_garman_klass_21 DOUBLE,
    volatility_yang_zhang_21 DOUBLE,
    atr_14 DOUBLE,
    atr_14_share DOUBLE,
    rsi_14 DOUBLE,
    macd DOUBLE,
    macd_signal DOUBLE,
    macd_histogram DOUBLE,
    bollinger_z_20 DOUBLE,
    momentum_12_1 DOUBLE,
    drawdown_252 DOUBLE,
    dollar_volume DOUBLE,
    dollar_volume_21 DOUBLE,
    amihud_21 DOUBLE,
    turnover_rank DOUBLE,
    market_return_1 DOUBLE,
    beta_252 DOUBLE,
    log_return_1_z DOUBLE,
    log_return_1_rank DOUBLE,
    log_return_21_z DOUBLE,
    log_return_21_rank DOUBLE,
    momentum_12_1_z DOUBLE,
    momentum_12_1_rank DOUBLE,
    volatility_close_21_z DOUBLE,
    volatility_close_21_rank DOUBLE,
    reason VARCHAR,
    made_at TIMESTAMP NOT NULL,
    PRIMARY KEY (symbol, date)
);
COMMENT ON TABLE features_daily IS
    'Features of each expected session of each instrument, made from the canonical tables alone; NULL where not known';
COMMENT ON COLUMN features_daily.symbol IS 'Canonical symbol';
COMMENT ON COLUMN features_daily.date IS 'XNYS session';
COMMENT ON COLUMN features_daily.log_return_1 IS
    'Natural logarithm of the total-return close over that of the session before [log return]';
COMMENT ON COLUMN features_daily.log_return_5 IS
    'Natural logarithm of the total-return close over that of 5 sessions before [log return]';
COMMENT ON COLUMN features_daily.log_return_21 IS
    'Natural logarithm of the total-return close over that of 21 sessions before [log return]';
COMMENT ON COLUMN features_daily.log_return_63 IS
    'Natural logarithm of the total-return close over that of 63 sessions before [log return]';
COMMENT ON COLUMN features_daily.log_return_252 IS
    'Natural logarithm of the total-return close over that of 252 sessions before [log return]';
COMMENT ON COLUMN features_daily.simple_return_1 IS
    'Total-return close over that of the session before, less 1 [simple return]';
COMMENT ON COLUMN features_daily.simple_return_5 IS
    'Total-return close over that of 5 sessions before, less 1 [simple return]';
COMMENT ON COLUMN features_daily.simple_return_21 IS
    'Total-return close over that of 21 sessions before, less 1 [simple return]';
COMMENT ON COLUMN features_daily.simple_return_63 IS
    'Total-return close over that of 63 sessions before, less 1 [simple return]';
COMMENT ON COLUMN features_daily.simple_return_252 IS
    'Total-return close over that of 252 sessions before, less 1 [simple return]';
COMMENT ON COLUMN features_daily.volatility_close_21 IS
    'Standard deviation of the last 21 daily log returns, annualised [log return a year]';
COMMENT ON COLUMN features_daily.volatility_close_63 IS
    'Standard deviation of the last 63 daily log returns, annualised [log return a year]';
COMMENT ON COLUMN features_daily.volatility_parkinson_21 IS
    'Parkinson''s volatility from 21 highs and lows, annualised [log return a year]';
COMMENT ON COLUMN features_daily.volatility_garman_klass_21 IS
    'Garman and Klass''s volatility from 21 whole bars, annualised [log return a year]';
COMMENT ON COLUMN features_daily.volatility_yang_zhang_21 IS
    'Yang and Zhang''s volatility from 21 nights and 21 sessions, annualised [log return a year]';
COMMENT ON COLUMN features_daily.atr_14 IS
    'Average true range by Wilder''s smoothing of 14 [dollars a share, as traded at the session]';
COMMENT ON COLUMN features_daily.atr_14_share IS 'Average true range as a share of the close [share of close]';
COMMENT ON COLUMN features_daily.rsi_14 IS 'Wilder''s relative strength index of 14 [0 to 100]';
COMMENT ON COLUMN features_daily.macd IS
    'Exponential average of 12 closes less that of 26 [dollars a share, as traded at the session]';
COMMENT ON COLUMN features_daily.macd_signal IS
    'Exponential average of 9 of the MACD line [dollars a share, as traded at the session]';
COMMENT ON COLUMN features_daily.macd_histogram IS
    'MACD line less its signal [dollars a share, as traded at the session]';
COMMENT ON COLUMN features_daily.bollinger_z_20 IS
    'Close less the mean of 20 closes, in their standard deviations [standard deviations]';
COMMENT ON COLUMN features_daily.momentum_12_1 IS
    'Return from 252 to 21 sessions before: a year without its last month [simple return]';
COMMENT ON COLUMN features_daily.drawdown_252 IS
    'Close over the highest close of 252 sessions, less 1 [simple return]';
COMMENT ON COLUMN features_daily.dollar_volume IS 'Close times volume, both as traded [dollars]';
COMMENT ON COLUMN features_daily.dollar_volume_21 IS 'Mean dollar volume of 21 sessions [dollars a session]';
COMMENT ON COLUMN features_daily.amihud_21 IS
    'Amihud''s illiquidity: mean of absolute return over dollar volume, 21 sessions [simple return a million dollars]';
COMMENT ON COLUMN features_daily.turnover_rank IS
    'Rank of dollar_volume_21 among the instruments; shares outstanding are not in the store [rank 0 to 1]';
COMMENT ON COLUMN features_daily.market_return_1 IS
    'Equal-weight mean of the simple returns of all instruments that have one [simple return]';
COMMENT ON COLUMN features_daily.beta_252 IS
    'Slope of 252 daily simple returns on those of the equal-weight market [1]';
COMMENT ON COLUMN features_daily.log_return_1_z IS
    'log_return_1 less its mean over the instruments, in their standard deviations [standard deviations]';
COMMENT ON COLUMN features_daily.log_return_1_rank IS
    'Rank of log_return_1 among the instruments: 0 the lowest, 1 the highest [rank 0 to 1]';
COMMENT ON COLUMN features_daily.log_return_21_z IS
    'log_return_21 less its mean over the instruments, in their standard deviations [standard deviations]';
COMMENT ON COLUMN features_daily.log_return_21_rank IS
    'Rank of log_return_21 among the instruments: 0 the lowest, 1 the highest [rank 0 to 1]';
COMMENT ON COLUMN features_daily.momentum_12_1_z IS
    'momentum_12_1 less its mean over the instruments, in their standard deviations [standard deviations]';
COMMENT ON COLUMN features_daily.momentum_12_1_rank IS
    'Rank of momentum_12_1 among the instruments: 0 the lowest, 1 the highest [rank 0 to 1]';
COMMENT ON COLUMN features_daily.volatility_close_21_z IS
    'volatility_close_21 less its mean over the instruments, in their standard deviations [standard deviations]';
COMMENT ON COLUMN features_daily.volatility_close_21_rank IS
    'Rank of volatility_close_21 among the instruments: 0 the lowest, 1 the highest [rank 0 to 1]';
COMMENT ON COLUMN features_daily.reason IS 'Why features of the row are NULL; NULL where none is';
COMMENT ON COLUMN features_daily.made_at IS 'Instant (UTC) since when the row is as it stands';

CREATE TABLE feature_partitions (
    date DATE PRIMARY KEY,
    inputs_hash VARCHAR NOT NULL,
    rows INTEGER NOT NULL,
    nulls BIGINT NOT NULL,
    formula_version INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    store VARCHAR NOT NULL,
    made_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE feature_partitions IS 'What each session of features_daily was made from';
COMMENT ON COLUMN feature_partitions.date IS 'XNYS session';
COMMENT ON COLUMN feature_partitions.inputs_hash IS
    'SHA-256 of all that went in: bars, verdicts and price steps within the lookback, instruments, formulas';
COMMENT ON COLUMN feature_partitions.rows IS 'Rows of features_daily of the session';
COMMENT ON COLUMN feature_partitions.nulls IS 'Values of them that are NULL';
COMMENT ON COLUMN feature_partitions.formula_version IS 'Version of the formulas and of what counts as usable';
COMMENT ON COLUMN feature_partitions.schema_version IS 'Version of the schema the inputs were read by';
COMMENT ON COLUMN feature_partitions.store IS 'The database the inputs were read from: its kind and its first instant';
COMMENT ON COLUMN feature_partitions.made_at IS 'Instant (UTC) it was last computed';
