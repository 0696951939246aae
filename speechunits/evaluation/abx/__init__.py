"""ABX discriminability (Schatz et al. 2013; ZeroSpeech): is X, another token of A, nearer to A than to B."""
