-- How far each source has been read; moved in the same transaction as the rows made of it.
CREATE TABLE progress (
    source TEXT PRIMARY KEY,
    mark TEXT NOT NULL,
    place INTEGER NOT NULL
) STRICT;
-- What was gone before it could be read.
CREATE TABLE holes (
    source TEXT NOT NULL,
    mark TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (source, mark, first)
) STRICT;
CREATE TABLE bars (
    venue TEXT NOT NULL,
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    variant TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    open REAL,
    high REAL,
    low REAL,
    close REAL,
    volume REAL,
    average_price REAL,
    trades REAL,
    recv_ns INTEGER NOT NULL,
    PRIMARY KEY (venue, symbol, timeframe, variant, start_ns)
) STRICT;
CREATE TABLE signals (
    time_ns INTEGER NOT NULL,
    session INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    venue TEXT NOT NULL,
    symbol TEXT NOT NULL,
    strategy TEXT NOT NULL,
    action TEXT NOT NULL,
    reason TEXT NOT NULL,
    command_id TEXT NOT NULL,
    confidence REAL,
    expected_move_bps REAL,
    cost_bps REAL,
    expected_value_bps REAL,
    position REAL,
    quantity REAL,
    reference_price REAL,
    PRIMARY KEY (time_ns, session, sequence)
) STRICT;
CREATE TABLE profit (
    minute_ns INTEGER NOT NULL,
    strategy TEXT NOT NULL,
    venue TEXT NOT NULL,
    symbol TEXT NOT NULL,
    decisions INTEGER NOT NULL,
    position REAL,
    reference_price REAL,
    realized_day_all REAL,
    unrealized REAL,
    PRIMARY KEY (minute_ns, strategy, venue, symbol)
) STRICT;
CREATE TABLE audit (
    source TEXT NOT NULL,
    mark TEXT NOT NULL,
    place INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    process TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (source, mark, place)
) STRICT;
CREATE INDEX audit_by_time ON audit (time_ns);
