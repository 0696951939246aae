"""Slow oracles, written from the papers; never imported by the package."""
