"""Tasks that differ in nothing but their inputs' bytes are estimated once, unless bytes matter."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import asdict, evolve

from paintmq.model import InputSpec, Job, ModelSpec
from paintmq.plugin.catalog import Catalog
from paintmq.plugin.watched_inputs import Looks, undigested, watched
from paintmq.task import PayloadInfo, TaskId, TaskRequest

INFO = PayloadInfo(
    name="image", size=96, digest="a" * 64, kind="array", dtype="uint8", shape=(4, 8, 3), width=8
)


def request(digest: str, **changes: Any) -> TaskRequest:
    info = evolve(INFO, digest=digest, **changes)
    return TaskRequest(id=TaskId("0" * 32), task_type="inpaint", model="brush", inputs=(info,))


def catalog(batch_key: Callable[[Job], str]) -> Catalog:
    inputs = (InputSpec(name="image"),)
    spec = ModelSpec(name="brush", implementation="b:B", inputs=inputs, batch_key=batch_key)
    return Catalog([spec])


def test_inputs_of_other_bytes_are_estimated_once_if_no_estimate_looks_at_digests() -> None:
    asked: list[int] = []

    def batch_key(job: Job) -> str:
        asked.append(job.pixels)
        return ""

    known = catalog(batch_key)

    one, other = known.check(request("a" * 64)), known.check(request("b" * 64))
    larger = known.check(request("a" * 64, size=97))

    assert one is other
    assert larger is not one
    assert len(asked) == 2
    assert not one.looks_at_digests


def test_where_an_estimate_looks_at_digests_each_task_has_its_own() -> None:
    known = catalog(lambda job: job.inputs[0].digest)

    keys = [
        list(known.check(request(digest * 64)).batch_keys.values()) for digest in ("a", "b", "a")
    ]

    assert keys == [["a" * 64], ["b" * 64], ["a" * 64]]
    again = [known.check(request(digest * 64)) for digest in ("a", "a", "b")]
    assert again[0] is again[1] is not again[2]
    assert again[0].looks_at_digests


def test_what_is_kept_of_a_task_describes_its_inputs_plainly() -> None:
    job = next(iter(catalog(lambda job: "").check(request("a" * 64)).jobs.values()))
    assert type(job.inputs[0]) is PayloadInfo


LOOKS: dict[str, Callable[[PayloadInfo], object]] = {
    "read": lambda info: info.digest,
    "compared": lambda info: info == INFO,
    "compared the other way": lambda info: [INFO].count(info),
    "hashed": hash,
    "printed": repr,
    "as a dict": asdict,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_whatever_depends_on_a_digest_is_noticed(look: Callable[[PayloadInfo], object]) -> None:
    looks = Looks()
    [info] = watched([INFO], looks)

    found = str(look(info)).replace("_WatchedInput", "PayloadInfo")

    assert looks.at_digests
    assert found == str(look(INFO))


@pytest.mark.parametrize("name", ["name", "size", "kind", "dtype", "shape", "width", "height"])
def test_all_else_may_be_looked_at(name: str) -> None:
    looks = Looks()
    [info] = watched([INFO], looks)

    assert getattr(info, name) == getattr(INFO, name)
    assert undigested(info) == undigested(INFO)
    assert not looks.at_digests


def test_a_plugin_may_make_others_of_them() -> None:
    looks = Looks()
    [info] = watched([INFO], looks)

    other = evolve(info, digest="b" * 64)

    assert other.digest == "b" * 64
    assert other != INFO
    assert [info].count("anything else") == 0  # type: ignore[arg-type]  # that is the point
