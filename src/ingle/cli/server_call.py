"""Owns asking the server that runs on this machine, for `ingle ps` and `ingle stop`."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any

from ingle import env
from ingle.cli.address import split_address
from ingle.config import get
from ingle.errors import IngleError

_TIMEOUT_S = 10


def ask(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The server's JSON. Raises IngleError where none answers, or it refuses."""
    host, port = split_address(str(get("host")))
    try:
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        data = None if body is None else json.dumps(body)
        key = env.api_key()
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        with closing(connection):
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        rule = f"a server of ingle's must run at {host}:{port}, but got no answer"
        hint = "start one with `ingle serve`; INGLE_HOST names another address"
        raise IngleError("server", rule, hint) from None
    if response.status != 200 or not isinstance(answer, dict):
        said = answer.get("error", {}).get("message") if isinstance(answer, dict) else None
        rule = f"the server must agree, but got: {said or response.status}"
        hint = "INGLE_API_KEY is the key that is sent" if response.status == 401 else ""
        raise IngleError("server", str(rule).splitlines()[0].rstrip("."), hint)
    return answer
