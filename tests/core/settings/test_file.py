"""Settings: what is read, what is refused, and in which words."""

from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paintmq.config import Config, QueueConfig
from paintmq.errors import ConfigError
from paintmq.settings.file import load_config, load_settings
from paintmq.settings.structure import problems_in


def write(folder: Path, text: str) -> Path:
    file = folder / "paintmq.toml"
    file.write_text(text)
    return file


def refusal(folder: Path, text: str, **variables: str) -> list[str]:
    """Return what is said about a bad file, a line a problem, without the folder's name."""
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text), variables)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no settings of the user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    return tmp_path


class TestWhatIsRead:
    def test_without_a_file_everything_has_its_default(self, elsewhere: Path) -> None:
        assert load_config(None, {}) == Config()

    def test_every_key_of_an_empty_file_has_its_default(self, tmp_path: Path) -> None:
        assert load_config(write(tmp_path, ""), {}) == Config()

    def test_a_file_changes_what_it_names_and_nothing_else(self, tmp_path: Path) -> None:
        config = load_config(write(tmp_path, "[broker]\nport = 6000\n"), {})

        assert config == attrs.evolve(Config(), broker=attrs.evolve(Config().broker, port=6000))

    def test_a_queue_is_laid_over_the_default_of_its_name(self, tmp_path: Path) -> None:
        queue = load_config(write(tmp_path, "[queues.gpu-low]\nport = 7000\n"), {}).queues[
            "gpu-low"
        ]

        assert queue == attrs.evolve(Config().queues["gpu-low"], port=7000)

    def test_a_new_name_makes_a_new_queue(self, tmp_path: Path) -> None:
        config = load_config(write(tmp_path, "[queues.mine]\ncapacity = 3\n"), {})

        assert config.queues["mine"] == QueueConfig(capacity=3)
        assert len(config.queues) == len(Config().queues) + 1

    def test_false_drops_a_queue(self, tmp_path: Path) -> None:
        config = load_config(write(tmp_path, "[queues]\nserverless = false\n"), {})

        assert set(config.queues) == set(Config().queues) - {"serverless"}

    def test_a_whole_number_is_a_number_too(self, tmp_path: Path) -> None:
        assert load_config(write(tmp_path, "[timers]\nlease = 60\n"), {}).timers.lease == 60.0

    def test_router_parameters_may_be_anything_json_has(self, tmp_path: Path) -> None:
        text = "[router.parameters]\ndial = 0.5\nnames = ['a']\nnested = { on = true }\n"

        assert load_config(write(tmp_path, text), {}).router.parameters == {
            "dial": 0.5,
            "names": ["a"],
            "nested": {"on": True},
        }

    def test_the_file_in_the_current_folder_is_read(self, elsewhere: Path) -> None:
        write(elsewhere, "[limits]\nmax_tasks = 6001\n")

        assert load_config(None, {}).limits.max_tasks == 6001

    def test_a_variable_names_another_file(self, elsewhere: Path) -> None:
        write(elsewhere, "[broker]\nport = 6001\n")
        other = elsewhere / "other.toml"
        other.write_text("[broker]\nport = 6002\n")

        assert load_config(None, {"PAINTMQ_CONFIG": str(other)}).broker.port == 6002

    def test_the_users_own_file_is_the_last_resort(self, elsewhere: Path) -> None:
        own = elsewhere / "own" / "paintmq"
        own.mkdir(parents=True)
        write(own, "[broker]\nport = 6003\n")

        assert load_config(None, {}).broker.port == 6003


class TestVariables:
    @pytest.mark.parametrize(
        ("name", "text", "section", "key", "value"),
        [
            ("PAINTMQ_BROKER__PORT", "6000", "broker", "port", 6000),
            ("PAINTMQ_BROKER__INSECURE", "true", "broker", "insecure", True),
            ("PAINTMQ_BROKER__JOURNAL", "/data/j", "broker", "journal", "/data/j"),
            ("PAINTMQ_BROKER__ADMISSION", "strict", "broker", "admission", "strict"),
            ("PAINTMQ_WORKERS__COUNT", "0", "workers", "count", 0),
            ("PAINTMQ_WORKERS__COUNT", "", "workers", "count", None),
            ("PAINTMQ_WORKERS__PINNED", "a, b", "workers", "pinned", ("a", "b")),
            ("PAINTMQ_WORKERS__PINNED", '["a,b"]', "workers", "pinned", ("a,b",)),
            ("PAINTMQ_PLUGINS__ALLOW", "x", "plugins", "allow", ("x",)),
            ("PAINTMQ_TIMERS__LEASE", "60.5", "timers", "lease", 60.5),
            ("PAINTMQ_ROUTER__PARAMETERS__DIAL", "0.5", "router", "parameters", {"dial": 0.5}),
            ("PAINTMQ_ROUTER__PARAMETERS__WORD", "some", "router", "parameters", {"word": "some"}),
            ("PAINTMQ_WEIGHTS__PATHS", "{'a.pt' = '/x'}", "weights", "paths", {"a.pt": "/x"}),
        ],
    )
    def test_a_variable_is_read_as_the_type_that_is_wanted(
        self, tmp_path: Path, name: str, text: str, section: str, key: str, value: object
    ) -> None:
        config = load_config(write(tmp_path, ""), {name: text})

        assert getattr(getattr(config, section), key) == value

    def test_a_variable_overrides_the_file(self, tmp_path: Path) -> None:
        file = write(tmp_path, "[broker]\nport = 6000\n")

        assert load_config(file, {"PAINTMQ_BROKER__PORT": "6001"}).broker.port == 6001

    @pytest.mark.parametrize("queue", ["GPU_HIGH", "GPU-HIGH", "gpu-high"])
    def test_a_queue_is_found_with_dashes_and_without(self, tmp_path: Path, queue: str) -> None:
        config = load_config(write(tmp_path, ""), {f"PAINTMQ_QUEUES__{queue}__PORT": "6005"})

        assert config.queues["gpu-high"].port == 6005

    def test_a_queue_of_the_file_can_be_overridden(self, tmp_path: Path) -> None:
        file = write(tmp_path, "[queues.my-own]\n")

        config = load_config(file, {"PAINTMQ_QUEUES__MY_OWN__CAPACITY": "5"})

        assert config.queues["my-own"].capacity == 5

    def test_other_programs_variables_are_left_alone(self, tmp_path: Path) -> None:
        variables = {"PAINTMQ_LOG": "debug", "HOME": "/", "OTHER__PORT": "1"}

        assert load_config(write(tmp_path, ""), variables) == Config()

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("BROKER__PROT", "1", "broker.prot: unknown key; did you mean 'broker.port'?"),
            ("BROKR__PORT", "1", "brokr: unknown key; did you mean 'broker'?"),
            ("BROKER__PORT__X", "1", "broker.port has no keys of its own"),
            ("BROKER__PORT", "high", "broker.port: expected a whole number, got 'high'"),
            ("BROKER__INSECURE", "yes", "broker.insecure: expected true or false, got 'yes'"),
            ("QUEUES__GPU__PORT", "1", "queues.gpu: unknown; there are gpu-high, gpu-medium,"),
        ],
    )
    def test_a_bad_variable_is_named(self, tmp_path: Path, name: str, text: str, said: str) -> None:
        (line,) = refusal(tmp_path, "", **{f"PAINTMQ_{name}": text})

        assert line.startswith(f"PAINTMQ_{name}: {said}")


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[broker]\nprot = 1", "broker.prot: unknown key; did you mean 'broker.port'?"),
            ("[broke]", "broke: unknown key; did you mean 'broker'?"),
            ("[broker]\nlease = 1", "broker.lease: unknown key; did you mean 'timers.lease'?"),
            ("[router]\nzzz = 1", "router.zzz: unknown key; valid keys here: name, parameters"),
            ("[broker]\nport = '1'", "broker.port: expected a whole number, got '1'"),
            ("[broker]\nport = 1.0", "broker.port: expected a whole number, got 1.0"),
            ("[broker]\nport = true", "broker.port: expected a whole number, got true"),
            ("[broker]\ninsecure = 1", "broker.insecure: expected true or false, got 1"),
            ("[router]\nname = 4", "router.name: expected text, got 4"),
            ("[timers]\nlease = '9'", "timers.lease: expected a number, got '9'"),
            ("[timers]\nlease = false", "timers.lease: expected a number, got false"),
            ("[workers]\ncount = 'x'", "workers.count: expected a whole number, got 'x'"),
            ("[workers]\npinned = 'lama'", "workers.pinned: expected a list of texts"),
            ("[workers]\npinned = [1]", "workers.pinned: expected a list of texts"),
            ("[broker]\nport = 70000", "broker.port = 70000 is no port"),
            ("[queues.a]\ncapacity = 0", "queues.a.capacity = 0 must be greater than 0"),
            (
                "[queues.a]\ntransport = 'routr'",
                "queues.a.transport: 'routr' is none of 'router', 'pushpull'; did you mean"
                " 'router'?",
            ),
            ("[queues.a]\neffort = 'x'", "queues.a.effort: 'x' is none of 'light', 'intensive'"),
            ("broker = 3", "broker: expected a table"),
            ("queues = 3", "queues: expected a table, got 3"),
            ("[queues]\na = 3", "queues.a: expected a table"),
            ("[router.parameters]\nwhen = 2020-01-01", "router.parameters.when: dates"),
            ("[broker", "is not valid TOML: "),
        ],
    )
    def test_what_is_wrong_is_named_with_file_key_and_remedy(
        self, tmp_path: Path, text: str, said: str
    ) -> None:
        (line,) = refusal(tmp_path, text)

        assert line.startswith(f"paintmq.toml: {said}")

    def test_all_problems_are_told_at_once(self, tmp_path: Path) -> None:
        lines = refusal(tmp_path, "[broker]\nprot = 1\nport = 'x'\n[router]\nname = 1\n[x]\n")

        assert len(lines) == 4

    def test_a_file_that_is_named_must_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"gone\.toml: no such file"):
            load_config(tmp_path / "gone.toml", {})

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
            load_config(tmp_path, {})

    def test_text_that_is_not_utf_8_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "paintmq.toml"
        file.write_bytes(b"\xff")

        with pytest.raises(ConfigError, match="is not valid TOML"):
            load_config(file, {})


class TestConflicts:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[broker]\nport = 5555", "queues.gpu-high.port = 5555 is also broker.port"),
            (
                "[queues.a]\ntransport = 'pushpull'\nadvertise_port = 7000",
                "queues.a.advertise_port = 7000 needs queues.a.transport = 'router'",
            ),
            ("[queues.a]\nport = 5556", "queues.a.port = 5556 is also queues.gpu-medium.port"),
            ("[broker]\nhost = '0.0.0.0'", "broker.host = '0.0.0.0' lets anyone"),
            ("[timers]\nlease = 9", "timers.lease = 9 must be at least twice timers.heartbeat = 5"),
            ("[timers]\nretry_first = 99", "timers.retry_first = 99 must not be greater than"),
            ("[limits]\nmax_task_bytes = 5", "limits.max_payload_bytes = "),
            ("[queues.cpu-light]\ngpu_memory_mb = 9", "queues.cpu-light.gpu_memory_mb = 9 needs"),
        ],
    )
    def test_settings_that_cannot_both_be_meant_are_refused(
        self, tmp_path: Path, text: str, said: str
    ) -> None:
        (line,) = refusal(tmp_path, text)

        assert line.startswith(f"paintmq.toml: {said}")

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
    def test_loopback_needs_no_consent(self, tmp_path: Path, host: str) -> None:
        file = write(tmp_path, f"[broker]\nhost = '{host}'\n")

        assert load_config(file, {}).broker.host == host

    @pytest.mark.parametrize("guard", ["insecure = true", "keys = 'folder'"])
    def test_keys_or_consent_open_other_addresses(self, tmp_path: Path, guard: str) -> None:
        file = write(tmp_path, f"[broker]\nhost = '0.0.0.0'\n{guard}\n")

        assert load_config(file, {}).broker.host == "0.0.0.0"

    def test_any_number_of_queues_may_ask_for_a_free_port(self, tmp_path: Path) -> None:
        load_config(write(tmp_path, "[queues.a]\nport = 0\n[queues.b]\nport = 0\n"), {})

    def test_there_must_be_a_queue(self, tmp_path: Path) -> None:
        names = "".join(f"{name} = false\n" for name in Config().queues)

        assert refusal(tmp_path, f"[queues]\n{names}") == [
            "paintmq.toml: queues: there must be at least one"
        ]

    def test_a_conflict_that_a_variable_makes_names_the_variable(self, tmp_path: Path) -> None:
        (line,) = refusal(tmp_path, "", PAINTMQ_BROKER__PORT="5555")

        assert line.startswith("PAINTMQ_BROKER__PORT: queues.gpu-high.port = 5555")


class TestOrigins:
    def test_every_value_knows_who_set_it(self, tmp_path: Path) -> None:
        file = write(tmp_path, "[broker]\nport = 6000\nhost = 'localhost'\n")

        settings = load_settings(file, {"PAINTMQ_BROKER__PORT": "6001"})

        assert settings.origin(("broker", "port")) == "PAINTMQ_BROKER__PORT"
        assert settings.origin(("broker", "host")) == str(file)
        assert settings.origin(("broker", "journal")) == "default"

    def test_other_defaults_may_be_given(self, tmp_path: Path) -> None:
        base = Config(queues={"only": QueueConfig(port=1)})

        settings = load_settings(write(tmp_path, "[queues.only]\ncores = 2\n"), {}, base=base)

        assert settings.config.queues == {"only": QueueConfig(port=1, cores=2)}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(section=st.sampled_from([each.name for each in attrs.fields(Config)]), value=json_values)
def test_whatever_a_section_holds_it_is_read_or_refused_in_words(
    section: str, value: object
) -> None:
    for line in problems_in({"queues": {}, section: value}):
        assert section in line
