"""``ingle quantize SRC DST TYPE``."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from ingle import env
from ingle.backends.cpu.cores import usable_cores
from ingle.backends.reference import ReferenceBackend
from ingle.cli.int8 import Wishes as Int8Wishes
from ingle.cli.int8 import int8
from ingle.cli.writing import written
from ingle.errors import IngleError, UnsupportedError
from ingle.evaluate.subject import Subject
from ingle.formats import GgufFile
from ingle.hub.progress import as_size
from ingle.plan.local import this_machine
from ingle.quantize.budget import fit, size_bytes
from ingle.quantize.folder import for_folder, is_folder, quantize_folder, require_folder
from ingle.quantize.gptq import GptqRounding
from ingle.quantize.hessian import LayerStream
from ingle.quantize.imatrix import Imatrix, read_imatrix
from ingle.quantize.imatrix.calibration import calibration
from ingle.quantize.int8 import Scheme
from ingle.quantize.job import Plan, plan, quantize
from ingle.quantize.mixture import mixture_name
from ingle.quantize.recipe import Override, Recipe, read_recipe, type_named
from ingle.quantize.summary import groups, read_bytes

CONTEXT_TOKENS = 512  # of a window of calibration text


@dataclass(frozen=True)
class Wishes:
    """The command's options, as typed."""

    type: str | None
    imatrix: str | None = None
    recipe: str | None = None
    tensor_types: tuple[str, ...] = ()
    output_type: str | None = None
    embedding_type: str | None = None
    pure: bool = False
    strict: bool = False
    requantize_mxfp4: bool = False
    method: str = "ggml"
    calibration: tuple[str, ...] = ()
    chunks: int = 60
    target_size: str | None = None
    target_bpw: float | None = None
    threads: int | None = None
    dry_run: bool = False


def quantize_model(source: str, target: str, wishes: Wishes) -> int:
    """Show what will be done, do it, print the path; 0. Raises IngleError.

    A target that does not end in .gguf is a folder, as transformers loads it.
    """
    if (wishes.type or "").upper() == "INT8":
        return _int8(source, target, wishes)
    imatrix: Imatrix | None = read_imatrix(wishes.imatrix) if wishes.imatrix else None
    recipe = _recipe(wishes)
    if is_folder(target):
        require_folder(recipe, wishes.method)
        planned = for_folder(plan(source, recipe, imatrix, wishes.method))
        if wishes.target_size is not None or wishes.target_bpw is not None:
            rule = "sizes are met with GGUF's types, but got a folder as the target"
            raise IngleError("--target-size", rule, "name a target that ends in .gguf")
    else:
        planned = _sized(plan(source, recipe, imatrix, wishes.method), wishes)
    show(planned)
    if wishes.dry_run:
        return 0
    threads = wishes.threads or usable_cores()
    rounding = _rounding(source, planned, wishes, threads)
    with written("quantize") as tell:
        if is_folder(target):
            path = quantize_folder(planned, target, threads=threads, progress=tell).parent
        else:
            path = quantize(planned, target, threads=threads, rounding=rounding, progress=tell)
    print(path)
    return 0


def _int8(source: str, target: str, wishes: Wishes) -> int:
    """8-bit integers with a scale per row, weights alone: `ingle int8` without its options."""
    said = Wishes(wishes.type, dry_run=wishes.dry_run, threads=wishes.threads)
    if wishes != said:
        rule = "INT8 takes no option but --dry-run here, but got others"
        raise IngleError("TYPE", rule, "ingle int8 --help has those of 8-bit integers")
    if not is_folder(target):
        rule = "INT8 must go to a folder of safetensors, but got a GGUF file"
        raise UnsupportedError(target, rule, "Q8_0 is GGUF's type of 8 bits")
    int8(source, target, Scheme(), Int8Wishes(None, 512, 1, None, wishes.dry_run, False))
    return 0


def _sized(planned: Plan, wishes: Wishes) -> Plan:
    """With types for a size, when one is asked for."""
    if wishes.target_size is not None and wishes.target_bpw is not None:
        raise IngleError("--target-bpw", "one target must be named, but got --target-size as well")
    if wishes.target_size is not None:
        return fit(planned, size_bytes(wishes.target_size))
    if wishes.target_bpw is None:
        return planned
    if not 0 < wishes.target_bpw <= 32:
        rule = f"bits must be more than 0 and at most 32, but got {wishes.target_bpw}"
        raise IngleError("--target-bpw", rule)
    return fit(planned, int(wishes.target_bpw * planned.num_weights / 8))


def _rounding(source: str, planned: Plan, wishes: Wishes, threads: int) -> GptqRounding | None:
    """GPTQ over the person's text; None for the other methods."""
    if wishes.method != "gptq":
        if wishes.calibration:
            raise IngleError("--calibrate", "text is used by --method gptq, but got another method")
        return None
    container = planned.model.container
    if not isinstance(container, GgufFile):
        rule = "gptq must start from a GGUF file, but got another layout"
        raise UnsupportedError(source, rule, "ingle convert SRC FILE.gguf makes one")
    if not wishes.calibration:
        rule = "gptq must see text flow through the model, but got none"
        raise IngleError(
            "--calibrate", rule, "--calibrate FILE.txt, some hundred kilobytes of prose"
        )
    subject = Subject(source, Path(source), ReferenceBackend(), CONTEXT_TOKENS)
    text = calibration(subject, wishes.calibration, CONTEXT_TOKENS, wishes.chunks)
    tied = "output.weight" not in planned.model.tensors
    return GptqRounding(LayerStream(container, text.windows), tied=tied, threads=threads)


def show(planned: Plan) -> None:
    """The table of tensor groups on stderr, so that stdout holds the path alone."""
    heads = ("tensors", "from", "to", "nominal", "true bits", "size", "ms/token", "why")
    rows = [heads]
    rate = this_machine(env.home_dir())
    read_per_ms = rate.decode_efficiency * rate.read_bytes_per_s / 1e3
    for group in groups(planned.assignments):
        read = sum(read_bytes(planned, one) for one in group.assignments)
        rows.append(
            (
                f"{group.label} x{group.count}" if group.count > 1 else group.label,
                group.source,
                group.target,
                f"{group.nominal_bits:g}",
                f"{group.true_bits:.3f}",
                as_size(group.nbytes),
                f"{read / read_per_ms:.2f}",
                group.why,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip(), file=sys.stderr)
    bits = 8 * planned.nbytes / max(1, planned.num_weights)
    print(f"{as_size(planned.nbytes)}, {bits:.3f} bits per weight", file=sys.stderr)
    whole = sum(read_bytes(planned, one) for one in planned.assignments)
    speed = 1e3 * read_per_ms / max(1, whole)
    print(f"forecast here: {speed:.1f} tokens/s ({rate.source} memory rate)", file=sys.stderr)


def _recipe(wishes: Wishes) -> Recipe:
    sized = wishes.target_size is not None or wishes.target_bpw is not None
    if wishes.type is None and wishes.recipe is None and not sized:
        raise IngleError("TYPE", "a type or a recipe must be named, but got neither")
    base = Recipe(mixture_name(wishes.type or "Q8_0")) if wishes.type or sized else None
    if wishes.recipe:
        if wishes.recipe == "llama.cpp":
            base = replace(base or Recipe("Q8_0"), keep_mxfp4=False)
        else:
            base = read_recipe(Path(wishes.recipe), base)
    assert base is not None
    typed = tuple(Override.parse(text) for text in wishes.tensor_types)
    return replace(
        base,
        overrides=(*typed, *base.overrides),
        pure=base.pure or wishes.pure,
        strict=base.strict or wishes.strict,
        keep_mxfp4=base.keep_mxfp4 and not wishes.requantize_mxfp4,
        output_type=_type(wishes.output_type, "--output-tensor-type", base.output_type),
        embedding_type=_type(wishes.embedding_type, "--token-embedding-type", base.embedding_type),
    )


def _type(text: str | None, where: str, default: str | None) -> str | None:
    return default if text is None else type_named(text, where)
