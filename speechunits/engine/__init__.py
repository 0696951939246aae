"""Training on fairseq2; the only folder that imports it."""
