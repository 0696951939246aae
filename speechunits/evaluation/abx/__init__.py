"""ABX discriminability: is X, another token of A, nearer to A than to B? (Schatz et al. 2013; ZeroSpeech.)"""
