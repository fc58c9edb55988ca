"""One odd thing that is done at one of the doors, as values and as text."""

import ast
from typing import Self

from attrs import evolve, frozen


@frozen
class Case:
    """A call, and recipes for those of its arguments that are odd."""

    door: str
    """One of ``doors.DOORS``."""
    call: str
    arguments: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        if all(name.isidentifier() for name, _ in self.arguments):
            odd = ", ".join(f"{name}={recipe!r}" for name, recipe in self.arguments)
        else:
            odd = f"**{dict(self.arguments)!r}"
        return f"{self.door}.{self.call}({odd})"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the case that is written so.

        Raises:
            ValueError: it is no such text.
        """
        place, _, odd = text.partition("(")
        door, _, call = place.partition(".")
        expression = ast.parse(f"dict({odd}", mode="eval").body
        if not isinstance(expression, ast.Call) or not call:
            raise ValueError(f"{text!r} is no case: expected door.call(name='recipe', ...)")
        pairs: dict[str, str] = {}
        for word in expression.keywords:
            value = ast.literal_eval(word.value)
            pairs |= value if word.arg is None else {word.arg: value}
        return cls(door, call, tuple(sorted(pairs.items())))

    def with_argument(self, name: str, recipe: str) -> "Case":
        odd = {**self.odd(), name: recipe}
        return evolve(self, arguments=tuple(sorted(odd.items())))

    def odd(self) -> dict[str, str]:
        return dict(self.arguments)
