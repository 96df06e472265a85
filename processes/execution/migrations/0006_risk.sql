-- What risk remembers over restarts, as JSON: one row, written with the fills it follows from.
CREATE TABLE risk_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    time_ns INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
