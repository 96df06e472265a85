"""Retraining: models trained again once a day, and promoted if they are better."""
