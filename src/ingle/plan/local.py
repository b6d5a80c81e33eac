"""Owns describing the machine at hand: from what was measured on it, else from its cores.

It does not know models.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ingle.backends.cpu.backend import choose_kernels
from ingle.backends.cpu.cores import usable_cores
from ingle.plan.hardware import HABITS, HEADER_BYTES_PER_S, HERE, TOUCH_BYTES_PER_S, Machine
from ingle.plan.limits import memory_limit
from ingle.plan.rates import Corrections, Rates, read_corrections, read_rates

# Without a measurement: what a core of a usual computer draws, and all of them together.
_CORE_BYTES_PER_S, _MOST_BYTES_PER_S = 12e9, 45e9
_CORE_OPS_PER_S = {"avx512vnni": 1e12, "avx2": 0.25e12, "neon": 0.15e12, "generic": 0.03e12}
_DISK_BYTES_PER_S = 1.5e9
_NO_LIMIT = 1 << 62


def this_machine(folder: Path, memory_bytes: int | None = None) -> Machine:
    """The computer that runs this, with the rates and corrections stored in `folder`.

    memory_bytes: a limit of the user's instead of the machine's.
    """
    return corrected(machine_of(read_rates(folder), memory_bytes), read_corrections(folder))


def machine_of(rates: Rates, memory_bytes: int | None = None) -> Machine:
    """The computer that runs this, at these rates; kernels that were measured reach what they
    reach, and no share of it."""
    cores, habits = usable_cores(), HABITS["cpu"]
    shares = (1.0, 1.0) if rates.kernels else (habits.decode_efficiency, habits.prefill_efficiency)
    limit = memory_limit()
    measured = rates.read_bytes_per_s or rates.kernels
    return Machine(
        name=HERE,
        kind="cpu",
        memory_bytes=memory_bytes or limit.nbytes or _NO_LIMIT,
        read_bytes_per_s=rates.read_bytes_per_s
        or min(cores * _CORE_BYTES_PER_S, _MOST_BYTES_PER_S),
        ops_per_s=rates.int8_ops_per_s or cores * _CORE_OPS_PER_S.get(choose_kernels(), 0.1e12),
        disk_bytes_per_s=rates.disk_bytes_per_s or _DISK_BYTES_PER_S,
        decode_efficiency=shares[0],
        prefill_efficiency=shares[1],
        layer_overhead_s=habits.layer_overhead_s,
        chunk_tokens=habits.chunk_tokens,
        source="measured" if measured else f"assumed from {cores} cores",
        kernels=rates.kernels,
        runtime_bytes=round(rates.runtime_bytes or 0),
        header_bytes_per_s=rates.header_bytes_per_s or HEADER_BYTES_PER_S,
        touch_bytes_per_s=rates.touch_bytes_per_s or TOUCH_BYTES_PER_S,
    )


def corrected(machine: Machine, off: Corrections) -> Machine:
    """The machine as runs have found it."""
    return replace(
        machine,
        decode_efficiency=machine.decode_efficiency / off.decode,
        prefill_efficiency=machine.prefill_efficiency / off.prefill,
        layer_overhead_s=machine.layer_overhead_s * off.decode,
        disk_bytes_per_s=machine.disk_bytes_per_s / off.load,
        header_bytes_per_s=machine.header_bytes_per_s / off.load,
        touch_bytes_per_s=machine.touch_bytes_per_s / off.load,
    )
