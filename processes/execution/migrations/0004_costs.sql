-- What was paid for a position is kept as a sum, and fees in a third asset apart. Rows of before have
-- neither: their cost is average price times quantity.
DROP VIEW IF EXISTS positions_numeric;
DROP VIEW positions;
ALTER TABLE position_changes ADD COLUMN cost TEXT NOT NULL DEFAULT '0';
ALTER TABLE position_changes ADD COLUMN other_fees TEXT NOT NULL DEFAULT '{}';
CREATE VIEW positions AS
    SELECT p.* FROM position_changes p
    WHERE p.number = (
        SELECT max(q.number) FROM position_changes q WHERE q.instrument = p.instrument);
