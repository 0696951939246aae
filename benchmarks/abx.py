"""ABX beside zerospeech-libriabx2: the same MFCC, the same items, every triple; scores, times and memory.

    python -m benchmarks.abx --manifest M --phones P [--split dev] [-o runs/benchmarks/abx.json]

Needs ``pip install zerospeech-libriabx2``. Times are of the processor, one thread, so that other work on the machine
counts little. That tool leaves out the last frame of every item (the off-by-one of the Libri-light tools) and sets
frame i at 20 i + 10 ms, this project at 20 i + 12.5 ms: items are shifted for it, and compared with and without the
last frame.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechunits.audio.corpus import corpus_of
from speechunits.evaluation.abx.dtw import FrameTokens
from speechunits.evaluation.abx.items import Item, item_frames, items_from_phones, write_items
from speechunits.evaluation.abx.score import Speaker, abx_score
from speechunits.evaluation.sources import features_of, open_sources
from speechunits.frames import FRAME_RATE_HZ, frame_center_s
from speechunits.report.tables import markdown
from speechunits.run import commit, write_json

SPEAKERS: tuple[Speaker, ...] = ("within", "across")
_ALL = 1_000_000
"""More items or speakers than any corpus has: nothing is subsampled."""


def ours(features: Mapping[str, Any], items: Sequence[Item], *, drop_last: bool) -> tuple[dict[str, float], int]:
    """Return the errors and the number of triples."""
    starts = dict(zip(features, np.cumsum([0, *map(len, features.values())]), strict=False))
    spans = [(item, *item_frames(item, len(features[item.recording]), drop_last=drop_last)) for item in items]
    kept = [(item, first, after) for item, first, after in spans if after > first]
    first = np.array([starts[item.recording] + begin for item, begin, _ in kept])
    lengths = np.array([after - begin for _, begin, after in kept])
    tokens = FrameTokens(np.concatenate(list(features.values())), first, lengths, "angular")
    names = [item for item, _, _ in kept]
    scores = {speaker: abx_score(tokens, names, speaker=speaker, context="within") for speaker in SPEAKERS}
    return {speaker: score.error for speaker, score in scores.items()}, sum(score.triples for score in scores.values())


def peer(features: Mapping[str, Any], items: Sequence[Item], folder: Path, *, all_frames: bool) -> dict[str, float]:
    """Return the errors of zerospeech-libriabx2; with ``all_frames`` its items end a frame later."""
    from zrc_abx2 import EvalABX, EvalArgs

    shift_s = 0.5 / FRAME_RATE_HZ - frame_center_s(0)
    later_s = 1 / FRAME_RATE_HZ if all_frames else 0.0
    moved = [
        item._replace(onset_s=max(0.0, item.onset_s + shift_s), offset_s=item.offset_s + shift_s + later_s)
        for item in items
    ]
    write_items(folder / "x.item", moved)
    for name, rows in features.items():
        np.save(folder / f"{name}.npy", rows)
    arguments = EvalArgs(
        path_data=str(folder), path_item_file=str(folder / "x.item"), feature_size=1 / FRAME_RATE_HZ,
        context_mode="within", max_size_group=_ALL, max_x_across=_ALL,
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = EvalABX().eval_abx(arguments)
    return {row["abx-s-condition"]: row["score"] for row in rows}


def main() -> None:
    """Race both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--phones", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/benchmarks/abx.json"))
    options = parser.parse_args()
    corpus = corpus_of(options.manifest, options.phones)
    recordings = corpus.split(options.split)
    items = items_from_phones(recordings, corpus.phones, "triphone")
    features = features_of(open_sources({"mfcc": "mfcc"})[0], recordings)
    ours(features, items, drop_last=False)  # compiles the loops, once an installation
    results: dict[str, dict[str, Any]] = {}
    for frames in ("all frames", "without the last"):
        started = time.process_time()
        errors, triples = ours(features, items, drop_last=frames != "all frames")
        middle = time.process_time()
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        with tempfile.TemporaryDirectory() as folder:
            begun = time.process_time()
            theirs = peer(features, items, Path(folder), all_frames=frames == "all frames")
            ended = time.process_time()
        results[frames] = {
            "error": errors, "error_libriabx2": theirs, "triples": triples, "cpu_s": middle - started,
            "cpu_s_libriabx2": ended - begun, "ratio": (ended - begun) / (middle - started), "peak_mib": peak_mib,
        }  # fmt: skip
    write_json(options.out, {"commit": commit(), "items": len(items), "context": "within", "results": results})
    rows = [
        (f"{frames}, {speaker}", f"{100 * row['error'][speaker]:.4f}", f"{100 * row['error_libriabx2'][speaker]:.4f}",
         f"{row['cpu_s']:.2f}", f"{row['cpu_s_libriabx2']:.1f}", f"{row['ratio']:.1f}")
        for frames, row in results.items() for speaker in SPEAKERS
    ]  # fmt: skip
    header = ("triphone ABX", "error %", "libriabx2 %", "seconds, both speakers", "libriabx2", "times faster")
    print(markdown(header, rows))
    print(f"peak memory of ours, torch included: {results['all frames']['peak_mib']:.0f} MiB")


if __name__ == "__main__":
    main()
