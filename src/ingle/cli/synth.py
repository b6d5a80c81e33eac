"""``ingle synth NAME OUT``."""

from __future__ import annotations

from ingle.formats.synth import synthesize
from ingle.hub.progress import shown


def synth(
    name: str,
    out: str,
    layers: int | None = None,
    experts: int | None = None,
    seed: int = 0,
    router_skew: float = 0.0,
    file_format: str = "gguf",
) -> int:
    """Write a model of the true shapes and random weights and print the path of its weights; 0.

    file_format: gguf, hf or original. Progress goes to stderr; what was interrupted continues when
    the same command is given again. Raises IngleError.
    """
    with shown("synth") as progress:
        started = False

        def tell(done_bytes: int, total_bytes: int) -> None:
            nonlocal started
            if not started:
                progress.stage("writing", total_bytes)
                started = True
            progress.at(done_bytes)

        weights = synthesize(
            name,
            out,
            layers=layers,
            experts=experts,
            seed=seed,
            router_skew=router_skew,
            layout=file_format,
            progress=tell,
        )
    print(weights)
    return 0
