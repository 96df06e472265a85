-- A fill's id is its venue's: two venues may use the same one, one order never twice.
CREATE TABLE fills_by_order (
    fill_id TEXT NOT NULL,
    command_id TEXT NOT NULL REFERENCES intents,
    price TEXT NOT NULL,
    quantity TEXT NOT NULL,
    fee TEXT NOT NULL,
    fee_currency TEXT NOT NULL,
    time_ns INTEGER NOT NULL,
    PRIMARY KEY (command_id, fill_id)
) STRICT;
INSERT INTO fills_by_order SELECT
    fill_id, command_id, price, quantity, fee, fee_currency, time_ns FROM fills;
DROP TABLE fills;
ALTER TABLE fills_by_order RENAME TO fills;
-- What each fill made of its instrument's position. Amounts are decimal text, as everywhere:
-- SQLite cannot add decimals, so sums are written down and not asked for.
CREATE TABLE position_changes (
    number INTEGER PRIMARY KEY REFERENCES order_events,
    instrument INTEGER NOT NULL,
    symbol TEXT NOT NULL,
    day TEXT NOT NULL,
    quantity TEXT NOT NULL,
    average_price TEXT NOT NULL,
    gained TEXT NOT NULL,
    realized TEXT NOT NULL,
    realized_day TEXT NOT NULL,
    fees TEXT NOT NULL,
    opened_ns INTEGER NOT NULL,
    time_ns INTEGER NOT NULL
) STRICT;
CREATE INDEX position_changes_by_instrument ON position_changes (instrument, number);
CREATE INDEX position_changes_by_day ON position_changes (day);
CREATE VIEW positions AS
    SELECT p.* FROM position_changes p
    WHERE p.number = (
        SELECT max(q.number) FROM position_changes q WHERE q.instrument = p.instrument);
CREATE VIEW realized_profit AS
    SELECT p.day, p.instrument, p.symbol, p.realized_day, p.realized, p.fees
    FROM position_changes p
    WHERE p.number = (
        SELECT max(q.number) FROM position_changes q
        WHERE q.instrument = p.instrument AND q.day = p.day);
-- Who has written here, one row a life: the session, and the data folder that it was of.
CREATE TABLE writers (
    number INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    folder TEXT NOT NULL
) STRICT;
