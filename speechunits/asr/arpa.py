"""Back-off n-gram models in the ARPA format: read, write, and the probability of a symbol after others.

Format: SRILM, ngram-format(5). Probabilities and back-off weights are base-10 logarithms, here as in the file.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TextIO

from speechunits.audio.load import printable
from speechunits.errors import ModelRefused
from speechunits.run import atomic_path

START, END = "<s>", "</s>"
UNKNOWN = ("<unk>", "<UNK>")
SPACES = ("<space>", "|", "▁")
"""How models over characters write a space, the first of them ours."""
UNSEEN = -10.0
"""Log10 probability of a word that a model without ``<unk>`` does not know."""
_UTF8 = "utf-8-sig"
"""Perhaps with a mark of its byte order."""
Ngram = tuple[str, ...]


@dataclass(frozen=True)
class NgramModel:
    """A back-off model (Katz 1987): P(w | h) where it is listed, else backoff(h) · P(w | h without its first)."""

    order: int
    ngrams: Mapping[Ngram, tuple[float, float]]
    """Log10 probability and log10 back-off weight of every n-gram."""

    @cached_property
    def symbols(self) -> frozenset[str]:
        """What the model predicts, without the marks of start, end and unknown."""
        marks = {START, END, *UNKNOWN}
        return frozenset(ngram[0] for ngram in self.ngrams if len(ngram) == 1) - marks

    @cached_property
    def space(self) -> str | None:
        """The symbol that stands for a space, or None: a model over words, or over unspaced characters."""
        return next((symbol for symbol in SPACES if symbol in self.symbols), None)

    @cached_property
    def of_characters(self) -> bool:
        """Whether the symbols are characters, not words."""
        return all(len(symbol) == 1 or symbol == self.space for symbol in self.symbols)

    @cached_property
    def unknown(self) -> float:
        """Log10 probability of a symbol the model does not know, in an empty context."""
        return next((self.ngrams[name,][0] for name in UNKNOWN if (name,) in self.ngrams), UNSEEN)

    def log10(self, context: Ngram, symbol: str) -> float:
        """Return log10 P(symbol | context); of the context, its last ``order`` − 1 symbols count."""
        context = context[max(0, len(context) - self.order + 1) :]
        penalty = 0.0
        while True:
            found = self.ngrams.get((*context, symbol))
            if found is not None:
                return penalty + found[0]
            if not context:
                return penalty + self.unknown
            penalty += self.ngrams.get(context, (0.0, 0.0))[1]
            context = context[1:]

    def after(self, context: Ngram, symbol: str) -> Ngram:
        """Return the shortest context that predicts what follows ``context`` and ``symbol`` as the whole would."""
        longer = (*context, symbol)
        longer = longer[max(0, len(longer) - self.order + 1) :]
        while longer and longer not in self.ngrams:
            longer = longer[1:]
        return longer


def read_arpa(path: Path) -> NgramModel:
    """Read an ARPA file, plain or gzipped.

    Raises
    ------
    ModelRefused
        If it cannot be read or is malformed: with the number of the line and the reason.
    """
    shown = printable(path)
    try:
        with gzip.open(path, "rt", encoding=_UTF8) if path.suffix == ".gz" else path.open(encoding=_UTF8) as file:
            return _Reader(shown, file).read()
    except UnicodeDecodeError as error:
        hint = "a binary model of another program? Give the ARPA file it was made from"
        raise ModelRefused(f"{shown} must be UTF-8 text in the ARPA format, but is not ({hint})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ModelRefused(f"cannot read the language model {shown}: {error}; check the path") from error


def write_arpa(path: Path, model: NgramModel) -> None:
    """Write a model atomically, gzipped where ``path`` says so, n-grams sorted: equal models are equal files."""
    with ExitStack() as held:
        plain = held.enter_context(held.enter_context(atomic_path(path)).open("wb"))
        zipped = gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) if path.suffix == ".gz" else None
        file = held.enter_context(io.TextIOWrapper(zipped or plain, encoding="utf-8", newline="\n"))
        grams: list[list[Ngram]] = [[] for _ in range(model.order)]
        for ngram in sorted(model.ngrams):
            grams[len(ngram) - 1].append(ngram)
        file.write("\\data\\\n" + "".join(f"ngram {n}={len(own)}\n" for n, own in enumerate(grams, start=1)))
        for length, own in enumerate(grams, start=1):
            file.write(f"\n\\{length}-grams:\n")
            for ngram in own:
                probability, backoff = model.ngrams[ngram]
                weight = f"\t{backoff:.7g}" if backoff and length < model.order else ""
                file.write(f"{probability:.7g}\t{' '.join(ngram)}{weight}\n")
        file.write("\n\\end\\\n")


class _Reader:
    """The lines of a file, and where we are among them."""

    def __init__(self, name: str, file: TextIO) -> None:
        self.name = name
        # Not splitlines: a character model may hold exotic separators as symbols.
        self.lines: Iterator[tuple[int, str]] = enumerate((line.rstrip("\r\n") for line in file), start=1)
        self.number = 0

    def fault(self, reason: str) -> ModelRefused:
        return ModelRefused(f"{self.name}, line {self.number}: {reason}")

    def next(self, expected: str) -> str:
        """Return the next line that is not empty."""
        for number, line in self.lines:
            self.number = number
            if line.strip(" \t"):
                return line.strip(" \t")
        raise self.fault(f"the file ends here, but {expected} must follow; is it truncated?")

    def read(self) -> NgramModel:
        while self.next("a line \\data\\") != "\\data\\":
            pass
        counts, line = self._counts()
        ngrams: dict[Ngram, tuple[float, float]] = {}
        for length, count in enumerate(counts, start=1):
            if line != f"\\{length}-grams:":
                raise self.fault(f"must be \\{length}-grams:, but is {line!r} instead")
            before = len(ngrams)
            while not (line := self.next("\\end\\")).startswith("\\") or re.match(r"\\[ \t]", line):
                ngram, values = self._ngram(line, length)
                if ngram in ngrams:
                    raise self.fault(f"the {length}-gram {' '.join(ngram)!r} is there twice")
                ngrams[ngram] = values
            if len(ngrams) - before != count:
                raise self.fault(f"{count} {length}-grams were announced, but {len(ngrams) - before} are there")
        if line != "\\end\\":
            raise self.fault(f"must be \\end\\, but is {line!r} instead")
        return NgramModel(len(counts), ngrams)

    def _counts(self) -> tuple[list[int], str]:
        counts: list[int] = []
        while (line := self.next("a line ngram 1=…")).startswith("ngram"):
            found = re.fullmatch(r"ngram[ \t]+(\d+)[ \t]*=[ \t]*(\d+)", line)
            if found is None or int(found[1]) != len(counts) + 1:
                raise self.fault(f"must be ngram {len(counts) + 1}=COUNT, but is {line!r} instead")
            counts.append(int(found[2]))
        if not counts:
            raise self.fault(f"must be ngram 1=COUNT, but is {line!r} instead")
        return counts, line

    def _ngram(self, line: str, length: int) -> tuple[Ngram, tuple[float, float]]:
        fields = re.split(r"[ \t]+", line)
        if len(fields) not in (length + 1, length + 2):
            raise self.fault(
                f"must be a log10 probability, {length} symbols and perhaps a back-off weight, but has {len(fields)} "
                f"fields instead: {line!r}"
            )
        probability = self._number(fields[0], "a log10 probability")
        if probability > 0:
            raise self.fault(f"a log10 probability must be at most 0, but is {fields[0]} instead")
        backoff = self._number(fields[-1], "a back-off weight") if len(fields) == length + 2 else 0.0
        return tuple(map(sys.intern, fields[1 : length + 1])), (probability, backoff)

    def _number(self, text: str, what: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise self.fault(f"{what} must be a number, but is {text!r} instead") from None
        if not math.isfinite(value):
            raise self.fault(f"{what} must be finite, but is {text} instead")
        return value
