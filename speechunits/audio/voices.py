"""The speakers of the synthetic corpus: espeak variant × pitch × rate, and in the field a vocal tract's length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechunits.audio.speech_engine import Voice

VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "Alex", "Andrea", "Andy",
    "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky", "Lee", "Mario", "Michael", "Mike", "Nguyen",
    "Reed", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed",
    "edward", "edward2", "grandma", "grandpa", "gustave", "ian", "iven", "iven2", "iven3", "iven4", "john",
    "kaukovalta", "linda", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "quincy",
    "rob", "robert", "sandro", "shelby", "steph", "steph2", "steph3", "travis", "victor", "zac",
)  # fmt: skip
"""espeak-ng's human-like variants: whispers, robots and effects are left out."""

RATES = (105, 171)
"""Words a minute: at least, and less than."""
_LARGEST_SHIFT = 1.18
_SPLIT_SHARE = 8 / 60
"""Share of the speakers in dev, and in test."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speaker:
    """One synthetic person."""

    name: str
    language: str
    split: str
    variant: str
    words_per_minute: int
    pitch: int
    pitch_range: int
    shift: float
    """Factor on pitch and formants."""

    def voice(self, generator: np.random.Generator) -> Voice:
        """Return the speaker's voice in one utterance: nobody speaks twice at the same rate and pitch."""
        return Voice(
            f"{self.language}+{self.variant}",
            round(self.words_per_minute * generator.uniform(0.95, 1.05)),
            int(np.clip(self.pitch + generator.integers(-3, 4), 0, 99)),
            self.pitch_range,
        )


def speakers(count: int, languages: Sequence[str], *, field: bool, seed: int) -> list[Speaker]:
    """Return ``count`` distinct speakers: an eighth or so each for dev and test, languages and variants in turn."""
    generator = np.random.default_rng([seed, 10])
    variants = generator.permutation(VARIANTS)
    held_out = max(1, round(count * _SPLIT_SHARE))
    people = []
    for index in range(count):
        limit = np.log(_LARGEST_SHIFT) if field else 0.0
        people.append(
            Speaker(
                name=f"{languages[index % len(languages)]}{index:03d}",
                language=languages[index % len(languages)],
                split="dev" if index < held_out else "test" if index < 2 * held_out else "train",
                variant=str(variants[index % len(variants)]),
                words_per_minute=int(generator.integers(*RATES)),
                pitch=int(generator.integers(20, 81)),
                pitch_range=int(generator.integers(25, 76)),
                shift=float(np.exp(generator.uniform(-limit, limit))),
            )
        )
    return people
