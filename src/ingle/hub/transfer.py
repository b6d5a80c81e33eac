"""Owns one HTTP download of a range of bytes: tokens, redirects, retries, what refusals mean.

It does not know what the bytes are, nor where they go.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import IO, Any

from ingle.errors import DownloadError, UnreachableError

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 30.0
TRIES = 5  # in a row that bring nothing
LONGEST_WAIT_S = 120.0  # that a server may ask for
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_BROKEN = (OSError, http.client.HTTPException)


class NoRangesError(Exception):
    """The server sends whole files only."""


class StoppedError(Exception):
    """Somebody else of the same download failed, or a person pressed Ctrl-C."""


@dataclass(frozen=True)
class Remote:
    """One file to be had by HTTP, of a known size."""

    name: str  # as a person knows it
    url: str
    num_bytes: int
    token: str | None


def fetch_range(
    remote: Remote, first: int, end: int, take: Callable[[int, bytes], None], stop: threading.Event
) -> None:
    """Give `take` the bytes [first, end) of `remote`, in order, with their offsets.

    A connection that is cut is resumed where it stood; a busy server is given the time that it
    asks for. Both end after TRIES in a row that brought nothing.
    Raises DownloadError, NoRangesError (before any byte is taken) and StoppedError.
    """
    at, tries = first, 0
    while at < end:
        _check_stop(stop)
        try:
            with _opened(remote, at, end) as answer:
                while at < end and (chunk := answer.read(min(CHUNK_BYTES, end - at))):
                    take(at, chunk)
                    at, tries = at + len(chunk), 0
                    _check_stop(stop)
            if at < end:
                raise ConnectionError("the connection ended early")
        except urllib.error.HTTPError as error:
            tries += 1
            wait_s = seconds_to_wait(error.code, error.headers, tries)
            error.close()
            if wait_s is None or tries >= TRIES:
                raise refusal(remote.name, error.code, error.headers) from None
        except _BROKEN as error:
            tries += 1
            if tries >= TRIES:
                raise _cut(remote, at > 0, error) from None
            wait_s = _pause(tries)
        else:
            return
        stop.wait(wait_s)


def refusal(name: str, status: int, headers: Mapping[str, str] | Any) -> DownloadError:
    """What an HTTP status that will not change means to a person."""
    if status in (401, 403):
        return DownloadError(
            name,
            f"the repository must be open to you, but got HTTP {status} (private or gated)",
            "accept its terms on its page, then set HF_TOKEN to an access token of yours"
            " (or log in with `hf auth login`)",
        )
    if status == 404:
        return DownloadError(
            name,
            "the repository must exist and hold the file, but got HTTP 404",
            "check the spelling; a private one needs HF_TOKEN",
        )
    if status == 429:
        after = headers.get("Retry-After") if headers is not None else None
        told = f", to be tried again after {after} s" if after else ""
        return DownloadError(
            name,
            f"the server must take requests, but got HTTP 429 (too many){told}",
            "wait a while; with HF_TOKEN set the limit is higher",
        )
    return DownloadError(name, f"the server must answer, but got HTTP {status}", "try again later")


def unreachable(name: str, error: BaseException) -> UnreachableError:
    """No answer at all."""
    reason = getattr(error, "reason", None) or error
    words = " ".join(str(reason).split())[:200] or type(error).__name__
    return UnreachableError(
        name,
        f"the model hub must be reachable, but got {words}",
        "check the network, HTTPS_PROXY and HF_ENDPOINT; models that are here work offline",
    )


def seconds_to_wait(status: int, headers: Mapping[str, str] | Any, tries: int) -> float | None:
    """How long to wait before the same request again; None when there is no use in it."""
    if status not in _PASSING:
        return None
    asked_s = _retry_after(headers.get("Retry-After") if headers is not None else None)
    if asked_s is None:
        return _pause(tries)
    return asked_s if asked_s <= LONGEST_WAIT_S else None


@contextmanager
def _opened(remote: Remote, at: int, end: int) -> Iterator[IO[bytes]]:
    whole = at == 0 and end == remote.num_bytes
    request = urllib.request.Request(remote.url, headers={"User-Agent": "ingle"})
    if not whole:
        request.add_header("Range", f"bytes={at}-{end - 1}")
    if remote.token:
        request.add_unredirected_header("Authorization", f"Bearer {remote.token}")
    with contextlib.closing(_OPENER.open(request, timeout=TIMEOUT_S)) as answer:
        if not whole and answer.status == 200:
            raise NoRangesError
        _check_size(remote, _total(answer))
        yield answer


def _total(answer: Any) -> int | None:
    """The whole file's bytes, as the answer states them."""
    stated = answer.headers.get("Content-Length")
    if answer.status == 206:
        stated = (answer.headers.get("Content-Range") or "").rpartition("/")[2]
    return int(stated) if stated and stated.isdecimal() else None


def _check_size(remote: Remote, total: int | None) -> None:
    if total is not None and total != remote.num_bytes:
        raise DownloadError(
            remote.name,
            f"the file must have {remote.num_bytes} bytes, but got {total}",
            "the repository was changed meanwhile, or a proxy serves another file; pull again",
        )


class _SameHostRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects keep the token on the same host and drop it elsewhere: stores sign their URLs."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):  # type: ignore[no-untyped-def]
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        here, there = (urllib.parse.urlsplit(url).netloc for url in (req.full_url, newurl))
        if new is not None and token and here == there:
            new.add_unredirected_header("Authorization", token)
        return new


_OPENER = urllib.request.build_opener(_SameHostRedirects())


def _cut(remote: Remote, begun: bool, error: BaseException) -> DownloadError:
    if not begun:
        return unreachable(remote.name, error)
    words = " ".join(str(getattr(error, "reason", None) or error).split())[:200]
    return DownloadError(
        remote.name,
        f"the download must arrive whole, but got cut off {TRIES} times ({words})",
        "the same command goes on where it stopped",
    )


def _check_stop(stop: threading.Event) -> None:
    if stop.is_set():
        raise StoppedError


def _pause(tries: int) -> float:
    return float(min(2 ** (tries - 1), 8))


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a count of them or from a date (RFC 9110, section 10.2.3)."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return None
