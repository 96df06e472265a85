"""Training: rows and labels to models."""
