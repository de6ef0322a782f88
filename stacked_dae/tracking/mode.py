"""Where a job is logged: online, offline, or nowhere."""

from __future__ import annotations

import functools
import http.client
import netrc
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError, suggest
from stacked_dae.utils.terminal.progress import Reporter

# Seconds for a server to answer at all.
_ANSWER = 5.0
# What $WANDB_MODE may say, and what it means here.
_MODES: Mapping[str, str] = {
    "online": "online",
    "offline": "offline",
    "disabled": "off",
    "run": "online",
    "dryrun": "offline",
}


def line_of(error: Exception) -> str:
    """Return an error of the client in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def configured_mode(config: Config) -> str:
    """Return auto, online, offline or off: $WANDB_MODE where the user set it, else what ``tracking.mode`` says.

    Raises:
        ConfigError: $WANDB_MODE is unknown here, or $WANDB_BASE_URL is not an address.
    """
    said = os.environ.get("WANDB_MODE")
    if said and said not in _MODES:
        known = [mode for mode in _MODES if mode not in ("run", "dryrun")]
        raise ConfigError(f"$WANDB_MODE must be one of {', '.join(known)}, not {said!r}{suggest(said, known)}")
    mode = _MODES[said] if said else config.tracking.mode
    server = os.environ.get("WANDB_BASE_URL")
    if server and mode != "off" and not _is_address(server):
        raise ConfigError(f"$WANDB_BASE_URL must be an address such as https://api.wandb.ai, not {server!r}")
    return mode


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # Asked for, a port that is none raises.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def resolve_mode(config: Config, out: Path, notices: OfflineNotices) -> str:
    """Return online, offline or off; online only where there is a key, and offline for want of one is said.

    Raises:
        ConfigError: as :func:`configured_mode`, or a settings file of W&B's own is not usable.
    """
    mode = configured_mode(config)
    if mode in ("off", "offline"):
        return mode
    if _has_key():
        return "online"
    if mode == "online" and sys.stdin.isatty() and sys.stderr.isatty():
        import wandb

        # Asks for the key, as W&B's users are used to; one may answer that one wants no account.
        if wandb.login():
            return "online"
    notices.say("no API key (`wandb login`, or WANDB_API_KEY)", out)
    return "offline"


def _has_key() -> bool:
    """Return whether there is an API key for the server, in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        file = netrc.netrc(os.environ.get("NETRC") or Path("~/.netrc").expanduser())
    except (OSError, netrc.NetrcParseError, ValueError):
        return False
    # W&B's own server has had more than one name; a key stays under that of its time.
    return any(file.authenticators(name) for name in (urlsplit(server()).netloc, "api.wandb.ai"))


def server() -> str:
    """Return the address of the W&B server.

    Raises:
        ConfigError: W&B's own settings do not hold together.
    """
    import wandb

    try:
        return str(wandb.setup(wandb.Settings(silent=True)).settings.base_url)
    except Exception as error:  # whatever its settings files make it raise
        raise ConfigError(f"W&B's settings: {line_of(error)}; correct them, or set tracking.mode to off") from None


@functools.cache
def answers(address: str) -> bool:
    """Return whether anything at all comes back from the server in reasonable time; asked once."""
    try:
        with urllib.request.urlopen(address, timeout=_ANSWER):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError, http.client.HTTPException):
        return False


class OfflineNotices:
    """Says once for a run folder why W&B has nothing yet, and how it gets it."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._said: set[tuple[str, Path]] = set()

    def say(self, why: str, out: Path) -> None:
        """Say that the runs of ``out`` are recorded offline, and ``why``."""
        if (why, out) not in self._said:
            self._said.add((why, out))
            self._reporter.warn(f"W&B: {why}; recorded offline, `wandb sync {out}/wandb/offline-run-*` uploads it")
