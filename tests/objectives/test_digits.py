"""The objectives are blind to the modality: digits of 8 x 8 pixels, and a linear probe with 10 labels a class."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from speechunits.objectives.simclr import nt_xent_loss
from speechunits.objectives.swav import sinkhorn, swapped_prediction_loss

LABELS = 10
STEPS = 600
FROZEN = 60
"""Steps in which SwAV's prototypes stay as they were drawn."""


@pytest.fixture(scope="module")
def digits():
    """Training images, test images and both labels; tests were never seen."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], data.target[order]
    return images[:1200], images[1200:], labels[:1200], labels[1200:]


def probe(train, test, train_labels, test_labels):
    """Mean accuracy over five draws of labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    accuracies = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(train))
        chosen = np.concatenate([order[train_labels[order] == label][:LABELS] for label in range(10)])
        scaler = StandardScaler().fit(train)
        model = LogisticRegression(max_iter=2000).fit(scaler.transform(train[chosen]), train_labels[chosen])
        accuracies.append(model.score(scaler.transform(test), test_labels))
    return float(np.mean(accuracies))


def view(images, generator):
    """Shifted, turned, scaled and sheared a little, then noise."""
    count = len(images)
    draws = torch.rand(6, count, generator=generator) * 2 - 1
    angle, scale, shear = 0.25 * draws[0], 1 + 0.15 * draws[1], 0.2 * draws[2]
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack((cosine, shear - sine, 0.2 * draws[3], sine, cosine, 0.2 * draws[4]), dim=1).view(count, 2, 3)
    moved = F.grid_sample(images, F.affine_grid(rows, list(images.shape), align_corners=False), align_corners=False)
    return moved * (1 + 0.2 * draws[5])[:, None, None, None] + 0.1 * torch.randn(moved.shape, generator=generator)


def network():
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.GELU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.GELU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(256, 128), nn.LayerNorm(128),
    )  # fmt: skip
    return body, nn.Sequential(nn.GELU(), nn.Linear(128, 64)), nn.Linear(64, 128, bias=False)


def simclr(first, second, prototypes):
    return nt_xent_loss(first, second, temperature=0.2)


def swav(first, second, prototypes):
    directions = F.normalize(prototypes.weight, dim=-1)
    scores = [F.normalize(side, dim=-1) @ directions.T for side in (first, second)]
    codes = [sinkhorn(side, epsilon=0.05, iterations=3) for side in scores]
    return swapped_prediction_loss(*scores, *codes, temperature=0.1, speech=torch.ones(len(first)).bool())


@pytest.mark.slow
@pytest.mark.parametrize("objective", [simclr, swav])
def test_a_linear_probe_beats_raw_pixels(digits, objective):
    train, test, *labels = digits
    body, head, prototypes = network()
    optimizer = torch.optim.AdamW([*body.parameters(), *head.parameters(), *prototypes.parameters()], lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        prototypes.requires_grad_(step >= FROZEN)
        images = train[torch.randint(len(train), (256,), generator=generator)]
        loss = objective(*(head(body(view(images, generator))) for _ in range(2)), prototypes)
        optimizer.zero_grad()
        (loss.sum / loss.count).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        coded = [body(images).numpy() for images in (train, test)]
    pixels = probe(train.flatten(1).numpy(), test.flatten(1).numpy(), *labels)
    assert probe(*coded, *labels) > pixels + 0.01, pixels
