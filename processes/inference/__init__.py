"""Inference: feature rows to predictions, on whatever rung of the model chain holds."""
