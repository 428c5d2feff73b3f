"""The library's log and version."""

from __future__ import annotations

import logging
from typing import Callable, Optional

from . import _c as c
from ._codes import LogLevel
from ._core import HERE, KEPT, call, function, loaded, make_with, on_free, report, unsigned


@c.LogCallback
def _on_log(user: int, level: int, target: c.Str, text: c.Str) -> None:
    HERE.is_logging = True
    try:
        KEPT[user](LogLevel(level), str(target), str(text))
    except BaseException:
        report("the log callback")
    finally:
        HERE.is_logging = False


def version() -> str:
    """The version of the library, such as "0.1.0"."""
    return str(loaded().gossip_version())


def log(callback: Optional[Callable[[LogLevel, str, str], object]], level: LogLevel = LogLevel.INFO) -> None:
    """Passes the library's log to `callback`, as level, target and text, up to `level`; None removes the callback.

    There is one callback for the whole process, to be set before anything is started. It is called on any thread,
    several at the same time, and from within gRPC's C core, so it must not call this module.
    """
    if callback is None:
        call("gossip_set_log_callback", c.LogCallback(), 0, None, c.FreeCallback())
        return
    function(callback, "callback")
    set_log = "gossip_set_log_callback"
    make_with(callback, lambda number: call(set_log, _on_log, unsigned(level, 32), number, on_free))


def log_to(logger: logging.Logger) -> None:
    """Writes the library's log to a Python logger, whose current level is the limit."""
    levels = {LogLevel.ERROR: logging.ERROR, LogLevel.WARN: logging.WARNING, LogLevel.INFO: logging.INFO}
    fine = {LogLevel.DEBUG: logging.DEBUG, LogLevel.TRACE: logging.DEBUG - 5}
    levels.update(fine)
    wanted = [level for level, number in levels.items() if logger.isEnabledFor(number)]
    log(lambda level, target, text: logger.log(levels.get(level, logging.DEBUG), "%s: %s", target, text),
        max(wanted, default=LogLevel.OFF))
