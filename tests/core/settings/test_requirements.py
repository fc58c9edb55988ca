"""Queues in the short form: a port and a table of requirements."""

from pathlib import Path
from typing import Any

import pytest

from paintmq import QueueManager
from paintmq.config import DEFAULT_QUEUE_CONFIGS, QueueConfig
from paintmq.errors import ConfigError
from paintmq.settings.file import load_config, load_settings
from paintmq.settings.requirements import queues_from

THE_USERS: dict[str, Any] = {
    "gpu-high": {
        "port": 5555,
        "requirements": {
            "gpu": True,
            "gpu_memory": 8192,
            "models": ["sd15", "sd21", "sdxl", "lama"],
        },
    }
}
ITS_QUEUE = QueueConfig(
    port=5555, device="cuda", gpu_memory_mb=8192, models=("sd15", "sd21", "sdxl", "lama")
)


def told(queues: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        queues_from(queues)
    return str(caught.value).splitlines()


def test_the_users_dictionary_is_read_as_it_stands() -> None:
    assert QueueManager(queue_configs=THE_USERS).queues == {"gpu-high": ITS_QUEUE}


def test_the_queues_of_a_program_are_all_there_are_and_lie_over_no_default() -> None:
    found = queues_from({"gpu-low": {"requirements": {"cpu_cores": 3, "memory": 512}}, "b": {}})

    assert found == {"gpu-low": QueueConfig(cores=3, memory_mb=512), "b": QueueConfig()}


def test_a_program_may_mix_dictionaries_and_values() -> None:
    mine = QueueConfig(port=7001, models=("lama",))

    assert list(queues_from({"mine": mine, **THE_USERS}).values()) == [mine, ITS_QUEUE]


def test_a_file_says_the_same_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "paintmq.toml"
    file.write_text(
        "[queues.gpu-low.requirements]\ngpu = true\ngpu_memory = 6000\nmodels = ['sd*']\n"
    )

    settings = load_settings(file, {})

    low = settings.config.queues["gpu-low"]
    assert (low.gpu_memory_mb, low.models, low.port) == (6000, ("sd*",), 5557)
    assert settings.origin(("queues", "gpu-low", "gpu_memory_mb")) == str(file)


@pytest.mark.parametrize(
    ("requirements", "line"),
    [
        ("gpu = 1", "gpu: expected true or false, got 1"),
        ("gpu_memory = '8 GB'", "gpu_memory: expected a whole number, got '8 GB'"),
        ("models = 'lama'", "models: expected a list of texts"),
        ("effort = 'lite'", "effort: 'lite' is none of"),
        ("vram = 5", "vram: unknown requirement; valid ones: gpu, gpu_memory"),
        ("cores = 1\ncpu_cores = 2", "cpu_cores says again what queues.gpu-low.requirements.cores"),
    ],
)
def test_what_is_wrong_is_named_by_the_path_that_was_written(
    tmp_path: Path, requirements: str, line: str
) -> None:
    file = tmp_path / "paintmq.toml"
    file.write_text(f"[queues.gpu-low.requirements]\n{requirements}\n")

    with pytest.raises(ConfigError) as caught:
        load_config(file, {})

    assert f"{file}: queues.gpu-low.requirements.{line}" in str(caught.value)


def test_a_requirement_beside_the_key_it_stands_for_is_refused() -> None:
    both = {"port": 1, "memory_mb": 5, "requirements": {"memory": 6}}

    assert told({"q": both}) == [
        "queue_configs: queues.q.requirements.memory says again what queues.q.memory_mb says: "
        "keep one of them"
    ]


def test_requirements_that_are_no_table_are_refused() -> None:
    assert told({"q": {"requirements": ["gpu"]}}) == [
        "queue_configs: queues.q.requirements: expected a table, got ['gpu']"
    ]


def test_memory_of_a_gpu_wants_a_gpu() -> None:
    (line,) = told({"q": {"requirements": {"gpu_memory": 8192}}})

    assert "needs queues.q.device = 'cuda'" in line


def test_two_queues_on_one_port_are_refused() -> None:
    assert told({"a": {"port": 7001}, "b": {"port": 7001}}) == [
        "queue_configs: queues.b.port = 7001 is also queues.a.port"
    ]


def test_no_queue_at_all_is_refused() -> None:
    assert told({}) == ["queue_configs: queues: there must be at least one"]


def test_queues_that_are_no_table_are_told_by_the_file(tmp_path: Path) -> None:
    file = tmp_path / "paintmq.toml"
    file.write_text("queues = 3\n")

    with pytest.raises(ConfigError, match="queues: expected a table, got 3"):
        load_config(file, {})


def test_the_default_queues_are_as_they_were() -> None:
    assert queues_from(DEFAULT_QUEUE_CONFIGS) == dict(DEFAULT_QUEUE_CONFIGS)
