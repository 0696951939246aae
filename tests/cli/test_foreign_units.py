"""From a folder of Hugging Face to units and to ONNX, by the command line."""

import json

import pytest

from speechunits.cli import main

pytest.importorskip("transformers")


def test_units_of_a_hugging_face_folder(tiny_corpus, tmp_path, capsys):
    from tests.encoder.test_foreign import write_model

    write_model(tmp_path / "model", "wavlm-base")
    out = tmp_path / "units.safetensors"
    command = ["units", "fit", str(tmp_path / "model"), "--manifest", str(tiny_corpus / "manifest.tsv"), "--clusters",
               "8", "--layer", "2", "-o", str(out)]  # fmt: skip
    assert main(command) == 0
    capsys.readouterr()
    assert main(["info", str(out)]) == 0
    header = json.loads(capsys.readouterr().out)
    assert header["origin"]["source"] == "model"
    assert header["quality"]["points"] > 0
    recording = min((tiny_corpus / "audio").rglob("*.flac"))
    assert main(["transcribe", str(recording), "--model", str(out)]) == 0
    assert recording.stem in capsys.readouterr().out
    assert main(["export", str(out), "--onnx", str(tmp_path / "units.onnx"), "--seconds", "2"]) == 0
    assert (tmp_path / "units.onnx").stat().st_size > 1000
    assert f"{tmp_path / 'units.onnx'}: the units of windows of 2 s" in capsys.readouterr().err


def test_a_name_that_is_nowhere_is_an_error_with_its_remedy(tiny_corpus, tmp_path, monkeypatch, capsys):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    command = ["units", "fit", "owner/none", "--manifest", str(tiny_corpus / "manifest.tsv"), "-o", str(tmp_path / "u")]
    assert main(command) == 2
    assert "owner/none" in capsys.readouterr().err
    assert main([*command, "--stream-passes", "-1"]) == 2
    assert "stream_passes must be at least 0" in capsys.readouterr().err
