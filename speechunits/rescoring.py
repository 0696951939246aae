"""The rows of a sweep with a language model: kept posteriors searched again, weight and bonus chosen on ``tune``."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from speechunits.asr.arpa import NgramModel, read_arpa, write_arpa
from speechunits.asr.beam import Search
from speechunits.asr.decoder import Decoder
from speechunits.asr.language import LanguageScorer
from speechunits.asr.posteriors import SavedPosteriors, read_posteriors
from speechunits.asr.tokens import normalize
from speechunits.audio.sentences import text_only_sentences
from speechunits.audio.split import label_list
from speechunits.cell import Cell, summarised
from speechunits.config import LanguageConfig, SynthConfig, to_tree
from speechunits.errors import UsageError
from speechunits.evaluation.language import estimate_ngrams, read_texts
from speechunits.evaluation.score import Score, scores_from_json, scores_to_json
from speechunits.processes import in_processes
from speechunits.run import content_key, file_hash, read_json, write_json
from speechunits.setting import Setting
from speechunits.sweep import cell_key, score_of

_MODEL = "text.arpa"


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """What became of one cell and one language model."""

    cell: Cell
    row: str
    scores: tuple[Score, ...]
    weight: float
    bonus: float
    """The pair with the lowest CER on ``tune``, the first of equal ones."""


def add_language_rows(
    results: dict[str, Any], todo: Sequence[Cell], setting: Setting, synth: SynthConfig | None = None
) -> None:
    """Add the scores of every row, and the trials behind them, to what becomes ``results.json``.

    Raises
    ------
    UsageError
        As :func:`rescore` does.
    """
    language = setting.config.language
    done: dict[tuple[Cell, str], Rescored] = {}
    for rescored in rescore(todo, setting, synth):
        done[rescored.cell, rescored.row] = rescored
        print(
            f"lm={rescored.row} {summarised(rescored.cell, rescored.scores, setting.config)}",
            file=sys.stderr,
            flush=True,
        )
    rows = [done[cell, row] for row in language.rows for cell in todo if (cell, row) in done]
    results["scores"] += scores_to_json([score for rescored in rows for score in rescored.scores])
    results["language"] = {
        "config": to_tree(language), "trials": len(language.weights) * len(language.bonuses),
        "chosen": {row: {each.cell.name: [each.weight, each.bonus] for each in rows if each.row == row}
                   for row in language.rows},
    }  # fmt: skip


def rescore(todo: Sequence[Cell], setting: Setting, synth: SynthConfig | None = None) -> Iterator[Rescored]:
    """Yield every row of every cell, if all kept their posteriors; else say what is missing, and yield nothing.

    Raises
    ------
    UsageError
        If the declared texts are none, or spell another alphabet than a cell's.
    """
    language = setting.config.language
    kept = [cell for cell in todo if setting.has_posteriors(cell, cell_key(cell, setting))]
    if language.rows and len(kept) < len(todo):
        print(
            f"{len(todo) - len(kept)} of {len(todo)} trainings have no posteriors in {setting.folder} (they were made "
            "elsewhere), so there are no rows with a language model: a curve with holes would be no curve. Training "
            "these again, to the same weights: reduction.language.train_again=true",
            file=sys.stderr,
        )  # fmt: skip
        return
    if "text" in language.rows:
        text_model(setting, synth)
    work = partial(_rescore_share, setting=setting)
    if min(setting.config.jobs, len(kept)) < 2:
        yield from work(kept)
    else:
        yield from in_processes(work, kept, setting.config.jobs, name="decoding")


def text_model(setting: Setting, synth: SynthConfig | None) -> Path:
    """Estimate the model of the declared texts, none of which is in ``tune``, dev or test; return its file."""
    language = setting.config.language
    texts = declared_texts(setting, synth)
    spaced = setting.config.finetune.tokens == "phones"
    key = content_key(language.order, sorted(texts), *([spaced] if spaced else []))
    path, record = setting.folder / _MODEL, setting.folder / "text.json"
    if not (path.exists() and record.exists() and read_json(record)["key"] == key):
        write_arpa(path, estimate_ngrams(texts, order=language.order, words=spaced))
        write_json(record, {"key": key, "texts": len(texts), "source": language.text})
    return path


def declared_texts(setting: Setting, synth: SynthConfig | None) -> list[str]:
    """Return the texts of the row ``text``, without those that a held-out split has too.

    Raises
    ------
    UsageError
        If there is none, or synthetic ones are asked for of a corpus that is not.
    """
    language, recordings = setting.config.language, setting.corpus.recordings
    held_out = {normalize(row.text) for row in recordings if row.text and row.split != "train"}
    if language.text == "train":
        texts = [row.text for row in recordings if row.text and row.split == "train"]
    elif language.text == "synthetic":
        if synth is None:
            raise UsageError("reduction.language.text is 'synthetic', but the corpus is not: name 'train', or a file")
        everything = {row.text for row in recordings if row.text}
        each = -(-language.sentences // len(synth.languages))
        texts = [
            text for name in synth.languages
            for text in text_only_sentences(each, seed=synth.seed, language=name, forbidden=everything)
        ]  # fmt: skip
    else:
        texts = read_texts(Path(language.text))
    kept = [text for text in map(normalize, texts) if text and text not in held_out]
    if not kept:
        raise UsageError(f"reduction.language.text ({language.text}) holds no text that tune, dev and test do not")
    return kept


def _rescore_share(todo: Iterable[Cell], *, setting: Setting) -> Iterator[Rescored]:
    language = setting.config.language
    path = setting.folder / _MODEL
    declared = (read_arpa(path), file_hash(path)) if "text" in language.rows else None
    for cell in todo:
        key = cell_key(cell, setting)
        heard = {split: read_posteriors(path) for split, path in setting.posteriors_of(cell, key).items()}
        for row in language.rows:
            path = setting.kept_at(cell, key, f".lm-{row}.json")
            yield _rescored(cell, row, setting, heard, declared if row == "text" else None, path)


def _rescored(
    cell: Cell, row: str, setting: Setting, heard: Mapping[str, SavedPosteriors],
    declared: tuple[NgramModel, str] | None, path: Path,
) -> Rescored:  # fmt: skip
    language = setting.config.language
    labelled = label_list(setting.corpus.recordings, cell.minutes, cell.seed)
    texts = [recording.text or "" for recording in labelled]
    held = {split: [(item.id, item.text) for item in setting.scored(split)] for split in heard}
    key = content_key(
        [saved.key for saved in heard.values()], _deciding(language), declared[1] if declared else texts, held
    )
    found = read_json(path) if path.exists() else {}
    if found.get("key") != key:
        spaced = heard["tune"].tokenizer.spaced
        model = declared[0] if declared else estimate_ngrams(texts, order=language.order, words=spaced)
        scorer = LanguageScorer(model, heard["tune"].tokenizer)

        def score(split: str, weight: float, bonus: float) -> Score:
            search = Search(width=language.width, weight=weight, bonus=bonus)
            decoder, recordings = Decoder(search, scorer), setting.scored(split)
            posteriors = [heard[split].heard[recording.id] for recording in recordings]
            hypotheses = [heard[split].tokenizer.decode(decoder.tokens(one)) for one in posteriors]
            return score_of(cell, split, recordings, hypotheses, labelled, lm=row, spaced=spaced)

        tried = [(score("tune", *pair), *pair) for pair in itertools.product(language.weights, language.bonuses)]
        best, weight, bonus = min(tried, key=lambda item: item[0].cer)
        found = {
            "key": key, "weight": weight, "bonus": bonus,
            "trials": [{"weight": trial[1], "bonus": trial[2], "tune_cer": trial[0].cer} for trial in tried],
            "scores": scores_to_json([score(setting.dev, weight, bonus), best]),
        }  # fmt: skip
        write_json(path, found)
    return Rescored(
        cell=cell, row=row, scores=tuple(scores_from_json(found["scores"])), weight=found["weight"],
        bonus=found["bonus"],
    )  # fmt: skip


def _deciding(language: LanguageConfig) -> dict[str, Any]:
    return {name: to_tree(language)[name] for name in ("order", "weights", "bonuses", "width")}
