"""Console: web page and REST for people: see, stop, steer. Never on the path of an order."""
