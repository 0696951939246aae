"""Hand-made features: log-mel and MFCC."""
