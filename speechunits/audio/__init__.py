"""Recordings: manifests, loading, splits, batches, synthesis."""
