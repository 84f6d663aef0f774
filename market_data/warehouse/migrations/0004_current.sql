-- What keeps the store current: which instruments it knows, and which gaps it has.

CREATE TABLE known_instruments (
    symbol VARCHAR PRIMARY KEY,
    fingerprint VARCHAR NOT NULL,
    known_since TIMESTAMP NOT NULL,
    dropped_at TIMESTAMP
);
COMMENT ON TABLE known_instruments IS 'Instruments of the universe as the last sync saw them';
COMMENT ON COLUMN known_instruments.fingerprint IS
    'SHA-256 of name, listing and renames: another one means that what depends on them is checked again';
COMMENT ON COLUMN known_instruments.dropped_at IS
    'Instant (UTC) a sync found it gone from the universe; its bars stay, nothing more is asked for';

CREATE TABLE gaps (
    symbol VARCHAR NOT NULL,
    date DATE NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('missing', 'rejected', 'unanswered', 'low_score')),
    state VARCHAR NOT NULL CHECK (state IN ('open', 'known', 'closed')),
    reason VARCHAR NOT NULL,
    tries INTEGER NOT NULL,
    found_at TIMESTAMP NOT NULL,
    tried_at TIMESTAMP,
    next_try_at TIMESTAMP,
    closed_at TIMESTAMP,
    asked_since TIMESTAMP,
    fingerprint VARCHAR NOT NULL,
    PRIMARY KEY (symbol, date)
);
COMMENT ON TABLE gaps IS 'Expected sessions without an accepted bar, what was tried, and which of them nobody can fill';
COMMENT ON COLUMN gaps.date IS 'XNYS session';
COMMENT ON COLUMN gaps.kind IS
    'missing (answered without a usable bar), rejected, unanswered (no verdict), low_score (stored, but below the limit)';
COMMENT ON COLUMN gaps.state IS
    'open: asked for again at next_try_at; known: not asked for until something changes; closed: filled';
COMMENT ON COLUMN gaps.reason IS 'Why it is open, known or closed, for people';
COMMENT ON COLUMN gaps.tries IS 'Times it was asked for in vain since it was opened';
COMMENT ON COLUMN gaps.found_at IS 'Instant (UTC) it was opened, the last time';
COMMENT ON COLUMN gaps.next_try_at IS 'Instant (UTC) from which it is asked for again; NULL unless open';
COMMENT ON COLUMN gaps.closed_at IS 'Instant (UTC) it was found filled, or not expected any more; NULL unless closed';
COMMENT ON COLUMN gaps.asked_since IS 'Instant (UTC) before which answers do not count any more; NULL: all of them count';
COMMENT ON COLUMN gaps.fingerprint IS
    'Hashes of what answers depend on (instrument, archive) and of who may be asked: another one opens it again';
