"""What one rank runs in test_ranks.py: ``python -m torch.distributed.run … tests/learners/ranks.py VARIANT``."""

import json
import os
import sys

import torch
import torch.distributed as dist

from tests.learners.tiny import batch, build

dist.init_process_group("gloo")
rank = dist.get_rank()
model = build(sys.argv[1]).train()
for step in range(2):
    loss = model(batch(9000, 7000, data_seed=2 * step + rank))
flat = [
    value
    for name in ("marginal", "sums", "counts")
    if hasattr(model, name)
    for value in getattr(model, name).flatten().tolist()
]
report = {"rank": rank, "shared": flat, "loss": float(loss.sum.detach()), "count": int(loss.count)}
os.write(sys.stdout.fileno(), (json.dumps(report) + "\n").encode())
dist.destroy_process_group()
assert bool(flat) == (sys.argv[1] in ("direct_mi", "online"))
assert torch.isfinite(torch.tensor(flat)).all()
