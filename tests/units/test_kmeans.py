"""K-means finds what is there, the same every time; the sample it is fitted on is uniform and independent of order."""

import sys

import numpy as np
import pytest
import torch

from speechunits.errors import UsageError
from speechunits.units.kmeans import describe, fit_kmeans
from speechunits.units.nearest import nearest
from speechunits.units.sample import FrameSample, sample_frames
from tests.reference import units as reference


def blobs(clusters=5, each=200, dim=6, seed=0):
    rng = np.random.default_rng(seed)
    centers = 20 * rng.standard_normal((clusters, dim))
    points = np.concatenate([center + rng.standard_normal((each, dim)) for center in centers])
    return centers, rng.permutation(points).astype(np.float32)


def test_separated_clusters_are_found():
    centers, points = blobs()
    kmeans = fit_kmeans(points, 5, restarts=8, seed=1)
    distance = np.linalg.norm(centers[:, None] - kmeans.centroids[None], axis=-1)
    assert distance.min(axis=1).max() < 0.5
    assert kmeans.points == 1000
    assert kmeans.dead == 0
    assert kmeans.perplexity == pytest.approx(5)
    assert kmeans.inertia == pytest.approx(6, rel=0.1)


def test_equal_seeds_give_equal_centroids():
    _, points = blobs(dim=12)
    first, again, other = (fit_kmeans(points, 20, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.centroids, again.centroids)
    assert not np.array_equal(first.centroids, other.centroids)


def test_every_point_is_used():
    # Far more than faiss's own limit of 256 a centroid: the second half must move the mean.
    points = np.concatenate([np.zeros((2000, 2)), np.ones((2000, 2))]).astype(np.float32)
    kmeans = fit_kmeans(points, 1)
    assert kmeans.centroids == pytest.approx(np.full((1, 2), 0.5), abs=1e-4)


def test_as_many_clusters_as_points_leave_no_error():
    _, points = blobs(each=4)
    assert fit_kmeans(points, 20).inertia == pytest.approx(0, abs=1e-6)


def test_bad_requests_name_the_numbers():
    points = np.zeros((3, 2), np.float32)
    with pytest.raises(UsageError, match="3 frames for 4 clusters"):
        fit_kmeans(points, 4)
    with pytest.raises(UsageError, match="at least 1, but is 0"):
        fit_kmeans(points, 0)
    with pytest.raises(UsageError, match="finite"):
        fit_kmeans(points * np.nan, 2)


def test_missing_faiss_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match=r"pip install 'speechunits\[units\]'"):
        fit_kmeans(np.zeros((3, 2), np.float32), 2)


def test_nearest_matches_the_definition():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((300, 9)).astype(np.float32)
    centroids = rng.standard_normal((17, 9)).astype(np.float32)
    assert nearest(features, torch.from_numpy(centroids)).tolist() == reference.nearest(features, centroids)


def test_of_equally_near_centroids_the_first_is_taken():
    centroids = torch.tensor([[5.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert nearest(np.zeros((3, 2), np.float32), centroids).tolist() == [1, 1, 1]
    assert nearest(np.zeros((0, 2), np.float32), centroids).shape == (0,)


def frames_of(recording, first, count):
    """Return frames that name themselves: (recording, place)."""
    return np.stack([np.full(count, recording), np.arange(first, first + count)], axis=1).astype(np.float32)


def test_the_sample_does_not_depend_on_order():
    pieces = [(f"r{r}", first, frames_of(r, first, 50)) for r in range(40) for first in (0, 50)]
    sample = sample_frames(pieces, 300, seed=7)
    assert np.array_equal(sample, sample_frames(reversed(pieces), 300, seed=7))
    assert not np.array_equal(sample, sample_frames(pieces, 300, seed=8))
    assert len({tuple(row) for row in sample}) == 300


def test_the_sample_is_uniform():
    pieces = [(f"r{r}", 0, frames_of(r, 0, 100)) for r in range(100)]
    sample = sample_frames(pieces, 4000, seed=0)
    halves = [(sample[:, 0] < 50).mean(), (sample[:, 1] < 50).mean()]
    assert halves == pytest.approx([0.5, 0.5], abs=0.03)


def test_the_sample_holds_little_more_than_it_needs():
    sample = FrameSample(100, seed=0)
    for recording in range(200):
        sample.add(f"r{recording}", 0, frames_of(recording, 0, 50))
        assert sum(len(rows) for rows in sample._rows) <= 2 * 100 + 50
    assert sample.seen == 10_000
    assert sample.frames().shape == (100, 2)


def test_a_small_corpus_is_taken_whole():
    assert len(sample_frames([("a", 0, frames_of(0, 0, 5))], 100, seed=0)) == 5
    assert sample_frames([], 100, seed=0).shape[0] == 0


def test_one_pass_is_worth_many_iterations_and_keeps_the_promise_of_seeds():
    generator = np.random.default_rng(0)
    points = (generator.standard_normal((9_000, 8)) + 4 * generator.standard_normal((30, 8)).repeat(300, 0)).astype(
        np.float32
    )
    passed = fit_kmeans(points, 20, iterations=0, seed=3, seeding="pass")
    assert passed.points == 64 * 20
    everywhere = describe(points, passed.centroids)[0].inertia
    assert passed.inertia == pytest.approx(everywhere, rel=0.05)
    assert everywhere < fit_kmeans(points, 20, iterations=3, seed=3).inertia
    assert np.array_equal(passed.centroids, fit_kmeans(points, 20, iterations=0, seed=3, seeding="pass").centroids)
    refined = fit_kmeans(points, 20, iterations=5, seed=3, seeding="pass")
    assert refined.points == len(points)
    assert refined.inertia < everywhere
    assert fit_kmeans(points[:25], 20, seeding="pass").points == 25


def test_no_iterations_are_enough_after_a_pass_only():
    points = np.random.default_rng(0).standard_normal((100, 2)).astype(np.float32)
    with pytest.raises(UsageError, match="at least 1, but is 0"):
        fit_kmeans(points, 5, iterations=0)


def test_many_points_find_the_centroids_that_few_find():
    generator = np.random.default_rng(1)
    points = generator.standard_normal((3_000, 7)).astype(np.float32)
    centroids = torch.from_numpy(generator.standard_normal((11, 7)).astype(np.float32))
    exact = np.square(points[:, None].astype(np.float64) - centroids.numpy()[None]).sum(axis=2)
    found = nearest(points, centroids)
    assert np.array_equal(found, exact.argmin(axis=1))
    assert np.array_equal(found[1_024:1_500], nearest(points[1_024:1_500], centroids))


def test_any_seed_is_a_seed():
    points = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    found = [fit_kmeans(points, 8, seed=seed).centroids for seed in (2**31 - 1, 2**31, 3_000_000_000)]
    assert all(len(centroids) == 8 for centroids in found)
