"""The feature builder: tapes to rows of the catalogue, cut by time or by news."""
