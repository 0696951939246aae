"""`pip install .` alone gives inference: transcribing needs neither fairseq2 nor faiss nor espeak nor matplotlib."""

import subprocess
import sys

import pytest
import torch

from speechunits.config import EncoderConfig, to_tree
from speechunits.encoder.encoder import Encoder
from speechunits.units.units import CENTROIDS, Units

BLOCK = """
import sys
for name in ("fairseq2", "fairseq2n", "faiss", "espeakng_loader", "matplotlib", "wandb", "pytest"):
    sys.modules[name] = None  # importing it now raises ImportError
import speechunits.units.transcribe
import speechunits.asr.decode
import speechunits.units.pseudotext
import speechunits.cli
speechunits.cli.make_parser()
"""


def test_inference_imports_none_of_the_extras():
    done = subprocess.run([sys.executable, "-c", BLOCK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


START = """
import sys
import numpy as np
import speechunits
speechunits.load(sys.argv[1]).units(np.zeros(16_000, np.float32), 16_000)
print(*(name for name in ("torch._dynamo", "sympy", "triton", "fairseq2") if name in sys.modules))
"""


def test_the_first_unit_does_not_wait_for_a_compiler(encoder_units):
    command = [sys.executable, "-c", START, str(encoder_units)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.fixture
def encoder_units(tmp_path):
    """Units of a small random encoder, normalised positions and all."""
    torch.manual_seed(0)
    config = EncoderConfig(channels=32, dim=32, layers=1, heads=2, ffn_dim=48, position_kernel=7, position_groups=4)
    tensors = {f"encoder.{name}": tensor for name, tensor in Encoder(config).state_dict().items()}
    settings = {"source": "kmeans", "layer": 1, "clusters": 4, "precision": "bf16", "smooth": 1}
    header = {"kind": "units", "encoder": to_tree(config), "units": settings}
    path = tmp_path / "units.safetensors"
    Units({**tensors, CENTROIDS: torch.zeros(4, 32)}, header).save(path)
    return path
