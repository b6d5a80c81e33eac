"""Owns describing the machine at hand: from what was measured on it, else from its cores.

It does not know models.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ingle.backends.cpu.backend import choose_kernels
from ingle.backends.cpu.cores import usable_cores
from ingle.plan.hardware import HABITS, Machine
from ingle.plan.limits import memory_limit
from ingle.plan.rates import read_corrections, read_rates

# Without a measurement: what a core of a usual computer draws, and all of them together.
_CORE_BYTES_PER_S, _MOST_BYTES_PER_S = 12e9, 45e9
_CORE_OPS_PER_S = {"avx512vnni": 1e12, "avx2": 0.25e12, "neon": 0.15e12, "generic": 0.03e12}
_DISK_BYTES_PER_S = 1.5e9
_NO_LIMIT = 1 << 62


def this_machine(folder: Path, memory_bytes: int | None = None) -> Machine:
    """The computer that runs this, with the rates and corrections stored in `folder`.

    memory_bytes: a limit of the user's instead of the machine's.
    """
    cores, rates, habits = usable_cores(), read_rates(folder), HABITS["cpu"]
    limit = memory_limit()
    machine = Machine(
        name="this machine",
        kind="cpu",
        memory_bytes=memory_bytes or limit.nbytes or _NO_LIMIT,
        read_bytes_per_s=rates.read_bytes_per_s
        or min(cores * _CORE_BYTES_PER_S, _MOST_BYTES_PER_S),
        ops_per_s=rates.int8_ops_per_s or cores * _CORE_OPS_PER_S.get(choose_kernels(), 0.1e12),
        disk_bytes_per_s=rates.disk_bytes_per_s or _DISK_BYTES_PER_S,
        decode_efficiency=habits.decode_efficiency,
        prefill_efficiency=habits.prefill_efficiency,
        layer_overhead_s=habits.layer_overhead_s,
        chunk_tokens=habits.chunk_tokens,
        source="measured" if rates.read_bytes_per_s else f"assumed from {cores} cores",
    )
    off = read_corrections(folder)
    return replace(
        machine,
        decode_efficiency=machine.decode_efficiency / off.decode,
        prefill_efficiency=machine.prefill_efficiency / off.prefill,
        layer_overhead_s=machine.layer_overhead_s * off.decode,
        disk_bytes_per_s=machine.disk_bytes_per_s / off.load,
    )
