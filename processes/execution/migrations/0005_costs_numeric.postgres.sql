-- The same as numbers, with what was paid.
CREATE VIEW positions_numeric AS
    SELECT instrument, symbol, quantity::NUMERIC AS quantity,
        average_price::NUMERIC AS average_price, realized::NUMERIC AS realized,
        fees::NUMERIC AS fees, to_timestamp(time_ns / 1e9) AS changed,
        cost::NUMERIC AS cost
    FROM positions;
