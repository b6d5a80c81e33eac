"""``/api/pull`` and ``/api/create``: owns Ollama's ways to bring a model here and to name one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ConfigDict, Field, StrictStr

from ingle import hub
from ingle.chat.template import check_jinja
from ingle.errors import UnsupportedError
from ingle.hub import modelfile
from ingle.hub.modelfile import Modelfile
from ingle.hub.progress import Progress
from ingle.serve.ollama import progress
from ingle.serve.ollama.models import forget
from ingle.serve.ollama.naming import NameBody, checked
from ingle.serve.rack import Rack

_REFUSED: Mapping[str, str] = {
    "files": "pull the model by its name, or use `ingle create` on the server",
    "adapters": "merge the adapter into the weights, and pull or create from those",
    "messages": "say them in system, or send them with every chat",
    "quantize": "`ingle quantize` on the server makes another file",
}


class CreateBody(NameBody):
    """A Modelfile's parts, or (modelfile) its text. What is not listed here is tolerated."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    from_: StrictStr | None = Field(default=None, alias="from")
    system: StrictStr | None = None
    template: StrictStr | None = None
    license: StrictStr | list[StrictStr] | None = None
    parameters: dict[str, Any] | None = None
    modelfile: StrictStr | None = None
    files: dict[str, Any] | None = None
    adapters: dict[str, Any] | None = None
    messages: list[Any] | None = None
    quantize: StrictStr | None = None

    def said(self) -> Modelfile:
        """What is to be made. Raises IngleError."""
        for name, hint in _REFUSED.items():
            if getattr(self, name):
                rule = "a model is made of a base and settings, but got this"
                raise UnsupportedError(name, rule, hint)
        made = self._made()
        if made.template:
            check_jinja(made.template, "template")
        return made

    def _made(self) -> Modelfile:
        if self.modelfile:
            return modelfile.parse(self.modelfile, Path("modelfile"))
        licence = "\n\n".join(self.license) if isinstance(self.license, list) else self.license
        return Modelfile(
            self.from_ or "",
            modelfile.checked_parameters(self.parameters or {}, "parameters"),
            self.system or None,
            modelfile.checked_template(self.template, "template") if self.template else None,
            licence or None,
        )


def router(rack: Rack) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["Ollama"])

    @routes.post("/api/pull", response_model=None)
    async def pull(body: NameBody, request: Request) -> Response:
        """Bring the newest of a model here."""
        name = body.checked(rack)

        def work(told: Progress) -> None:
            told.note("pulling manifest")
            hub.pull(name, told)

        return await progress.respond(work, body.stream is not False, request)

    @routes.post("/api/create", response_model=None)
    async def create(body: CreateBody, request: Request) -> Response:
        """Give a name to a model with settings of its own; its base is fetched if need be."""
        name, said = body.checked(rack), body.said()
        base, loop = checked(said.base, rack, "from"), asyncio.get_running_loop()

        def work(told: Progress) -> None:
            if not hub.is_here(base):
                hub.pull(base, told)
            told.note(f"using {base}")
            hub.create_from(name, base, said)
            asyncio.run_coroutine_threadsafe(forget(rack, name), loop).result()

        return await progress.respond(work, body.stream is not False, request)

    return routes
