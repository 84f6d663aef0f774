-- Views are made again at each migration; nothing is stored in them.

CREATE OR REPLACE VIEW coverage_sessions AS
SELECT c.symbol, s.session, c.interval, c.provider, c.raw_hash, c.fetched_at
FROM coverage AS c
JOIN sessions AS s ON s.session BETWEEN c.first_date AND c.last_date
WHERE c.outcome = 'answered';

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
