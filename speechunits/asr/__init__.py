"""Recognition from few labels: tokens, CTC recogniser, decoding."""
