"""Speech units without transcripts: pretraining, units, pseudo-text, recognition, and an honest reduction factor."""

__version__ = "0.1.0"
