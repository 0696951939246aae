"""Measures: error rates, unit quality, information, the reduction factor."""
