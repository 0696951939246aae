"""Whatever is done to a bundle, reading it ends in the bundle itself or in a refusal with a reason; nothing crashes."""

import copy
import json
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from speechunits.errors import InputRefused
from speechunits.units import bundle as container
from speechunits.units.bundle import header_hash, read_bundle, tensors_hash, write_bundle
from speechunits.units.units import Units

TENSORS = {"a": torch.arange(6, dtype=torch.float32).view(2, 3), "b": torch.tensor([1, 2], dtype=torch.uint8)}
WAYS = ("cut", "flip", "write", "insert", "size", "drop")
QUICK = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def damaged(data, way, place, value, extra):
    place %= len(data)
    if way == "cut":
        return data[:place]
    if way == "flip":
        return data[:place] + bytes([data[place] ^ (1 << value % 8)]) + data[place + 1 :]
    if way == "write":
        return data[:place] + extra + data[place + len(extra) :]
    if way == "insert":
        return data[:place] + extra + data[place:]
    if way == "size":
        return (value * 7919**3 % 2**64).to_bytes(8, "little") + data[8:]
    return data[:place] + data[place + 1 + value % 16 :]


@settings(max_examples=2000, suppress_health_check=QUICK)
@given(st.sampled_from(WAYS), st.integers(0, 10**6), st.integers(0, 255), st.binary(max_size=12), st.booleans())
def test_damaged_bytes_are_refused(tmp_path, way, place, value, extra, twice):
    path = tmp_path / "some.safetensors"
    if not path.exists():
        write_bundle(path, TENSORS, {"kind": "units", "layer": 3})
    data = path.read_bytes()
    other = damaged(data, way, place, value, extra)
    if twice and other:
        other = damaged(other, WAYS[value % len(WAYS)], place // 3, place % 256, extra[::-1])
    trial = tmp_path / "trial.safetensors"
    trial.write_bytes(other)
    try:
        tensors, header = read_bundle(trial, "units")
    except InputRefused as error:
        assert "trial.safetensors" in str(error)  # noqa: PT017 - or the bundle itself comes back
    else:
        assert header["layer"] == 3
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3000), st.floats(allow_nan=False), st.text(max_size=5),
    st.just([]), st.just({}), st.just({"a": 1}), st.sampled_from(["kmeans", "codebook", "mfcc", "fp32", "bf16"]),
)  # fmt: skip


def places(tree, path=()):
    for key, value in tree.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from places(value, (*path, key))


@settings(max_examples=300, suppress_health_check=QUICK)
@given(st.data())
def test_headers_edited_with_care_are_used_or_refused(units, tmp_path, data):
    path = tmp_path / "units.safetensors"
    if not path.exists():
        units.save(path)
    tensors, header = read_bundle(path, "units")
    edited = copy.deepcopy(header)
    place = data.draw(st.sampled_from(sorted(places({k: header[k] for k in ("units", "encoder", "grid", "quality")}))))
    *parents, last = place
    branch = edited
    for parent in parents:
        branch = branch[parent]
    if data.draw(st.booleans()):
        del branch[last]
    else:
        branch[last] = data.draw(VALUES)
    edited["header_sha256"] = header_hash(edited)
    trial = tmp_path / "trial.safetensors"
    save_file(tensors, trial, metadata={"speechunits": json.dumps(edited)})
    with warnings.catch_warnings():
        # torchaudio warns of filters without a bin where an edit asks for thousands.
        warnings.simplefilter("ignore")
        try:
            assert Units.load(trial).clusters == edited["units"]["clusters"]
        except InputRefused as error:
            assert len(str(error)) > 20  # noqa: PT017 - or the edit did no harm


def test_a_changed_header_is_refused(tmp_path):
    path = tmp_path / "some.safetensors"
    write_bundle(path, TENSORS, {"kind": "units", "layer": 3})
    path.write_bytes(path.read_bytes().replace(b'\\"layer\\": 3', b'\\"layer\\": 2'))
    with pytest.raises(InputRefused, match="header does not match its hash"):
        read_bundle(path)


def test_bundles_of_format_1_are_read(tmp_path, monkeypatch):
    path = tmp_path / "old.safetensors"
    header = {"format": 1, "kind": "units", "version": "0.1.0", "tensors_sha256": tensors_hash(TENSORS)}
    save_file(TENSORS, path, metadata={"speechunits": json.dumps(header)})
    assert read_bundle(path, "units")[1] == header
    assert container.FORMAT == 2
