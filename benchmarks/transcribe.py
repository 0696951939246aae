"""Recordings into units: this project, Hugging Face with scikit-learn, ONNX Runtime and OpenVINO, side by side.

All encode the same files (1 to 20 s, of a seeded generator) with the same random weights of the size of wav2vec 2.0
base, take the same layer, and assign the same centroids; each reads wav files and writes one line of units a file.
Whole passes are timed, by turns; units are compared with those of the plain loop in fp32. Then `small` with log-mel,
this project's default encoder, and the time from starting the command to its first unit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.timing import machine
from benchmarks.transcribe_peers import batched, make_model, onnx_graph, onnx_runtime, openvino, plain_loop
from speechunits.config import EncoderConfig, build_config, to_tree
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.foreign import read_foreign
from speechunits.frames import SAMPLE_RATE_HZ
from speechunits.units.formats import from_text
from speechunits.units.transcribe import transcribe
from speechunits.units.units import CENTROIDS, Units

Work = Callable[[list[Path], Path], None]
"""Writes one text of units, a frame each, for every file into a folder."""


@dataclass
class Runner:
    """A contender."""

    name: str
    work: Work
    seconds: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    agreement: float = 0.0


def speechlike(samples: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Return noise whose loudness and colour change from syllable to syllable."""
    steps = samples // 1_600 + 2
    loudness = np.repeat(generator.uniform(0.02, 0.3, steps), 1_600)[:samples]
    colour = np.repeat(generator.integers(1, 24, steps), 1_600)[:samples]
    sums = np.cumsum(np.concatenate([np.zeros(24), generator.standard_normal(samples)]))
    smooth = (sums[24:] - sums[24 + np.arange(samples) - colour]) / np.sqrt(colour)
    return (loudness * smooth).clip(-1, 1).astype(np.float32)


def make_files(folder: Path, count: int, longest_s: float) -> tuple[list[Path], float]:
    """Write ``count`` recordings of 1 s to ``longest_s``; return them and their seconds."""
    folder.mkdir()
    generator, paths, seconds = np.random.default_rng(0), [], 0.0
    for index in range(count):
        samples = int(generator.uniform(1, longest_s) * SAMPLE_RATE_HZ)
        paths.append(folder / f"{index:04d}.wav")
        soundfile.write(paths[-1], speechlike(samples, generator), SAMPLE_RATE_HZ, subtype="PCM_16")
        seconds += samples / SAMPLE_RATE_HZ
    return paths, seconds


def our_units(encoder: Encoder, layer: int, clusters: int, precision: str) -> Units:
    """Return an inventory on an encoder; its centroids are frames of ``speechlike`` noise, by `centroids_of`."""
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    settings = {"source": "kmeans", "layer": layer, "clusters": clusters, "precision": precision, "smooth": 1}
    header = {"kind": "units", "encoder": to_tree(encoder.config), "units": settings}
    empty = Units({**tensors, CENTROIDS: torch.zeros(clusters, encoder.config.dim)}, header)
    return Units({**tensors, CENTROIDS: torch.from_numpy(centroids_of(empty, clusters))}, header)


def centroids_of(units: Units, clusters: int) -> NDArray[np.float32]:
    """Return the centroids of a small k-means, as units of real use have them."""
    from sklearn.cluster import MiniBatchKMeans

    waveform = speechlike(20 * SAMPLE_RATE_HZ, np.random.default_rng(1))
    features = units.extractor.features(waveform)
    found = MiniBatchKMeans(min(clusters, len(features)), random_state=0).fit(features).cluster_centers_
    return np.ascontiguousarray(found, dtype=np.float32)


def ours(units: Units, threads: int) -> Work:
    """Return this project's command."""

    def work(paths: list[Path], out: Path) -> None:
        report = transcribe(paths, units, frames=True, out=out, jobs=threads)
        assert len(report.done) == len(paths), report

    return work


def race(runners: list[Runner], paths: list[Path], folder: Path, rounds: int) -> None:
    """Let all take turns, and compare what they write with what the first writes."""
    for turn in range(rounds):
        for runner in runners[:: -1 if turn % 2 else 1]:
            out = folder / f"{runner.name}-{turn}".replace(" ", "-").replace(",", "")
            out.mkdir()
            started, processor = time.perf_counter(), time.process_time()
            runner.work(paths, out)
            runner.seconds.append(time.perf_counter() - started)
            runner.processor_s.append(time.process_time() - processor)
            if turn == 0:
                reference = folder / f"{runners[0].name}-0".replace(" ", "-").replace(",", "")
                runner.agreement = agreement(reference, out)


def agreement(reference: Path, other: Path) -> float:
    """Return the share of frames with the unit that the reference has."""
    same = total = 0
    for path in sorted(reference.glob("*.txt")):
        wanted, found = (from_text(place.read_text().strip()) for place in (path, other / path.name))
        assert len(wanted) == len(found), (path.name, len(wanted), len(found))
        same, total = same + int((wanted == found).sum()), total + len(wanted)
    return same / total


def contenders(folder: Path, arguments: argparse.Namespace) -> list[Runner]:
    """Return all of them on one model; what is not installed is named and left out."""
    make_model(folder / "model", arguments.smoke)
    encoder = read_foreign(folder / "model").encoder
    layer = min(arguments.layer, encoder.num_layers)
    units = our_units(encoder, layer, arguments.clusters, "fp32")
    halved = Units(units.tensors, {**units.header, "units": {**units.header["units"], "precision": "bf16"}})
    centroids = units.tensors[CENTROIDS].numpy()
    graph = onnx_graph(folder / "model", layer, folder / "encoder.onnx")
    made: list[tuple[str, Callable[[], Work]]] = [
        ("HF + scikit-learn, fp32", lambda: plain_loop(folder / "model", layer, centroids, arguments.threads)),
        ("HF batched, bf16", lambda: batched(folder / "model", layer, centroids, arguments.threads)),
        ("ONNX Runtime, fp32", lambda: onnx_runtime(graph, centroids, arguments.threads)),
        ("OpenVINO", lambda: openvino(graph, centroids, arguments.threads)),
        ("ours, fp32", lambda: ours(units, arguments.threads)),
        ("ours, bf16", lambda: ours(halved, arguments.threads)),
    ]
    runners = []
    for name, make in made:
        try:
            runners.append(Runner(name, make()))
        except ImportError as error:
            print(f"{name}: absent ({error})", file=sys.stderr)
    return runners


def small(folder: Path, paths: list[Path], seconds: float, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the speed of `small` with log-mel, and the seconds from starting the command to its first unit."""
    torch.manual_seed(0)
    size = "nano" if arguments.smoke else "small"
    encoder = Encoder(build_config(EncoderConfig, {"size": size})).eval()
    units = our_units(encoder, encoder.num_layers, arguments.clusters, "bf16")
    units.save(folder / "small.safetensors")
    runner = Runner("small", ours(units, arguments.threads))
    (folder / "small").mkdir()
    race([runner], paths, folder / "small", arguments.rounds)
    command = [str(Path(sys.executable).with_name("speechunits")), "transcribe", str(paths[0]), "--model"]
    started = time.perf_counter()
    with subprocess.Popen([*command, str(folder / "small.safetensors")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        first_s = time.perf_counter() - started
        process.stdout.read()
    assert first, "nothing was written"
    wall_s, processor_s = statistics.median(runner.seconds), statistics.median(runner.processor_s)
    return {"x_real_time": seconds / wall_s, "x_real_time_of_a_core": seconds / processor_s, "first_unit_s": first_s}


def show(rows: list[dict[str, Any]], title: str, console: Console) -> None:
    """Print the table of ratios."""
    table = Table("", "s", "cpu s", "x real time", "time / ours", "cpu time / ours", "units as in fp32", title=title)
    for row in rows:
        table.add_row(row["name"], f"{row['seconds']:.1f}", f"{row['processor_s']:.1f}", f"{row['x_real_time']:.1f}",
                      f"{row['ratio']:.2f}", f"{row['processor_ratio']:.2f}", f"{row['agreement']:.4f}")  # fmt: skip
    console.print(table)


def main() -> None:
    """Race, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--longest-s", type=float, default=20.0)
    parser.add_argument("--layer", type=int, default=9)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="passes over all files of each contender")
    parser.add_argument("--smoke", action="store_true", help="a tiny encoder: that all run and agree, no figures")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/transcribe.json"))
    arguments = parser.parse_args()
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths, seconds = make_files(folder / "audio", arguments.files, arguments.longest_s)
        runners = contenders(folder, arguments)
        race(runners, paths, folder, arguments.rounds)
        best = runners[-1]
        rows = []
        for runner in runners:
            wall_s, processor_s = statistics.median(runner.seconds), statistics.median(runner.processor_s)
            rows.append({
                "name": runner.name, "seconds": wall_s, "processor_s": processor_s, "x_real_time": seconds / wall_s,
                "ratio": wall_s / statistics.median(best.seconds),
                "processor_ratio": processor_s / statistics.median(best.processor_s), "agreement": runner.agreement,
            })  # fmt: skip
        title = f"{len(paths)} files, {seconds:.0f} s, layer {arguments.layer}, {arguments.threads} threads"
        show(rows, title, console)
        ownsize = small(folder, paths, seconds, arguments)
    console.print("small: " + ", ".join(f"{key} {value:.2f}" for key, value in ownsize.items()))
    document = {"benchmark": "transcribe", "machine": machine(torch.device("cpu")), "title": title, "rows": rows,
                "small": ownsize}  # fmt: skip
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
