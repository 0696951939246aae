"""Bundles come back as they were, or are refused with a reason."""

import errno
import json
import os

import pytest
import safetensors
import torch
from safetensors.torch import save_file

from speechunits.errors import InputRefused
from speechunits.units.bundle import read_bundle, read_header, tensors_hash, write_bundle

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b": torch.tensor(2.5, dtype=torch.bfloat16),
    "c": torch.zeros(0, 4),
    "d": torch.arange(3, dtype=torch.uint8),
}


@pytest.fixture
def bundle(tmp_path):
    path = tmp_path / "some.safetensors"
    write_bundle(path, TENSORS, {"kind": "units", "provenance": {"seed": 3}, "name": "ɲ"})
    return path


def test_tensors_and_header_come_back(bundle):
    tensors, header = read_bundle(bundle, "units")
    assert {name: (t.dtype, t.shape) for name, t in tensors.items()} == {
        n: (t.dtype, t.shape) for n, t in TENSORS.items()
    }
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert header["name"] == "ɲ"
    assert header["provenance"] == {"seed": 3}
    assert header["tensors_sha256"] == tensors_hash(TENSORS)
    assert read_header(bundle) == header
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_equal_content_gives_equal_bytes(bundle, tmp_path):
    again = tmp_path / "again.safetensors"
    write_bundle(again, dict(reversed(TENSORS.items())), {"name": "ɲ", "provenance": {"seed": 3}, "kind": "units"})
    assert again.read_bytes() == bundle.read_bytes()


def test_tied_and_transposed_tensors_can_be_written(tmp_path):
    weight = torch.arange(6.0).view(2, 3)
    write_bundle(tmp_path / "x.safetensors", {"a": weight, "b": weight.T}, {"kind": "encoder"})
    tensors, _ = read_bundle(tmp_path / "x.safetensors")
    assert torch.equal(tensors["a"], tensors["b"].T)


def test_a_header_without_kind_or_with_nan_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="kind"):
        write_bundle(tmp_path / "x", {}, {})
    with pytest.raises(ValueError, match="JSON"):
        write_bundle(tmp_path / "x", {}, {"kind": "units", "loss": float("nan")})
    assert not (tmp_path / "x").exists()


def test_the_wrong_kind_is_refused(bundle):
    with pytest.raises(InputRefused, match="must be a bundle of kind 'encoder', but is of kind 'units'"):
        read_bundle(bundle, "encoder")


def test_a_folder_is_refused_with_the_bundles_it_holds(bundle, tmp_path):
    with pytest.raises(InputRefused, match=rf"must be a bundle, but is a folder; name one in it .*{bundle.name}"):
        read_bundle(bundle.parent)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputRefused, match=r"there: none"):
        read_bundle(tmp_path / "none")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputRefused, match="No such file"):
        read_bundle(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 60, -1, -20])
def test_a_truncated_file_is_refused(bundle, keep):
    data = bundle.read_bytes()
    bundle.write_bytes(data[:keep])
    with pytest.raises(InputRefused, match=r"truncated|cannot be read"):
        read_bundle(bundle)


def test_a_flipped_bit_is_refused(bundle):
    data = bytearray(bundle.read_bytes())
    data[-5] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(InputRefused, match="corrupted"):
        read_bundle(bundle)


def test_an_oversized_header_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "big.safetensors"
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(InputRefused, match="at most"):
        read_bundle(path)


@pytest.mark.parametrize(
    "data",
    [b"id\taudio\tduration", b"RIFF....WAVEfmt ", b"\x02" + b"\0" * 7 + b"[]", b"\x02" + b"\0" * 7 + b"x}", b"a" * 99],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, data):
    path = tmp_path / "other.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputRefused, match=r"other\.safetensors is no \.safetensors file"):
        read_bundle(path)


def test_foreign_safetensors_are_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(2)}, str(path))
    with pytest.raises(InputRefused, match="no speechunits bundle"):
        read_bundle(path)


def test_a_later_format_is_refused(tmp_path):
    path = tmp_path / "later.safetensors"
    header = {"format": 99, "kind": "units", "version": "9.0", "tensors_sha256": ""}
    save_file({"a": torch.zeros(2)}, str(path), metadata={"speechunits": json.dumps(header)})
    with pytest.raises(InputRefused, match=r"format 1 or 2, but has 99 .*speechunits 9\.0"):
        read_bundle(path)


def test_a_bundle_has_the_mode_of_other_files(tmp_path):
    before = os.umask(0o027)
    try:
        write_bundle(tmp_path / "a.safetensors", {"a": torch.zeros(3)}, {"kind": "units"})
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("Error while serializing: I/O error: Permission denied (os error 13)", errno.EACCES),
        ("Error while serializing: I/O error: No space left on device (os error 28)", errno.ENOSPC),
        ("Error while serializing: something else", errno.EIO),
    ],
)
def test_what_safetensors_cannot_write_is_named(tmp_path, monkeypatch, said, number):
    def refused(*_, **__):
        raise safetensors.SafetensorError(said)

    monkeypatch.setattr("safetensors.torch.save_file", refused)
    with pytest.raises(OSError) as caught:
        write_bundle(tmp_path / "a.safetensors", {"a": torch.zeros(3)}, {"kind": "units"})
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "a.safetensors"))
    assert list(tmp_path.iterdir()) == []
