import numpy as np
import pytest

from speechunits.asr.posteriors import SavedPosteriors, read_posteriors, save_posteriors
from speechunits.asr.tokens import build_tokenizer
from speechunits.errors import InputRefused


def test_posteriors_come_back(tmp_path):
    generator = np.random.default_rng(0)
    for tokenizer in (build_tokenizer(["ab c"]), build_tokenizer(["ab ba", "abba"], "sentencepiece", 8)):
        heard = {f"id {frames}": generator.normal(-4, 3, (frames, len(tokenizer))).astype(np.float32)
                 for frames in (3, 0, 5)}  # fmt: skip
        save_posteriors(tmp_path / "p", SavedPosteriors(key="k", tokenizer=tokenizer, heard=heard))
        again = read_posteriors(tmp_path / "p")
        assert (again.key, again.tokenizer.symbols) == ("k", tokenizer.symbols)
        assert list(again.heard) == list(heard)
        for name, values in heard.items():
            np.testing.assert_allclose(again.heard[name], values, atol=0.01)
        assert again.tokenizer.decode([1, 2]) == tokenizer.decode([1, 2])


def test_no_recording_and_no_file(tmp_path):
    saved = SavedPosteriors(key="k", tokenizer=build_tokenizer(["ab"]), heard={})
    save_posteriors(tmp_path / "p", saved)
    assert read_posteriors(tmp_path / "p").heard == {}
    (tmp_path / "p").write_bytes(b"nothing of the kind")
    with pytest.raises(InputRefused, match="remove them, and train again"):
        read_posteriors(tmp_path / "p")
