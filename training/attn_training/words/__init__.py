"""Keyword spotters for any words: synthetic voices, recordings, training, thresholds, the model and its card."""
