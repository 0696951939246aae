"""Seeds are spread out, dead units are revived, and a stream of any length moves centroids in bounded memory."""

import subprocess
import sys

import numpy as np
import pytest

from speechunits.config import UnitsConfig, to_tree
from speechunits.errors import UsageError
from speechunits.units.fit import fit_units
from speechunits.units.kmeans import KMeans, describe, fit_kmeans
from speechunits.units.seeding import plus_plus
from speechunits.units.streaming import refine_kmeans
from speechunits.units.units import RESIDUAL, Units
from tests.reference import units as reference


def blobs(clusters, each=100, dim=6, seed=0, spread=40):
    rng = np.random.default_rng(seed)
    centers = spread * rng.standard_normal((clusters, dim))
    points = np.concatenate([center + rng.standard_normal((each, dim)) for center in centers])
    return rng.permutation(points).astype(np.float32)


def batches(points, size=300):
    return lambda: (points[start : start + size] for start in range(0, len(points), size))


def test_seeds_are_points_and_every_blob_gets_one():
    points = blobs(25)
    seeds = plus_plus(points, 25, np.random.default_rng(0))
    assert {tuple(row) for row in seeds} <= {tuple(row) for row in points}
    # Blobs of variance 6, all 25 found: a blob missed would cost a hundred times as much.
    assert describe(points, seeds)[0].inertia < 20
    assert np.array_equal(seeds, plus_plus(points, 25, np.random.default_rng(0)))


def test_the_potential_is_that_of_the_definition():
    points = blobs(4, each=20)
    kmeans, distances = describe(points, points[:7].copy())
    ids = reference.nearest(points, points[:7])
    slow = [((points[i].astype(np.float64) - points[ids[i]]) ** 2).sum() for i in range(len(points))]
    assert distances == pytest.approx(slow, rel=1e-5, abs=1e-4)
    assert kmeans.counts.tolist() == np.bincount(ids, minlength=7).tolist()
    assert kmeans.inertia == pytest.approx(np.mean(slow), rel=1e-5)


def test_few_distinct_points_give_as_many_seeds():
    points = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    seeds = plus_plus(points, 5, np.random.default_rng(1))
    assert seeds.shape == (5, 3)
    assert len({tuple(row) for row in seeds}) == 3
    kmeans = fit_kmeans(points, 5, seeding="k-means++")
    assert kmeans.inertia == pytest.approx(0, abs=1e-6)


def test_spread_seeds_find_what_drawn_ones_miss_and_restarts_do_not_hurt():
    points = blobs(30, each=60)
    drawn = [fit_kmeans(points, 30, seed=seed).inertia for seed in range(4)]
    spread = [fit_kmeans(points, 30, seed=seed, seeding="k-means++").inertia for seed in range(4)]
    assert np.mean(spread) < np.mean(drawn)
    best = fit_kmeans(points, 30, seed=0, seeding="k-means++", restarts=3)
    assert best.inertia <= spread[0]
    again = fit_kmeans(points, 30, seed=0, seeding="k-means++", restarts=3)
    assert np.array_equal(best.centroids, again.centroids)


def test_a_dead_unit_of_the_sample_is_revived(monkeypatch):
    from speechunits.units import kmeans

    points = blobs(6)
    lloyd = kmeans._lloyd
    calls = []

    def with_a_dead_unit(rows, clusters, iterations, seed, *, start=None, restarts=1):
        calls.append(start)
        found = lloyd(rows, clusters, iterations, seed, start=start, restarts=restarts)
        if len(calls) == 1:
            found[2] = 1e4
        return found

    monkeypatch.setattr(kmeans, "_lloyd", with_a_dead_unit)
    fitted = fit_kmeans(points, 6, seeding="k-means++")
    assert len(calls) == 2
    assert fitted.dead == 0


def test_a_stream_reaches_what_all_points_at_once_reach():
    points = blobs(12, each=400, spread=3)
    start = fit_kmeans(points[:600], 12, seeding="k-means++", iterations=2)
    whole = fit_kmeans(points, 12, seeding="k-means++")
    before = describe(points, start.centroids)[0].inertia
    refined = refine_kmeans(start, batches(points), passes=3)
    assert refined.points == len(points)
    assert refined.inertia < before
    assert refined.inertia < 1.02 * whole.inertia
    assert refined.inertia == pytest.approx(describe(points, refined.centroids)[0].inertia, rel=1e-5)
    assert refined.counts.tolist() == describe(points, refined.centroids)[0].counts.tolist()


def test_one_cluster_ends_at_the_mean():
    points = blobs(3)
    start = KMeans(centroids=points[:1].copy(), counts=np.array([1]), inertia=0.0)
    refined = refine_kmeans(start, batches(points[1:]))
    assert refined.centroids[0] == pytest.approx(points.mean(axis=0), abs=1e-3)


def test_a_dead_unit_of_a_stream_moves_to_the_farthest_point():
    points = np.concatenate([np.zeros((50, 2)), np.full((5, 2), 9.0)]).astype(np.float32)
    start = KMeans(
        centroids=np.array([[0, 0], [1e3, 1e3]], np.float32), counts=np.array([50, 0]), inertia=0.0
    )  # fmt: skip
    refined = refine_kmeans(start, batches(points), passes=2)
    assert refined.dead == 0
    assert sorted(refined.counts.tolist()) == [5, 50]


def test_streams_without_points_or_with_nan_are_refused():
    start = KMeans(centroids=np.zeros((1, 2), np.float32), counts=np.array([1]), inertia=0.0)
    with pytest.raises(UsageError, match="holds none"):
        refine_kmeans(start, list)
    with pytest.raises(UsageError, match="finite"):
        refine_kmeans(start, lambda: [np.full((3, 2), np.nan, np.float32)])


def test_units_of_a_second_codebook_and_of_a_streamed_corpus(encoder_bundle, corpus, tmp_path):
    common = {"clusters": 6, "layer": 1, "sample_frames": 100, "iterations": 5, "seeding": "k-means++"}
    one = fit_units(encoder_bundle, corpus[:4], UnitsConfig(**common), path=tmp_path / "one.safetensors")
    config = UnitsConfig(**common, residual_clusters=5, stream_passes=1)
    fit_units(encoder_bundle, corpus[:4], config, path=tmp_path / "two.safetensors")
    two = Units.load(tmp_path / "two.safetensors")
    assert (one.clusters, two.clusters) == (6, 30)
    assert two.header["units"]["residual_clusters"] == 5
    assert two.header["quality"]["points"] > one.header["quality"]["points"]
    features = two.extractor.features(np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32))
    ids = two.assign(features)
    first = np.array(reference.nearest(features, two.tensors["units.centroids"].numpy()))
    rest = features - two.tensors["units.centroids"].numpy()[first]
    assert (ids // 5).tolist() == first.tolist()
    assert (ids % 5).tolist() == reference.nearest(rest, two.tensors[RESIDUAL].numpy())


def test_one_centroid_with_a_second_codebook_has_no_second_nearest(encoder_bundle, corpus, tmp_path):
    config = UnitsConfig(clusters=1, layer=1, sample_frames=100, iterations=2, residual_clusters=3)
    units = fit_units(encoder_bundle, corpus[:4], config, path=tmp_path / "u.safetensors")
    features = units.extractor.features(np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32))
    assert units.margins(features).tolist() == [1.0] * len(features)


def test_settings_at_their_defaults_leave_keys_as_they_were():
    assert not {"seeding", "stream_passes", "residual_clusters"} & set(to_tree(UnitsConfig()))
    assert to_tree(UnitsConfig(stream_passes=2))["stream_passes"] == 2
    with pytest.raises(ValueError, match="stream_passes must be at least 0, but is -1"):
        UnitsConfig(stream_passes=-1)


STREAM = """
import sys
from pathlib import Path
import numpy as np
from speechunits.units.kmeans import fit_kmeans
from speechunits.units.streaming import refine_kmeans

def stream():
    for batch in range(int(sys.argv[1])):
        yield np.random.default_rng(batch).standard_normal((16_384, 768), dtype=np.float32)

start = fit_kmeans(np.concatenate([next(stream())] * 2), 100, iterations=1)
fitted = refine_kmeans(start, stream)
# Not of getrusage, which begins with the peak of the process that started this one.
status = Path("/proc/self/status").read_text().splitlines()
(peak_kib,) = [line.split()[1] for line in status if line.startswith("VmHWM")]
print(fitted.points, peak_kib)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_stream():
    used = []
    for count in (4, 40):
        done = subprocess.run(
            [sys.executable, "-c", STREAM, str(count)], capture_output=True, text=True, check=True, timeout=1800
        )
        points, kilobytes = map(int, done.stdout.split())
        assert points == 16_384 * count
        used.append(kilobytes)
    assert max(used) < 2 * 1024**2
    # Ten times the points: no more than the noise of an allocator.
    assert used[1] < used[0] + 128 * 1024
