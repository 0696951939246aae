"""The machine at hand: its ranks, how models are spread over them, its arithmetic."""

from __future__ import annotations

import atexit
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
from fairseq2.cluster import SlurmHandler
from fairseq2.gang import FakeGang, Gang, Gangs, ProcessGroupGang, create_fsdp_gangs, create_parallel_gangs
from fairseq2.nn.ddp import to_ddp
from fairseq2.nn.fsdp import FSDPWrapper, to_fsdp2
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from speechunits.config import EngineConfig
from speechunits.engine.surroundings import own_device
from speechunits.hardware import cpu_computes_bf16
from speechunits.units.extract import exact_products

_TIMEOUT = timedelta(minutes=30)
"""A rank may wait this long for another: longer than any held-out evaluation or checkpoint."""


@dataclass(frozen=True)
class Precision:
    """The type matrix products are computed in; weights stay fp32."""

    dtype: torch.dtype

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Compute in this type within the context."""
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(device.type, dtype=self.dtype)

    def products(self, device: torch.device) -> AbstractContextManager[object]:
        """Compute fp32 as such within the context, as units are: a GPU would round factors of convolutions."""
        return exact_products(device) if self.dtype == torch.float32 else nullcontext()


def choose_precision(config: EngineConfig, device: torch.device) -> Precision:
    """Return bf16 where the processor computes it (or where it is asked for), else fp32."""
    cuda = device.type == "cuda"
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else cpu_computes_bf16()
    wanted = config.precision == "bf16" or (config.precision == "auto" and has_bf16)
    return Precision(torch.bfloat16 if wanted else torch.float32)


def open_gangs(config: EngineConfig) -> Gangs:
    """Join the ranks that torchrun or Slurm started; alone without them."""
    if "RANK" not in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:
        SlurmHandler().set_torch_distributed_env_variables()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = own_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    root: Gang = FakeGang(device)
    if size > 1:
        if not torch.distributed.is_initialized():
            ProcessGroupGang.create_default_process_group(device, timeout=_TIMEOUT)
            atexit.register(torch.distributed.destroy_process_group)
        assert torch.distributed.group.WORLD is not None
        root = _LastingGang(torch.distributed.group.WORLD, device)
    gangs = create_parallel_gangs(root)
    return create_fsdp_gangs(gangs) if config.parallel == "fsdp" and size > 1 else gangs


class _LastingGang(ProcessGroupGang):  # type: ignore[misc]  # final for type checkers
    """The ranks of this process: the Trainer would dissolve them when it is done, but more trainings may follow."""

    def close(self) -> None:
        """Stay together until the process ends."""


def wrap(model: nn.Module, gangs: Gangs, *, resuming: bool) -> nn.Module:
    """Return the model as the ranks train it together: as it is, in DDP, or sharded by FSDP2 (in place)."""
    model.to(gangs.device)
    if gangs.root.size == 1:
        return model
    if gangs.sdp.size > 1:
        # Typed by fairseq2 as a module for type checkers only.
        return to_fsdp2(model, gangs, _shard_blocks, broadcast_state=not resuming)
    # Frozen encoders and learners with switches leave parameters out of some steps.
    return to_ddp(model, gangs, find_unused_parameters=True)


def _shard_blocks(module: nn.Module, wrapper: FSDPWrapper) -> nn.Module:
    """Shard each block of a stack (a module of several in a list) by itself: only one is whole at a time."""
    for stack in [part for part in module.modules() if isinstance(part, nn.ModuleList)]:
        for place, block in enumerate(stack):
            if any(True for _ in block.children()) and any(True for _ in block.parameters()):
                stack[place] = wrapper(block)
    return wrapper(module, reshard_after_forward=False)


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor whose shards are gathered from all ranks; all of them must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
