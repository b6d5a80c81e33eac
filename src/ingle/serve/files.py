"""Owns how many files, connections among them, this process may have open."""

from __future__ import annotations

_ENOUGH = 65_536
_USUAL = 512  # where the system does not tell


def raise_file_limit() -> int:
    """Raises the limit as far as this user may, and says what it is."""
    try:
        import resource  # here: Windows has none
    except ImportError:
        return _USUAL
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(_ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft
    return wanted
