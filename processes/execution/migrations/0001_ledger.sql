-- Intents, what brokers told about them, and fills.
CREATE TABLE intents (
    command_id TEXT PRIMARY KEY,
    session INTEGER NOT NULL,
    instrument INTEGER NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity TEXT NOT NULL,
    strategy TEXT NOT NULL,
    decided_ns INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE order_events (
    number INTEGER PRIMARY KEY,
    command_id TEXT NOT NULL REFERENCES intents,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    time_ns INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX order_events_by_command ON order_events (command_id);
CREATE TABLE fills (
    fill_id TEXT PRIMARY KEY,
    command_id TEXT NOT NULL REFERENCES intents,
    price TEXT NOT NULL,
    quantity TEXT NOT NULL,
    fee TEXT NOT NULL,
    fee_currency TEXT NOT NULL,
    time_ns INTEGER NOT NULL
) STRICT;
CREATE VIEW orders AS
    SELECT i.*, coalesce(
        (SELECT e.state FROM order_events e WHERE e.command_id = i.command_id
         ORDER BY e.number DESC LIMIT 1), 'new') AS state
    FROM intents i;
