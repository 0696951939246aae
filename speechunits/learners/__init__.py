"""One module per pretraining method: encoder, heads, and how x and y are made from a batch."""
