"""K-means: time to the inertia where scikit-learn's MiniBatchKMeans ends; `python -m benchmarks.kmeans --help`.

Points are log-mel frames out of a manifest, by default the demo's corpus. Every contender's centroids are judged by the
same pass over all points. Times are of the processor, since each runs on one thread, and machines are shared; ours are
those of one whole fit, of as few iterations as reach the inertia.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.timing import machine
from speechunits.audio.load import load_waveform
from speechunits.audio.manifest import read_manifest
from speechunits.features.mel import LogMel
from speechunits.units.kmeans import KMeans, Seeding, describe, fit_kmeans
from speechunits.units.streaming import refine_kmeans

FloatArray = NDArray[np.float32]
ITERATIONS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
SEEDINGS: tuple[Seeding, ...] = ("sample", "pass")
_LARGE_BATCH, _LARGE_DIM = 16_384, 768


def log_mel_points(manifest: Path, count: int) -> FloatArray:
    """Return ``(count, 80)`` log-mel frames, 50 a second, of the first recordings of a manifest."""
    mel, found, held = LogMel(), [], 0
    for recording in read_manifest(manifest):
        waveform = torch.from_numpy(load_waveform(recording.audio, start_s=recording.start_s, end_s=recording.end_s))
        found.append(mel(waveform[None], torch.tensor([len(waveform)]))[0][0, ::2].numpy())
        held += len(found[-1])
        if held >= count:
            break
    return np.concatenate(found)[:count]


def timed(function: Any) -> tuple[Any, float]:
    """Return what a function returns, and its seconds of processor."""
    started = time.process_time()
    return function(), time.process_time() - started


def race(points: FloatArray, clusters: int, seed: int) -> dict[str, Any]:
    """Return the seconds of each contender to the inertia of scikit-learn's end."""
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        peer, peer_s = timed(lambda: MiniBatchKMeans(clusters, random_state=seed).fit(points))
        target = describe(points, peer.cluster_centers_.astype(np.float32))[0].inertia
        rows: list[dict[str, Any]] = [
            {"name": "scikit-learn MiniBatchKMeans", "iterations": int(peer.n_iter_), "seconds": peer_s,
             "inertia": target, "reached": True},
        ]  # fmt: skip
        for seeding in SEEDINGS:
            for iterations in (0, *ITERATIONS) if seeding == "pass" else ITERATIONS:
                fitted, seconds = timed(
                    lambda i=iterations, s=seeding: fit_kmeans(points, clusters, iterations=i, seed=seed, seeding=s)
                )
                inertia = describe(points, fitted.centroids)[0].inertia
                if inertia <= target:
                    break
            rows.append({"name": f"ours, {seeding}", "iterations": iterations, "seconds": seconds,
                         "inertia": inertia, "reached": inertia <= target})  # fmt: skip
    for row in rows:
        row["share_of_peer"] = row["seconds"] / peer_s
    return {"points": len(points), "dim": points.shape[1], "clusters": clusters, "seed": seed, "rows": rows}


def large(count: int, clusters: int) -> dict[str, Any]:
    """Stream ``count`` frames of 768 dimensions; return points, seconds and the peak of resident memory."""

    def stream() -> Any:
        for batch in range(-(-count // _LARGE_BATCH)):
            size = min(_LARGE_BATCH, count - batch * _LARGE_BATCH)
            yield np.random.default_rng(batch).standard_normal((size, _LARGE_DIM), dtype=np.float32)

    first = next(stream())
    start = KMeans(centroids=first[:clusters].copy(), counts=np.ones(clusters, np.int64), inertia=0.0)
    started = time.process_time()
    fitted = refine_kmeans(start, stream)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.process_time() - started
    return {"points": fitted.points, "dim": _LARGE_DIM, "clusters": clusters, "seconds": seconds, "peak_mib": peak_mib}


def main() -> None:
    """Race, or measure memory; print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--manifest", type=Path, default=Path("runs/demo/corpus/manifest.tsv"), help="`make data` makes it"
    )
    parser.add_argument("--points", type=int, default=500_000)
    parser.add_argument("--clusters", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--large", type=int, metavar="FRAMES", nargs="?", const=10_000_000,
                        help="only the memory of a stream of 768 dimensions (default: 10 million frames)")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/kmeans.json"))
    arguments = parser.parse_args()
    console, document = Console(width=120), {"benchmark": "k-means", "machine": machine(torch.device("cpu"))}
    torch.set_num_threads(1)
    if arguments.large:
        document["large"] = result = large(arguments.large, arguments.clusters)
        told = f"peak {result['peak_mib']:,.0f} MiB, {result['seconds']:,.0f} s of processor"
        console.print(f"{result['points']:,} x {_LARGE_DIM}, K = {arguments.clusters}: {told}")
    else:
        points = log_mel_points(arguments.manifest, arguments.points)
        document["results"] = [race(points, arguments.clusters, seed) for seed in range(arguments.seeds)]
        for result in document["results"]:
            title = f"{result['points']:,} log-mel frames, K = {result['clusters']}, seed {result['seed']}"
            table = Table("", "iterations", "inertia", "cpu s", "time / scikit-learn's", "reached",
                          title=title)  # fmt: skip
            for row in result["rows"]:
                table.add_row(row["name"], str(row["iterations"]), f"{row['inertia']:.4f}", f"{row['seconds']:.2f}",
                              f"{row['share_of_peer']:.3f}", "yes" if row["reached"] else "no")  # fmt: skip
            console.print(table)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
