"""A running mean, one frame at a time."""

import numpy as np


def running_mean(frames, width):
    """Return the mean over ``width`` frames around each, fewer at the edges."""
    reach = width // 2
    means = [frames[max(0, place - reach) : place + reach + 1].mean(axis=0) for place in range(len(frames))]
    return np.array(means, np.float32)
