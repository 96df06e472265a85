"""Downloads of past market data: recorded before they begin, resumable at any instant."""
