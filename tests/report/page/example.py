"""A made-up run whose every name tries to break out of the page."""

import contextlib
import io
import itertools
import json

import numpy as np
import soundfile
import yaml

from speechunits.evaluation.score import scores_to_json
from speechunits.report.page.write import write_page
from tests.report.example import QUALITY, sweep

EVIL = """<script>alert("1")</script>'"&<img src=x onerror=alert(2)>"""
SPLIT = "<script>dev"
PHONES = ("SIL", "<script>a</script>", r"$\frac$", '"')
ROWS = 5


def make_corpus(folder):
    """Write tones as recordings: manifest.tsv, phones.tsv, audio with a tag in their names; return the dev ids."""
    generator = np.random.default_rng(0)
    rows, phones, dev = [], [], []
    (folder / "audio").mkdir(parents=True)
    for index in range(12):
        held = index >= 6
        name = f"{EVIL} {index}"
        seconds = 1.2 + 0.1 * (index % 5)
        time = np.arange(int(16000 * seconds)) / 16000
        pitch = np.repeat(generator.integers(200, 3000, 6), -(-len(time) // 6))[: len(time)]
        tone = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / 16000) + 0.01 * generator.standard_normal(len(time))
        soundfile.write(folder / "audio" / f"<script>{index}.wav", tone, 16000)
        rows.append((name, f"audio/<script>{index}.wav", f"{seconds:.4f}", f"{EVIL}s{index % 2}",
                     SPLIT if held else "train", f"{EVIL} text {'odd' if index % 2 else 'even'}"))  # fmt: skip
        edges = np.linspace(0, seconds, 7)
        phones += [(name, f"{start:.3f}", f"{end:.3f}", PHONES[(index + place) % 4])
                   for place, (start, end) in enumerate(itertools.pairwise(edges))]  # fmt: skip
        dev += [name] if held else []
    write_rows(folder / "manifest.tsv", ("id", "audio", "duration", "speaker", "split", "text"), rows)
    write_rows(folder / "phones.tsv", ("id", "start", "end", "phone"), phones)
    return dev


def write_rows(path, header, rows):
    path.write_text("".join("\t".join(row) + "\n" for row in (header, *rows)), encoding="utf-8")


def make_run(folder):
    """Write a run that holds all that a page can show."""
    from speechunits import fitting
    from speechunits.audio.corpus import corpus_of
    from speechunits.config import UnitsConfig

    run = folder / "<script>run"
    dev = make_corpus(run / "corpus")
    config = {"name": EVIL, "corpus": {"manifest": "gone.tsv", "dev": SPLIT},
              "reduction": {"headline_minutes": 1.0, "bootstrap": 30, "unheard_of": {}},
              "pretrain": {"learner": EVIL, "encoder": {"size": EVIL}, "budget": {"hours": 1}}}  # fmt: skip
    (run / "recipe.yaml").write_text(yaml.safe_dump({"version": EVIL, "commit": EVIL, "config": config}))
    with contextlib.redirect_stderr(io.StringIO()):
        fitting.fit_units(
            None, corpus_of(run / "corpus" / "manifest.tsv"),
            UnitsConfig(source="mfcc", clusters=6, sample_frames=400, iterations=3), run / "units.safetensors",
        )  # fmt: skip
    key = "0123456789abcdef"
    save(run / "results.json", {"scores": scores_to_json(sweep(reported=SPLIT)), "keys": {"pretrained-1-0": key}})
    save(run / "units.json", {"measures": {EVIL: QUALITY["units"], "MFCC k-means": QUALITY["MFCC k-means"]}})
    save(run / "evaluation" / "abx.json", {EVIL: {"abx": {EVIL: 0.125}}, "MFCC": {"abx": {"within": 0.25}}})
    save(run / "cells" / f"pretrained-1-0-{key[:8]}" / f"{SPLIT}.json",
         {name: f"{EVIL} txt {index}" for index, name in enumerate(dev)})  # fmt: skip
    lines = [{"kind": kind, "audio_hours": hours, "loss_bits": 6 - hours, "chance_bits": 6.5, "bits": 0.5 + hours}
             for hours in (0.5, 1.0) for kind in ("train", "held_out")]  # fmt: skip
    (run / "pretrain").mkdir()
    (run / "pretrain" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "tr')
    return run


def save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def make_page(folder):
    """Return the page of :func:`make_run`, and its text."""
    page = write_page(make_run(folder), folder / "report.html", rows=ROWS)
    return page, page.path.read_text(encoding="utf-8")
