"""The part of a model's contract that needs no model: its manifest, its spec and its options."""

from collections.abc import Mapping
from typing import ClassVar

import pytest

from paintmq.errors import InvalidOptionError, InvalidTaskError
from paintmq.model import Job, ModelSpec, Needs
from paintmq.plugin.catalog import Catalog
from paintmq.plugin.options import describe_options, options_to_json, parse_options
from paintmq.task import Json, PayloadInfo, TaskId, TaskRequest
from paintmq.testing.plugin_contract import PluginContract


class SpecContract(PluginContract):
    """Tests for what the broker sees of one model of one plugin."""

    model: ClassVar[str] = ""
    """Name of the model, where the plugin has several."""
    options: ClassVar[Mapping[str, Json]] = {}
    """Options of the tasks the tests make; what makes them quick."""

    @classmethod
    def spec(cls) -> ModelSpec:
        specs = cls.plugins().catalog().specs
        if cls.model:
            return specs[cls.model]
        (only,) = specs.values()
        return only

    def test_the_spec_describes_itself(self) -> None:
        spec = self.spec()

        assert spec.summary, f"{spec.name} has no summary for `paintmq models list`"
        assert spec.licence, f"{spec.name} does not say what its licence is"
        if "inpaint" in spec.task_types:
            masks = [each.name for each in spec.inputs if each.kind == "mask"]
            assert masks, f'{spec.name} does "inpaint" tasks, the default, but takes no mask'

    @pytest.mark.parametrize("megapixels", [0, 1, 100])
    def test_estimates_hold_for_any_size(self, megapixels: int) -> None:
        spec, options = self.spec(), parse_options(self.spec().options, self.options)
        side = int((megapixels * 1e6) ** 0.5)
        inputs = tuple(
            PayloadInfo(name=i.name, size=1, digest="", kind="file", width=side, height=side)
            for i in spec.inputs
        )

        for device in spec.devices:
            job = Job(device=device, options=options, inputs=inputs)
            try:
                needs = spec.needs(job)
            except InvalidTaskError as error:
                assert str(error), "a refusal needs words"  # noqa: PT017 -- either may happen
                continue
            assert isinstance(needs, Needs)
            assert min(needs.memory_mb, needs.gpu_memory_mb) >= 0
            assert needs.cores >= 1
            assert spec.run_seconds(job) >= 0
            assert spec.needs(job) == needs, "needs must depend on nothing but the job"
            if spec.batch_key is not None:
                assert spec.batch_key(job) == spec.batch_key(job)

    # ---- options -------------------------------------------------------------------------------

    def test_options_go_out_as_json_and_come_back(self) -> None:
        options = parse_options(self.spec().options, self.options)

        assert parse_options(self.spec().options, options_to_json(options)) == options

    def test_every_option_is_documented(self) -> None:
        undocumented = [
            each.name for each in describe_options(self.spec().options) if not each.help
        ]

        assert not undocumented, f'give {", ".join(undocumented)} a metadata={{"help": ...}}'

    def test_an_unknown_option_is_refused_by_name(self) -> None:
        request = TaskRequest(
            id=TaskId("0" * 32),
            task_type="plugin",
            model=self.spec().name,
            options={**self.options, "no_such_option": 1},
        )

        with pytest.raises(InvalidOptionError, match="no_such_option"):
            Catalog([self.spec()]).check(request)

    def test_an_option_of_a_wrong_kind_is_refused_by_name(self) -> None:
        for each in describe_options(self.spec().options):
            if each.kind == "any JSON value":
                continue
            with pytest.raises(InvalidOptionError, match=each.name):
                parse_options(
                    self.spec().options, {**self.options, each.name: [{"neither": "this"}]}
                )
