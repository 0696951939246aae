import numpy as np
import pytest

from speechunits.evaluation.probe.classifier import fit_softmax
from tests.reference.probe import softmax_regression


def gaussians(rng, count, classes, distance, dim=4):
    labels = rng.integers(classes, size=count)
    centers = distance * np.random.default_rng(9).standard_normal((classes, dim))
    return (centers[labels] + rng.standard_normal((count, dim))).astype(np.float32), labels


def test_the_optimum_is_the_oracles():
    features, labels = gaussians(np.random.default_rng(0), 60, 3, 0.7)
    features = 5 * features + 3  # standardised within
    probe = fit_softmax(features.astype(np.float64), labels, 3, l2=0.01, iterations=500)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    weights, bias = softmax_regression(standard, labels, 3, 0.01, steps=4000)
    np.testing.assert_allclose(probe.weights, weights, atol=1e-3)
    np.testing.assert_allclose(probe.bias - probe.bias.mean(), bias - bias.mean(), atol=1e-3)


def test_separable_classes_are_told_apart_and_random_labels_are_not():
    rng = np.random.default_rng(1)
    features, labels = gaussians(rng, 1000, 4, 8)
    probe = fit_softmax(features[:500], labels[:500], 4)
    assert (probe.predict(features[500:]) == labels[500:]).mean() > 0.99
    drawn = rng.integers(4, size=1000)
    assert (fit_softmax(features[:500], drawn[:500], 4).predict(features[500:]) == drawn[500:]).mean() < 0.33


def test_no_scale_no_shift_and_no_constant_changes_a_prediction():
    features, labels = gaussians(np.random.default_rng(2), 200, 3, 1)
    plain = fit_softmax(features, labels, 3).predict(features)
    moved = np.concatenate([features * 1000 - 7, np.ones((200, 1), np.float32)], axis=1)
    assert (fit_softmax(moved, labels, 3).predict(moved) == plain).mean() > 0.99


def test_a_probe_needs_examples():
    with pytest.raises(ValueError, match="as many labels as features"):
        fit_softmax(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), 2)
