"""`pip install .` alone gives inference: transcribing needs neither fairseq2 nor faiss nor espeak nor matplotlib."""

import subprocess
import sys

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
