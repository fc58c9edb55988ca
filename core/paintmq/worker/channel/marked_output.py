"""What a model host writes to its standard output and error, and which tasks each line is of. Pure.

What Python prints and logs is written in marked pieces: ``RS level;task,task US text RS US``. What
lies between two pieces was written by a library below Python, a child process, or a dying
interpreter. A piece is a single write of at most ``PIECE`` bytes, which no other can interrupt.
"""

import re
from collections.abc import Sequence

from attrs import define, field, frozen

PIECE = 4096
"""PIPE_BUF of Linux: a write of so many bytes is never mixed with others."""
MOST_NAMED = 64
"""Tasks that a mark names; of a batch that is larger, the agent knows the tasks."""
LINE_LENGTH = 2_000
"""Bytes of a line that are kept; progress bars and binary output may contain no newline at all."""
_MOST_PARTIAL = 64
"""Lines that may be unfinished at once: one for each mark."""

_MARK = re.compile(rb"\x1e([0-9a-f;,*]*)\x1f")
_TASK = re.compile(r"\b[0-9a-f]{32}\b")
_LONGEST_MARK = MOST_NAMED * 33 + 8
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*\x07|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
END = b"\x1e\x1f"


def mark_of(tasks: Sequence[str], level: int) -> bytes:
    """Return what precedes the words of these tasks; ``level``: of ``logging``, 0 for a print."""
    names = ",".join(tasks) if len(tasks) <= MOST_NAMED else "*"
    return f"\x1e{level};{names}\x1f".encode()


def pieces(mark: bytes, data: bytes) -> list[bytes]:
    """Return what to write, each in one go."""
    data = data.replace(b"\x1e", b" ").replace(b"\x1f", b" ")
    room = PIECE - len(mark) - len(END)
    return [mark + data[at : at + room] + END for at in range(0, len(data), room)]


@frozen
class OutputLine:
    """A line that a host has written."""

    text: str
    level: int = 0
    """Of ``logging``; 0: it was printed."""
    tasks: tuple[str, ...] | None = None
    """Those it is of: one, or all of a batch; none: of no task. None: of what the host has."""


@define
class _Partial:
    begun: bytes = b""
    left_out: int = 0
    """Bytes that were too many."""


@define
class OutputReader:
    """Makes lines of what comes out of the pipe."""

    _unread: bytes = field(default=b"", init=False)
    """The beginning of a mark."""
    _mark: bytes = field(default=b"", init=False)
    _partial: dict[bytes, _Partial] = field(factory=dict[bytes, _Partial], init=False)

    def feed(self, data: bytes) -> list[OutputLine]:
        """Return the lines that are complete with these bytes."""
        data = self._unread + data
        cut = data.rfind(b"\x1e")
        unfinished = cut >= 0 and b"\x1f" not in data[cut:] and len(data) - cut < _LONGEST_MARK
        data, self._unread = (data[:cut], data[cut:]) if unfinished else (data, b"")
        first, *rest = _MARK.split(data)
        lines = self._take(first)
        for mark, text in zip(rest[::2], rest[1::2], strict=True):
            self._mark = mark
            lines += self._take(text)
        return lines

    def flush(self) -> list[OutputLine]:
        """Return what was begun and not ended."""
        partial, self._partial = self._partial, {}
        return [_line(mark, each) for mark, each in partial.items() if each.begun]

    def _take(self, text: bytes) -> list[OutputLine]:
        if not text:
            return []
        partial = self._partial.pop(self._mark, None) or _Partial()
        lines: list[OutputLine] = []
        *ended, rest = text.split(b"\n")
        for each in ended:
            _extend(partial, each)
            lines.append(_line(self._mark, partial))
            partial = _Partial()
        _extend(partial, rest)
        if partial.begun or partial.left_out:
            self._partial[self._mark] = partial
            if len(self._partial) > _MOST_PARTIAL:
                oldest = next(iter(self._partial))
                lines.append(_line(oldest, self._partial.pop(oldest)))
        return lines


def _extend(partial: _Partial, text: bytes) -> None:
    """Add to a line what a terminal would show of it: what follows a carriage return overwrites."""
    if b"\r" in text.rstrip(b"\r"):
        partial.begun, partial.left_out = b"", 0
        text = text.rstrip(b"\r").rpartition(b"\r")[2]
    elif partial.begun.endswith(b"\r") and text:
        partial.begun, partial.left_out = b"", 0
    room = max(0, LINE_LENGTH - len(partial.begun))
    partial.begun += text[:room]
    partial.left_out += len(text) - len(text[:room])


def _line(mark: bytes, partial: _Partial) -> OutputLine:
    text = _CONTROL.sub("", partial.begun.decode(errors="replace")).rstrip()
    if partial.left_out:
        text += f" … ({partial.left_out} bytes more)"
    level, separator, names = mark.decode().partition(";")
    if not separator or names == "*":
        return OutputLine(text, _number(level), None)
    return OutputLine(text, _number(level), tuple(_TASK.findall(names)))


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= 3 else 0
