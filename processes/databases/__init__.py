"""The floor below the ledger and the history tables: two database bodies behind one interface."""
