"""Log-mel energies and cepstra, one frame and one bin at a time."""

import math

import numpy as np


def slaney_mel(hertz):
    """Slaney's mel scale: linear to 1 kHz, logarithmic above."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def slaney_hertz(mel):
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)


def log_mel(waveform, bins, *, window=400, hop=160, size=512, rate=16000, floor=1e-9):
    """Natural log of triangular mel filters of unit area over the power spectrum of Hann windows."""
    top = slaney_mel(rate / 2)
    edges = [slaney_hertz(top * index / (bins + 1)) for index in range(bins + 2)]
    times = np.arange(window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * times / window)
    rows = []
    for start in range(0, len(waveform) - window + 1, hop):
        frame = waveform[start : start + window] * hann
        spectrum = [
            abs(np.sum(frame * np.exp(-2j * np.pi * index * times / size))) ** 2 for index in range(size // 2 + 1)
        ]
        row = []
        for low, peak, high in zip(edges, edges[1:], edges[2:], strict=False):
            energy = 0.0
            for index, power in enumerate(spectrum):
                hertz = index * rate / size
                weight = min((hertz - low) / (peak - low), (high - hertz) / (high - peak))
                energy += max(0.0, weight) * power * 2 / (high - low)
            row.append(math.log(energy + floor))
        rows.append(row)
    return np.array(rows).reshape(-1, bins)
