"""Owns what the model hub publishes of a repository: its commit, its files, their checksums.

The listing comes through `huggingface_hub`, so that tokens, mirrors (HF_ENDPOINT) and proxies are
those of every other tool. It does not know which files are wanted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ingle import env
from ingle.errors import DownloadError, ModelNotFoundError, UnreachableError
from ingle.hub.transfer import TIMEOUT_S, TRIES, refusal, seconds_to_wait, unreachable

BRANCH = "main"


@dataclass(frozen=True)
class HubFile:
    """One published file; etag is its SHA-256, or git's SHA-1 for what is not in large storage."""

    path: str
    num_bytes: int
    etag: str


@dataclass(frozen=True)
class Repository:
    """A repository at one commit."""

    repo: str
    commit: str
    files: dict[str, HubFile]
    endpoint: str
    token: str | None

    def url_of(self, file: HubFile) -> str:
        """Where the file's bytes are had."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, file.path, revision=self.commit, endpoint=self.endpoint)


def look_up(repo: str, note: Callable[[str], None]) -> Repository:
    """Ask the hub what `user/repo` holds now; `note` is told of waiting.

    Raises ModelNotFoundError, UnreachableError, DownloadError.
    """
    env.without_telemetry()
    from huggingface_hub import HfApi, constants, get_token

    endpoint = (env.text("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    token = env.text("HF_TOKEN") or env.text("HUGGING_FACE_HUB_TOKEN") or get_token()
    api = HfApi(endpoint=endpoint, token=token or False)
    info = _asked(repo, lambda: api.model_info(repo, files_metadata=True, timeout=TIMEOUT_S), note)
    files = [_file(sibling) for sibling in info.siblings or ()]
    if not info.sha or not files:
        rule = "the repository must hold files, but got none"
        raise ModelNotFoundError(repo, rule, "look for the model under another name")
    known = {file.path: file for file in files if file is not None}
    return Repository(repo, info.sha, known, endpoint, token)


def _file(sibling: Any) -> HubFile | None:
    """A file as listed; None where the listing lacks what a safe download needs."""
    lfs = sibling.lfs
    path, num_bytes = sibling.rfilename, lfs.size if lfs else sibling.size
    etag = lfs.sha256 if lfs else sibling.blob_id
    parts = str(path).split("/")
    sound = (
        isinstance(num_bytes, int)
        and num_bytes >= 0
        and isinstance(etag, str)
        and len(etag) in (40, 64)
        and set(etag) <= set("0123456789abcdef")
        and all(part not in ("", ".", "..") and part.isprintable() for part in parts)
        and not any(mark in str(path) for mark in ("\\", ":"))
    )
    return HubFile(path, num_bytes, etag) if sound else None


def _asked(repo: str, ask: Callable[[], Any], note: Callable[[str], None]) -> Any:
    """The answer, asked for again while the server is busy; every failure as an IngleError."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    for tries in range(1, TRIES + 1):
        try:
            return ask()
        except HFValidationError as error:
            rule = f"a repository must be user/repo, but got {' '.join(str(error).split())[:200]}"
            raise ModelNotFoundError(repo, rule, "such as ggml-org/gpt-oss-20b-GGUF") from None
        except HfHubHTTPError as error:
            status, headers = error.response.status_code, error.response.headers
            wait_s = seconds_to_wait(status, headers, tries)
            if wait_s is None or tries == TRIES:
                raise _refused(repo, status, headers) from None
            note(f"the server is busy (HTTP {status}); asking again in {wait_s:.0f} s")
        except (OSError, ValueError, RuntimeError) as error:
            raise unreachable(repo, error) from None
        except Exception as error:  # the client's transport raises its own kinds
            if not _is_transport(error):
                raise
            raise unreachable(repo, error) from None
        _PAUSE.wait(wait_s)
    raise unreachable(repo, UnreachableError(repo, "no answer"))


_PAUSE = threading.Event()  # never set; a wait that Ctrl-C breaks


def _is_transport(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in {"httpx", "httpx2", "httpcore", "requests"}


def _refused(repo: str, status: int, headers: Any) -> DownloadError | ModelNotFoundError:
    gated = headers.get("X-Error-Code") == "GatedRepo"
    if status == 404 or (status == 401 and not gated):  # the hub hides private ones so
        return ModelNotFoundError(
            repo,
            f"the repository must exist and be open to you, but got HTTP {status}",
            "check the spelling; a private or gated one needs HF_TOKEN set to an access token",
        )
    return refusal(repo, status, headers)
