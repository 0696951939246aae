"""What is installed, what this machine can do, and whether units come out: each finding with its remedy."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from speechunits import __version__
from speechunits.errors import SpeechUnitsError
from speechunits.hardware import cores, cpu_computes_bf16

if TYPE_CHECKING:
    from speechunits.units.units import Units

BASE = ("torch", "numpy", "numba", "scipy", "soundfile", "soxr", "librosa", "safetensors", "sentencepiece",
        "PyYAML", "rapidfuzz", "rich")  # fmt: skip
EXTRAS = {"fairseq2": "train", "torchaudio": "train", "matplotlib": "report", "jinja2": "report",
          "espeakng-loader": "synthetic", "kenlm": "lm"}  # fmt: skip
FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12")
SELF_TEST_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at."""

    state: Literal["good", "absent", "bad"]
    """``absent``: an optional part is not there; ``bad``: something that should work does not."""
    name: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        mark = {"good": "✓", "absent": "·", "bad": "✗"}[self.state]
        return f"{mark} {self.name}: {self.found}" + (f" → {self.remedy}" if self.remedy else "")


def examine() -> Iterator[Finding]:
    """Yield every finding, the self-test last."""
    versions = {name.lower(): version for name, version in installed()}
    yield from packages(versions)
    yield faiss(versions)
    for look in (sound_files, threads, bf16, allocator, gpu, espeak, self_test):
        yield guarded(look)


def installed() -> list[tuple[str, str]]:
    """Return name and version of every installed distribution."""
    return [(found.metadata["Name"] or "", found.version) for found in metadata.distributions()]


def packages(versions: dict[str, str]) -> Iterator[Finding]:
    """Yield a finding for Python and each package; ``versions`` by name in lower case."""
    yield Finding(state="good", name="speechunits", found=f"{__version__}, Python {platform.python_version()}")
    for name in BASE:
        version = versions.get(name.lower())
        if version is None:
            yield Finding(state="bad", name=name, found="not installed", remedy="`pip install speechunits`")
        else:
            yield Finding(state="good", name=name, found=version)
    torch, torchaudio = (versions.get(name, "").split("+")[0].split(".")[:2] for name in ("torch", "torchaudio"))
    if torch != torchaudio and [""] not in (torch, torchaudio):
        yield Finding(
            state="bad", name="torchaudio",
            found=f"made for torch {'.'.join(torchaudio)}, but torch is {'.'.join(torch)}",
            remedy="install both from one index, in one command",
        )  # fmt: skip
    for name, extra in EXTRAS.items():
        version = versions.get(name)
        remedy = "" if version else f"`pip install 'speechunits[{extra}]'` adds it"
        yield Finding(state="good" if version else "absent", name=name, found=version or "not installed", remedy=remedy)


def faiss(versions: dict[str, str]) -> Finding:
    """Look for faiss, which several packages install at the same place."""
    found = [f"{name} {versions[name]}" for name in FAISS if name in versions]
    if len(found) > 1:
        return Finding(
            state="bad", name="faiss", found=f"{' and '.join(found)} overwrite each other",
            remedy=f"`pip uninstall {' '.join(name for name in FAISS if name in versions)}`, then install one of them",
        )  # fmt: skip
    if not found and util.find_spec("faiss") is None:
        remedy = "`pip install 'speechunits[units]'` (or [gpu]) adds it, to fit units"
        return Finding(state="absent", name="faiss", found="not installed", remedy=remedy)
    return Finding(state="good", name="faiss", found=found[0] if found else "installed, not by pip")


def guarded(look: Callable[[], Finding]) -> Finding:
    """Return what ``look`` finds; an error of any kind is a finding too."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - a doctor that dies of what it looks for helps nobody
        remedy = "" if isinstance(error, SpeechUnitsError) else "install this package and its extras again"
        name = look.__name__.replace("_", " ")
        return Finding(state="bad", name=name, found=f"{type(error).__name__}: {error}", remedy=remedy)


def sound_files() -> Finding:
    """Ask libsndfile for its formats."""
    import soundfile  # noqa: PLC0415 - each part is looked at alone: one that is missing must not hide the others

    lacking = sorted({"WAV", "FLAC", "OGG", "MP3"} - set(soundfile.available_formats()))
    return Finding(
        state="bad" if lacking else "good", name="sound files",
        found=f"libsndfile {soundfile.__libsndfile_version__}" + (f" without {', '.join(lacking)}" if lacking else ""),
        remedy="install libsndfile 1.1 or later" if lacking else "",
    )  # fmt: skip


def threads() -> Finding:
    """Compare torch's threads with the cores this process may use."""
    import torch  # noqa: PLC0415

    there, count = cores(), torch.get_num_threads()
    remedy = "unset OMP_NUM_THREADS, or set it to the number of cores" if count > there else ""
    found = f"{count} torch threads on {there} cores"
    return Finding(state="bad" if count > there else "good", name="threads", found=found, remedy=remedy)


def bf16() -> Finding:
    """Tell whether the processor multiplies bf16 itself."""
    if cpu_computes_bf16():
        return Finding(state="good", name="bf16", found="computed by the processor")
    return Finding(state="absent", name="bf16", found="only emulated by the processor", remedy="train with fp32 on it")


def allocator() -> Finding:
    """Tell which allocator this process has: glibc's, with blocks of many sizes, costs training on CPUs a sixth."""
    try:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return Finding(state="good", name="allocator", found="the system's")
    for name in ("tcmalloc", "jemalloc", "mimalloc"):
        if f"/lib{name}" in mapped:
            return Finding(state="good", name="allocator", found=name)
    remedy = (
        "with tcmalloc training on CPUs is faster, to the same weights: `apt install libtcmalloc-minimal4`, "
        "`export LD_PRELOAD=libtcmalloc_minimal.so.4`"
    )
    return Finding(state="absent", name="allocator", found="none but the system's", remedy=remedy)


def gpu() -> Finding:
    """Tell which GPU torch can use."""
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Finding(state="good", name="GPU", found=f"{names} (CUDA {torch.version.cuda})")
    if Path("/proc/driver/nvidia/version").exists():
        remedy = "install a torch built for the CUDA that `nvidia-smi` names"
        return Finding(state="bad", name="GPU", found=f"a driver is there, but torch {torch.__version__} cannot use it",
                       remedy=remedy)  # fmt: skip
    return Finding(state="absent", name="GPU", found="none: everything runs on the processor")


def espeak() -> Finding:
    """Look for the library that synthesises the embedded corpus."""
    if util.find_spec("espeakng_loader") is None:
        remedy = "`pip install 'speechunits[synthetic]'` adds it, for `synth` and the demo"
        return Finding(state="absent", name="espeak-ng", found="not installed", remedy=remedy)
    import espeakng_loader  # noqa: PLC0415

    library, data = Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
    lacking = [str(path) for path in (library, data) if not path.exists()]
    if lacking:
        return Finding(state="bad", name="espeak-ng", found=f"{' and '.join(lacking)} missing",
                       remedy="`pip install --force-reinstall espeakng-loader`")  # fmt: skip
    return Finding(state="good", name="espeak-ng", found=library.name)


def self_test() -> Finding:
    """Write 5 s of noise, find its units with an untrained encoder, write them in every format and read them back."""
    import numpy as np  # noqa: PLC0415
    import soundfile  # noqa: PLC0415

    from speechunits.units.formats import FORMATS  # noqa: PLC0415
    from speechunits.units.reading import read_transcripts  # noqa: PLC0415

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = rng.normal(0, 0.1, round(44_100 * SELF_TEST_S)) * np.sin(np.arange(round(44_100 * SELF_TEST_S)) / 2e4)
        soundfile.write(folder / "noise.wav", samples, 44_100)
        units = _untrained_units()
        units.transcribe(folder / "noise.wav")
        started = time.perf_counter()
        expected = units.transcribe(folder / "noise.wav")
        speed = SELF_TEST_S / (time.perf_counter() - started)
        for form in ("jsonl", "ctm", "textgrid", "eaf", "km"):
            path = folder / f"noise{FORMATS[form].suffix}"
            path.write_text(FORMATS[form].write(expected), encoding="utf-8")
            (found,) = read_transcripts(path, form)
            if not np.array_equal(found.units, expected.units) or len(found.units) != 249:
                return Finding(state="bad", name="self-test", found=f"{form} gave other units than were written",
                               remedy="install torch and this package again")  # fmt: skip
    kinds = len(set(expected.units.tolist()))
    return Finding(state="good", name="self-test", found=f"{SELF_TEST_S:g} s of noise, 249 frames, {kinds} units, "
                                                         f"{speed:.0f} x real time")  # fmt: skip


def report(findings: Sequence[Finding]) -> int:
    """Return the exit code of findings: 1 where something that should work does not."""
    return 1 if any(finding.state == "bad" for finding in findings) else 0


def _untrained_units() -> Units:
    import torch  # noqa: PLC0415

    from speechunits.config import EncoderConfig, to_tree  # noqa: PLC0415
    from speechunits.encoder.encoder import Encoder  # noqa: PLC0415
    from speechunits.units.units import CENTROIDS, Units  # noqa: PLC0415

    config = EncoderConfig(channels=32, dim=32, layers=2, heads=2, ffn_dim=64, position_kernel=7, position_groups=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = Encoder(config)
        centroids = torch.randn(20, config.dim)
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    settings = {"source": "kmeans", "layer": 1, "clusters": 20, "precision": "fp32"}
    return Units({**tensors, CENTROIDS: centroids}, {"units": settings, "encoder": to_tree(config)})
