"""fairseq2 is imported with stand-ins, and only when training begins."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
{before}
import speechunits.cli, speechunits.comparison, speechunits.doctor, speechunits.engine.train, speechunits.pipeline
assert not any(name.split(".")[0] in ("fairseq2", "fairseq2n") for name in sys.modules), "imported too early"
from speechunits.engine.native import prepare_fairseq2
prepare_fairseq2()
prepare_fairseq2()
import fairseq2, fairseq2n
from fairseq2.trainer import Trainer
print(fairseq2n.DOC_MODE, "wandb" in sys.modules, "transformers" in sys.modules)
"""
BLOCKED = """
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("fairseq2n", "wandb", "transformers"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.parametrize("before", ["", BLOCKED], ids=["installed", "absent"])
def test_the_trainer_is_imported_without_its_native_package(before):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT.format(before=before)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["True", "False", "False"], done.stderr
