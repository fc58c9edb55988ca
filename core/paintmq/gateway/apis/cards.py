"""The broker's models as an API sees them: what each takes, and whether a worker could run it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

from paintmq.client.async_client import AsyncClient
from paintmq.client.task import Input, Task
from paintmq.errors import UnknownModelError
from paintmq.plugin.options import nearest
from paintmq.task import Json

FRESH = 2.0
"""Seconds for which the broker is not asked again: pages ask for the models several times a
second."""


@frozen(kw_only=True)
class ModelCard:
    """One model."""

    name: str
    summary: str = ""
    task_types: tuple[str, ...] = ("inpaint",)
    inputs: Mapping[str, Mapping[str, Json]] = field(factory=dict[str, Mapping[str, Json]])
    """By name: ``kind`` (image, mask …) and ``required``."""
    options: Mapping[str, Mapping[str, Json]] = field(factory=dict[str, Mapping[str, Json]])
    """By name: ``kind``, ``default``, ``limits``, ``help``."""
    served: bool = False
    """Whether a worker that is connected could run it."""

    @property
    def takes_picture(self) -> bool:
        return "image" in self.inputs

    @property
    def takes_mask(self) -> bool:
        return "mask" in self.inputs

    @property
    def takes_words(self) -> bool:
        return "prompt" in self.options

    @property
    def enlarges(self) -> bool:
        return "scale" in self.options and self.takes_picture and not self.takes_mask

    @property
    def generates(self) -> bool:
        """Whether it can make a picture from words alone, if need be on an empty canvas."""
        needed = {name for name, each in self.inputs.items() if each.get("required")}
        return self.takes_words and needed <= ({"image", "mask"} if self.takes_mask else set())

    def task(
        self, inputs: Mapping[str, Input], options: Mapping[str, Json], *, tenant: str = ""
    ) -> Task:
        """Return a task for this model.

        Raises:
            InvalidTaskError: it cannot be one.
        """
        return Task(
            task_type=self.task_types[0],
            config={**options, "model": self.name},
            inputs=inputs,
            tenant=tenant,
            cancel_on_disconnect=False,
        )


@define
class ModelCards:
    """The models that the broker knows, asked for now and then."""

    client: AsyncClient
    _cards: dict[str, ModelCard] = field(factory=dict[str, ModelCard], init=False)
    _until: float = field(default=0.0, init=False)
    _asking: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    async def known(self) -> Mapping[str, ModelCard]:
        """Return all models by name."""
        async with self._asking:
            clock = asyncio.get_running_loop().time
            if not self._cards or clock() >= self._until:
                models: Any = await self.client.ask("models")
                workers: Any = await self.client.ask("workers")
                served = {name for worker in workers for name in worker.get("models", ())}
                self._cards = {each["name"]: _card(each, served) for each in models}
                self._until = clock() + FRESH
        return self._cards

    async def offered(self) -> Mapping[str, ModelCard]:
        """Return the models to list: those that a worker could run, or all while there is none."""
        known = await self.known()
        return {name: card for name, card in known.items() if card.served} or known

    async def get(self, name: str) -> ModelCard:
        """Return the model.

        Raises:
            UnknownModelError: there is none of that name.
        """
        known = await self.known()
        if (card := known.get(name)) is None:
            raise UnknownModelError(
                f"there is no model {name!r}{nearest(name, sorted(known))}"
                f" (models: {', '.join(sorted(await self.offered()))})"
            )
        return card


def _card(told: Mapping[str, Any], served: set[str]) -> ModelCard:
    return ModelCard(
        name=told["name"],
        summary=told.get("summary", ""),
        task_types=tuple(told.get("task_types", ())) or ("inpaint",),
        inputs={each["name"]: each for each in told.get("inputs", ())},
        # A broker of an earlier version does not tell them.
        options={each["name"]: each for each in told.get("options", ())},
        served=told["name"] in served,
    )
