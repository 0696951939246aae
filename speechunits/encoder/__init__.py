"""The speech encoder: front ends, transformer context, quantiser, masking."""
