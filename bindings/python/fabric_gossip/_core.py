"""The library and its handles, errors and callbacks, and their cleanup at exit and after a fork."""

from __future__ import annotations

import atexit
import ctypes
import datetime
import itertools
import logging
import numbers
import operator
import os
import sys
import threading
import weakref
from _thread import allocate_lock, get_ident, start_new_thread
from ctypes import byref
from typing import Any, Callable, Optional, Type, TypeVar, Union

from . import _c as c
from ._codes import Code

Span = Union[int, float, datetime.timedelta, None]
Text = Union[str, "os.PathLike[str]"]

FOREVER = 2**64 - 1
_logger = logging.getLogger("fabric_gossip")


class Error(Exception):
    """An error of the library. `str()` of it is `message`.

    * code: The code to branch on.
    * message: The whole text: the peer, the step, and the reason.
    * reason: The reason without the peer and the step. Where Fabric has a text for it, exactly that text.
    * peer: The peer that the error concerns; "" if none is known.
    * step: The step that failed, such as "dial" or "handshake"; "" if none is known.
    * parts: One error for each peer that failed, for a call that concerned several peers.
    * peer_index: For a part: the index of its peer in the argument of the call.
    """

    code: Code
    message: str
    reason: str
    peer: str
    step: str
    parts: "list[Error]"
    peer_index: int


class Timeout(Error, TimeoutError):
    """A time limit passed."""


class Stopped(Error):
    """The comm or node was stopped, or a subscription has ended."""


class Full(Error):
    """A bounded queue or table is full. A later attempt may succeed."""


class Nack(Error):
    """The peer acknowledged the message with an error."""


_ERRORS = {Code.TIMEOUT: Timeout, Code.STOPPED: Stopped, Code.FULL: Full, Code.NACK: Nack}

# Loading and calling the library.

_library = c.load()
#: Number of forks between the process that loaded this module and this one.
_generation = 0
#: Whether a handle was created in this process, and whether one was created in a parent before the fork.
_used, _used_before_fork = False, False


def loaded() -> ctypes.CDLL:
    if _used_before_fork:
        raise RuntimeError("the library cannot be used after a fork: start processes with 'spawn' or 'forkserver'")
    return _library


def _after_fork() -> None:
    global _generation, _used, _used_before_fork
    _generation += 1
    _used, _used_before_fork = False, _used or _used_before_fork
    LIVE.clear()
    LATER.clear()


def error_of(pointer: Any, code: int) -> Error:
    """Copies the content of an error object, which may be NULL. Does not free it."""
    lib = loaded()
    message = str(lib.gossip_error_message(pointer)) or Code(code).name
    error = _ERRORS.get(Code(code), Error)(message)
    error.code, error.message = Code(code), message
    error.reason = str(lib.gossip_error_reason(pointer))
    error.peer = str(lib.gossip_error_peer(pointer))
    error.step = str(lib.gossip_error_step(pointer))
    error.peer_index = lib.gossip_error_peer_index(pointer)
    parts = (lib.gossip_error_part(pointer, n) for n in range(lib.gossip_error_part_count(pointer)))
    error.parts = [error_of(part, lib.gossip_error_code(part)) for part in parts]
    return error


def call(name: str, *arguments: Any) -> None:
    """Calls a function that can fail."""
    lib, error = loaded(), c.HANDLE()
    code = getattr(lib, name)(*arguments, byref(error))
    if code:
        try:
            raise error_of(error, code)
        finally:
            lib.gossip_error_free(error)


def call_waiting(name: str, *arguments: Any) -> None:
    """Calls a function that waits, so that signals interrupt the wait as they do Python's own.

    Python handles signals in its main thread only, and not within a call. There another thread makes the call. After a
    signal handler has raised, as that of Ctrl-C does, the call goes on until its time limit, and its result is dropped.
    """
    failures: "list[BaseException]" = []
    done = allocate_lock()

    def run() -> None:
        try:
            call(name, *arguments)
        except BaseException as error:
            failures.append(error)
        finally:
            done.release()

    if get_ident() != threading.main_thread().ident:
        return call(name, *arguments)
    done.acquire()
    try:
        start_new_thread(run, ())
    except RuntimeError:  # There are no more threads, or the interpreter exits.
        return call(name, *arguments)
    done.acquire()
    if failures:
        raise failures.pop()


def make(name: str, *arguments: Any, by: "Callable[..., None]" = call) -> int:
    """Calls a function whose only output is a handle."""
    global _used
    _used = True
    while LATER and not getattr(HERE, "is_logging", False):
        try:
            free, pointer = LATER.pop()
        except IndexError:  # Another thread was faster.
            break
        free(pointer)
    made = c.HANDLE()
    by(name, *arguments, byref(made))
    assert made.value is not None
    return made.value


#: State of this thread: whether it is in the log callback. That can be called from within the C core, where nothing may
#: be freed, while Python's garbage collector may run anywhere.
HERE = threading.local()
#: Handles that could not be freed for that reason; freed when the next one is created.
LATER: "list[tuple[Any, int]]" = []


class Handle:
    """A pointer that is freed when nothing refers to this object any more, including calls in progress."""

    __slots__ = ("_as_parameter_", "_free", "_generation")

    def __init__(self, pointer: int, free: str) -> None:
        self._as_parameter_, self._free, self._generation = pointer, getattr(loaded(), free), _generation

    def is_usable(self) -> bool:
        """Whether this process created the handle. A forked child cannot use its parent's."""
        return self._generation == _generation

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Not freed at the end of the process, nor in a forked child, which has none of the library's threads.
        if finalizing() or not self.is_usable():
            return
        if getattr(HERE, "is_logging", False):
            LATER.append((self._free, self._as_parameter_))
        else:
            self._free(self._as_parameter_)


AnyOwner = TypeVar("AnyOwner", bound="Owner")


class Owner:
    """Base class of objects with a handle. `close`, the end of a `with` and garbage collection free it. Closing twice
    is allowed."""

    _free = ""

    def __init__(self, pointer: int) -> None:
        self._handle: Optional[Handle] = Handle(pointer, self._free)

    def _end(self) -> None:
        """Called at the end of the interpreter, after which no callback runs."""

    @property
    def _h(self) -> Handle:
        handle = getattr(self, "_handle", None)
        if handle is None:
            raise ValueError(f"the {type(self).__name__} is closed")
        if not handle.is_usable():
            raise RuntimeError(f"the {type(self).__name__} belongs to the parent process")
        return handle

    def close(self) -> None:
        """Frees the handle, once no other thread is in a call with it."""
        self._handle = None

    def __enter__(self: AnyOwner) -> AnyOwner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")

    def __repr__(self) -> str:
        handle = getattr(self, "_handle", None)
        if handle is None:
            state = "closed"
        elif not handle.is_usable():
            state = "of the parent process"
        else:
            state = self._brief()
        return f"<{type(self).__name__} {state}>" if state else f"<{type(self).__name__}>"

    def _brief(self) -> str:
        """What `repr` says about it while it is open."""
        return ""

    def _text(self, name: str, *arguments: Any) -> str:
        handle = self._h
        return str(getattr(loaded(), name)(handle, *arguments))

    def _bytes(self, name: str) -> bytes:
        handle = self._h
        return bytes(getattr(loaded(), name)(handle))


def handle_of(owner: Any, cls: "Type[Owner]") -> Handle:
    """Returns the handle of an argument, which must be a `cls`."""
    if not isinstance(owner, cls):
        raise TypeError(f"expected a {cls.__name__}, not {type(owner).__name__}")
    return owner._h


def wrap(cls: "Type[AnyOwner]", pointer: int) -> AnyOwner:
    """Creates a `cls` for an existing handle."""
    owner = cls.__new__(cls)
    Owner.__init__(owner, pointer)
    return owner


def take_buffer(name: str, *arguments: Any) -> bytes:
    """Returns the bytes that a function puts into a buffer."""
    buffer = Handle(make(name, *arguments), "gossip_buffer_free")
    return bytes(loaded().gossip_buffer_bytes(buffer))


def as_text(text: Text) -> bytes:
    path = os.fspath(text) if isinstance(text, os.PathLike) else text
    if not isinstance(path, str):
        raise TypeError(f"expected text (str), not {type(path).__name__}")
    encoded = path.encode()
    if b"\0" in encoded:
        raise ValueError("text contains a zero byte")
    return encoded


def as_optional_text(text: Optional[Text]) -> Optional[bytes]:
    return None if text is None else as_text(text)


def as_data(data: Any) -> "tuple[bytes, int]":
    if data is None or isinstance(data, (str, int)):
        raise TypeError(f"expected bytes, not {type(data).__name__}")
    data = bytes(data)
    return data, len(data)


def unsigned(value: int, bits: int = 64) -> int:
    # ctypes would truncate larger numbers.
    number = operator.index(value)
    if not 0 <= number < 2**bits:
        raise ValueError(f"{value} is out of range: expected 0 to {2**bits - 1}")
    return number


def function(what: Any, name: str) -> Any:
    """Returns an argument that must be callable: otherwise it would fail later, in a thread of the library."""
    if not callable(what):
        raise TypeError(f"{name} must be a function, not {type(what).__name__}")
    return what


def nanoseconds(span: Span) -> int:
    """Converts a time span to nanoseconds."""
    if span is None:
        return FOREVER
    if isinstance(span, datetime.timedelta):
        span = span.total_seconds()
    if not isinstance(span, numbers.Real):
        raise TypeError(f"expected a time span as seconds or a timedelta, not {type(span).__name__}")
    if not span >= 0:
        raise ValueError(f"a time span cannot be {span} s")
    return min(round(span * 1e9), FOREVER - 1) if span < 1e10 else FOREVER


# Callbacks: the library calls one function for each type, which finds the Python callable by a number.

KEPT: "dict[int, Any]" = {}
_numbers = itertools.count(1)


def keep(what: Any) -> int:
    number = next(_numbers)
    KEPT[number] = what
    return number


def make_with(what: Any, with_number: Callable[[int], Any]) -> Any:
    """Returns the result of `with_number`, called with the number of `what`, which is kept until the library frees
    it."""
    number = keep(what)
    try:
        return with_number(number)
    except BaseException:
        KEPT.pop(number, None)
        raise


def report(what: str) -> None:
    try:
        _logger.exception("%s failed", what)
    except BaseException:  # There is no caller left to report to.
        pass


def answer(reply: int, what: str, ask: Callable[[], Any]) -> bool:
    """Writes the bytes or the text that `ask` returns into `reply`; None means no."""

    def given() -> bool:
        found = ask()
        if found is None:
            return False
        loaded().gossip_reply_set(reply, *as_data(found.encode() if isinstance(found, str) else found))
        return True

    return judge(reply, what, given)


def judge(reply: int, what: str, ask: Callable[[], Any]) -> bool:
    """Returns whether `ask` returns True; any other result, and any exception, means no."""
    try:
        return ask() is True
    except BaseException as error:
        text = f"the host's {what} callback failed: {type(error).__name__}: {error}".replace("\0", " ")
        loaded().gossip_reply_fail(reply, text.encode("utf-8", "replace"))
        return False


@c.FreeCallback
def on_free(user: int) -> None:
    KEPT.pop(user, None)


# The end of the interpreter: no thread of the library may be in a callback, or enter one.

#: Running comms and nodes, and subscriptions with a callback.
LIVE: "weakref.WeakSet[Any]" = weakref.WeakSet()


def _at_exit() -> None:
    for owner in list(LIVE):
        try:
            owner._end()
        except Exception:
            report("stopping at the end of the interpreter")
    if not _used_before_fork:
        call("gossip_set_log_callback", c.LogCallback(), 0, None, c.FreeCallback())


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
