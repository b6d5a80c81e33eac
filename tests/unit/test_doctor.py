"""What `ingle doctor` says of a machine, and the figures that it measures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingle import _native
from ingle.backends.cpu import measure
from ingle.backends.cpu.cores import cpu_quota, usable_cores
from ingle.backends.cpu.processor import Cache, kernel_choices, this_processor
from ingle.plan.rates import read_rates

ISAS = [name for name, runs, _ in kernel_choices() if runs]


def test_a_report_has_a_line_for_each_thing(ingle: Any, tmp_path: Path) -> None:
    ended = ingle("doctor", INGLE_HOME=str(tmp_path), INGLE_CPU="generic")
    assert (ended.code, ended.err) == (0, "")
    subjects = [line[2:].split("  ")[0] for line in ended.out.splitlines()]
    for subject in ("processor", "cores", "caches", "memory", "models", "downloads", "GPU"):
        assert subject in subjects
    assert "generic: forced by INGLE_CPU" in ended.out
    assert "nothing yet; `ingle doctor --measure`" in ended.out


def test_a_forced_set_that_does_not_run_is_told(ingle: Any, tmp_path: Path) -> None:
    report = json.loads(ingle("doctor", "--json", INGLE_HOME=str(tmp_path), INGLE_CPU="avx9").out)
    kernels = [one for one in report["findings"] if one["subject"] == "kernels"]
    assert kernels[0]["state"] == "lack"
    assert "but got avx9" in kernels[0]["text"]
    assert report["rates"] is None


def test_a_folder_that_cannot_be_written_is_told(ingle: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    env = {"INGLE_HOME": str(tmp_path), "INGLE_MODELS": "/proc/nothing/models"}
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc, which nobody can write")
    report = json.loads(ingle("doctor", "--json", **env).out)
    models = next(one for one in report["findings"] if one["subject"] == "models")
    assert models["state"] in ("lack", "note")


@pytest.mark.slow
def test_measuring_stores_what_plans_read(ingle: Any, tmp_path: Path) -> None:
    report = json.loads(ingle("doctor", "--measure", "--json", INGLE_HOME=str(tmp_path)).out)
    rates = read_rates(tmp_path)
    assert rates.read_bytes_per_s == report["rates"]["memory_read_bytes_per_s"]
    assert rates.int8_ops_per_s == report["rates"]["int8_ops_per_s"]
    told = ingle("doctor", INGLE_HOME=str(tmp_path)).out
    assert "measured          memory" in told


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("nbytes", [4096, 5000, 1 << 20])
def test_memory_is_read_by_any_number_of_threads(threads: int, nbytes: int) -> None:
    seconds = _native.measure_read(_native.Pool(threads), np.ones(nbytes, np.uint8), 3)
    assert len(seconds) == 3
    assert all(s > 0 and math.isfinite(s) for s in seconds)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("peak", [_native.measure_int8, _native.measure_float])
def test_operations_are_counted_over_all_threads(isa: str, peak: Any) -> None:
    alone, _ = peak(_native.Pool(1), isa, 1)
    together, seconds = peak(_native.Pool(2), isa, 2)
    assert together == 2 * alone > 0
    assert len(seconds) == 2


def test_what_cannot_be_measured_is_refused() -> None:
    pool = _native.Pool(1)
    with pytest.raises(ValueError, match="cannot run on this CPU"):
        _native.measure_int8(pool, "avx9", 1)
    with pytest.raises(ValueError, match="passes must be"):
        _native.measure_float(pool, "generic", 0)
    with pytest.raises(ValueError, match="at least 4096 bytes"):
        _native.measure_read(pool, np.ones(10, np.uint8), 1)


def test_the_disk_is_read_without_leaving_anything(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(measure, "_FILE_BYTES", 32 << 20)
    rate = measure.disk_read(tmp_path)
    assert rate.best > 0
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "small").write_bytes(b"x")
    with pytest.raises(OSError, match="has less than"):
        measure.disk_read(tmp_path, tmp_path / "small")


CPUINFO = """\
processor\t: 0
model name\t: Some CPU @ 3.60GHz
flags\t\t: fpu sse2 avx2 fma f16c avx512_vnni
"""


def test_a_processor_is_read_as_linux_tells_it(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(CPUINFO)
    for cpu in (0, 1):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cache"
        told = [
            ("1", "Data", "48K", str(cpu)),
            ("3", "Unified", "32M", "0-1"),
            ("9", "Odd", "?", ""),
        ]
        for index, (level, kind, size, shared) in enumerate(told):
            (folder / f"index{index}").mkdir(parents=True)
            facts = {"level": level, "type": kind, "size": size, "shared_cpu_list": shared}
            for name, text in facts.items():
                (folder / f"index{index}" / name).write_text(text + "\n")
    found = this_processor(tmp_path)
    assert found.name == "Some CPU @ 3.60GHz"
    assert found.instruction_sets == ("avx2", "fma", "f16c", "avx512_vnni")
    assert found.caches == (Cache("L1d", 48 << 10, 2), Cache("L3", 32 << 20, 1))


def test_a_system_that_says_nothing_has_no_caches(tmp_path: Path) -> None:
    found = this_processor(tmp_path)
    assert (found.caches, found.instruction_sets) == ((), ())


def control_groups(root: Path, own: str, files: dict[str, str]) -> Path:
    """A machine whose process is in the groups `own`, with limits as `files` below the mount."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(own)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("own", "files", "cpus"),
    [
        ("", {}, None),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "50000 100000\n", "a/b/cpu.max": "max 100000\n"}, 0.5),
        ("0::/a\n", {"cpu.max": "100000 100000\n", "a/cpu.max": "300000 100000\n"}, 1.0),
        ("0::/../x\n", {"cpu.max": "200000 100000\n"}, 2.0),  # a container sees its own root
        (
            "4:cpu,cpuacct:/docker/x\n",
            {
                "cpu/docker/x/cpu.cfs_quota_us": "250000\n",
                "cpu/docker/x/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("0::/\n", {"cpu.max": "100000 0\n"}, None),
        ("0::/\n", {"cpu.max": "a b c\n"}, None),
    ],
)
def test_quotas_of_both_versions_of_control_groups(
    tmp_path: Path, own: str, files: dict[str, str], cpus: float | None
) -> None:
    root = control_groups(tmp_path, own, files)
    assert cpu_quota(root) == cpus
    assert 1 <= usable_cores(root) <= math.ceil(cpus or 10**6)
