"""The supervised row: a network that learns from the probe's own labels, not from frozen features.

Two hidden layers over eleven log-mel frames: a frame's neighbourhood, or frames spread evenly over a word. It says
what these labels alone can teach a small network, not what the best recogniser could reach.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from speechunits.evaluation.probe.classifier import IntArray
from speechunits.units.extract import FloatArray, one_thread

CONTEXT = 11
"""Log-mel frames the network sees."""
_WIDTH, _EPOCHS, _BATCH, _RATE, _DROPOUT = 256, 15, 128, 1e-3, 0.2


def context_frames(frames: FloatArray, first: int, after: int) -> FloatArray:
    """Return the ``(11 D,)`` neighbourhood of one frame of ``(S, D)``, or eleven frames spread over a stretch."""
    half = CONTEXT // 2
    places = np.arange(first - half, first + half + 1) if after - first == 1 else np.linspace(first, after - 1, CONTEXT)
    window: FloatArray = frames[np.clip(np.rint(places).astype(int), 0, len(frames) - 1)].reshape(-1)
    return window


def topline(features: FloatArray, labels: IntArray, test: FloatArray, classes: int, *, seed: int) -> IntArray:
    """Train on ``(N, 11 D)`` features and return the classes of ``test``; fixed epochs, AdamW with linear decay."""
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-5
    points, targets = torch.from_numpy((features - mean) / scale), torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(seed)
    with one_thread(), torch.random.fork_rng(devices=[]), torch.enable_grad():  # type: ignore[no-untyped-call]
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(points.shape[1], _WIDTH), nn.ReLU(), nn.Dropout(_DROPOUT),
            nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(_WIDTH, classes),
        )  # fmt: skip
        steps = _EPOCHS * -(-len(points) // _BATCH)
        optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=steps)
        for _ in range(_EPOCHS):
            for batch in torch.split(torch.randperm(len(points), generator=generator), _BATCH):
                optimizer.zero_grad()
                F.cross_entropy(network(points[batch]), targets[batch]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        network.eval()
        with torch.no_grad():
            chosen: IntArray = network(torch.from_numpy((test - mean) / scale)).argmax(dim=1).numpy()
    return chosen
