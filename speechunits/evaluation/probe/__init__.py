"""Linear probes: what a softmax regression on frozen features tells of phone, speaker and word."""
