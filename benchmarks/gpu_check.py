"""Tests on a GPU, then steps a second beside the peers, in a few minutes: `make gpu-check`.

Without a GPU it says so and ends well: there is nothing to check.
"""

from __future__ import annotations

import subprocess
import sys

import torch

RACES = (
    ["benchmarks.pretrain", "--sizes", "base", "--batch-s", "320", "--crop-s", "15.6", "--rounds", "10"],
    ["benchmarks.pretrain", "--sizes", "large", "--batch-s", "640", "--rounds", "10", "--output",
     "runs/benchmarks/pretrain-large.json"],
    ["benchmarks.finetune", "--sizes", "base", "--batch-s", "160", "--crop-s", "10", "--rounds", "10"],
)  # fmt: skip


def main() -> int:
    """Run everything; return 0 if all of it went well."""
    if not torch.cuda.is_available():
        print("gpu-check: torch sees no GPU here, so nothing was checked")
        return 0
    print(f"gpu-check: torch {torch.__version__} on {torch.cuda.get_device_name()}", flush=True)
    # Another torch than the project's own may warn of what it will remove: that is no fault here.
    tests = ["pytest", "-q", "-m", "gpu", "-W", "default", "tests/gpu"]
    codes = [subprocess.run([sys.executable, "-m", *command], check=False).returncode for command in (tests, *RACES)]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
