"""What closes itself at the end of a ``with``, and is whole as soon as it was made."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class ClosedAtTheEnd(ABC):
    """Gives a class with ``close`` the methods of a context manager."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
