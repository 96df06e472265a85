"""The collector: one process a venue, from sockets to the tape."""
