"""Archive: the lake's sealed and daily files to the store that it is kept in."""
