-- The same as numbers, for who adds them up: PostgreSQL's NUMERIC is exact.
CREATE VIEW fills_numeric AS
    SELECT f.fill_id, f.command_id, i.instrument, i.symbol, i.side, f.price::NUMERIC AS price,
        f.quantity::NUMERIC AS quantity, f.fee::NUMERIC AS fee, f.fee_currency,
        to_timestamp(f.time_ns / 1e9) AS filled
    FROM fills f JOIN intents i USING (command_id);
CREATE VIEW positions_numeric AS
    SELECT instrument, symbol, quantity::NUMERIC AS quantity,
        average_price::NUMERIC AS average_price, realized::NUMERIC AS realized,
        fees::NUMERIC AS fees, to_timestamp(time_ns / 1e9) AS changed
    FROM positions;
