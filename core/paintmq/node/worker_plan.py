"""Which workers a machine gets, and what each is told: from settings and capabilities alone."""

from collections.abc import Mapping

import msgspec
from attrs import frozen

from paintmq.config import Config
from paintmq.errors import ConfigError
from paintmq.interpreter import module_path
from paintmq.model import ModelSpec
from paintmq.node.capabilities import Capabilities, home_queue, offer
from paintmq.node.gpus import Gpu
from paintmq.task import DeviceKind
from paintmq.transport.key_files import PeerKey
from paintmq.worker.agent.agent import AgentSetup
from paintmq.worker.channel.messages import Configure
from paintmq.worker.channel.spec_outline import outline_of
from paintmq.worker.machine.profile import WorkerProfile, WorkerTimers

MODELS_SHARE = 0.7
"""Of a worker's memory that models may fill; the rest is for images and intermediate results."""
GPU_MODELS_SHARE = 0.9
GROWTH_SHARE = 0.25
"""A warm host that has grown by this share of its memory is replaced."""
GROWTH_LEAST_MB = 1024


@frozen(kw_only=True)
class WorkerPlan:
    """The workers of one node."""

    config: Config
    specs: Mapping[str, ModelSpec]
    capabilities: Capabilities
    node: str
    queue_endpoints: Mapping[str, str]
    worker_timers: WorkerTimers
    key: PeerKey | None = None
    """What its workers show to the broker."""

    def setups(self) -> list[AgentSetup]:
        """Return one setup a worker: GPUs first, then the CPU.

        By default one a GPU and one for the CPU, as far as this node's key is for a queue of that
        device; ``workers.count`` sets the number, taken in that order; further ones share the CPU.

        Raises:
            ConfigError: no queue is meant for a device of this node.
        """
        gpus = self.capabilities.gpus
        count = self.config.workers.count
        if count is None:
            gpus = gpus if self._may_serve("cuda") else ()
            count = len(gpus) + self._may_serve("cpu")
            if not count:
                self._home("cpu")  # says what is wrong
        on_cpu = max(count - len(gpus), 0)
        return [
            *(self._on_gpu(index, gpu, sharing=count) for index, gpu in enumerate(gpus[:count])),
            *(self._on_cpu(index, of=on_cpu, sharing=count) for index in range(on_cpu)),
        ]

    def _on_gpu(self, index: int, gpu: Gpu, *, sharing: int) -> AgentSetup:
        offered = offer(self.specs, "cuda")
        cores = self.config.workers.threads or self.capabilities.cores
        memory_mb = self.capabilities.memory_mb // sharing
        budget = self.config.workers.memory_mb or int(gpu.memory_mb * GPU_MODELS_SHARE)
        profile = WorkerProfile(
            name=f"{self.node}/cuda-{index}",
            node=self.node,
            queue=self._home("cuda", gpu.memory_mb),
            device="cuda",
            device_name=gpu.name,
            gpu_memory_mb=gpu.memory_mb,
            memory_mb=memory_mb,
            cores=cores,
            models=offered.models,
            unavailable=offered.unavailable,
            credit=1 + self.config.workers.prefetch,
            pinned=self.config.workers.pinned,
            budget_mb=budget,
            growth_mb=max(int(memory_mb * GROWTH_SHARE), GROWTH_LEAST_MB),
            idle_exit=self.config.workers.idle_exit,
        )
        # Restricting by UUID, not by number: the child sees one device, whatever the order.
        return self._setup(profile, {"CUDA_VISIBLE_DEVICES": gpu.uuid}, cores)

    def _on_cpu(self, index: int, *, of: int, sharing: int) -> AgentSetup:
        offered = offer(self.specs, "cpu")
        threads = self.config.workers.threads or max(self.capabilities.cores // of, 1)
        memory_mb = self.capabilities.memory_mb // sharing
        profile = WorkerProfile(
            name=f"{self.node}/cpu-{index}",
            node=self.node,
            queue=self._home("cpu"),
            device="cpu",
            memory_mb=memory_mb,
            cores=threads,
            models=offered.models,
            unavailable=offered.unavailable,
            credit=1 + self.config.workers.prefetch,
            pinned=self.config.workers.pinned,
            budget_mb=self.config.workers.memory_mb or int(memory_mb * MODELS_SHARE),
            growth_mb=max(int(memory_mb * GROWTH_SHARE), GROWTH_LEAST_MB),
            idle_exit=self.config.workers.idle_exit,
        )
        return self._setup(profile, {"CUDA_VISIBLE_DEVICES": ""}, threads)

    def _home(self, device: DeviceKind, gpu_memory_mb: int = 0) -> str:
        served = self._key_queues
        queues = {
            name: queue
            for name, queue in self.config.queues.items()
            if name in self.queue_endpoints and (served is None or name in served)
        }
        home = home_queue(
            queues, device, cores=self.capabilities.cores, gpu_memory_mb=gpu_memory_mb
        )
        if not home:
            raise ConfigError(
                f"no queue is for {device} workers (queues"
                f"{'' if served is None else ' that the key is for'}: "
                f"{', '.join(queues) or 'none'});"
                f" add one with device = {device!r}, or set workers.count"
            )
        return home

    def home_of(self, profile: WorkerProfile) -> tuple[str, str]:
        """Return the queue that such a worker connects to, and its address.

        Raises:
            ConfigError: no queue is meant for its device.
        """
        queue = self._home(profile.device, profile.gpu_memory_mb)
        return queue, self.queue_endpoints[queue]

    def _may_serve(self, device: DeviceKind) -> bool:
        """Return whether the key is for a queue of that device; one without limits is for all."""
        if self._key_queues is None:
            return True
        queues = self.config.queues
        return any(queues[name].device == device for name in self._key_queues if name in queues)

    @property
    def _key_queues(self) -> tuple[str, ...] | None:
        return self.key.terms.queues if self.key is not None else None

    def _setup(
        self, profile: WorkerProfile, environment: dict[str, str], threads: int
    ) -> AgentSetup:
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[variable] = str(threads)
        plugins = self.config.plugins
        configure = Configure(
            worker=profile.name,
            device=profile.device,
            device_name=profile.device_name,
            device_memory_mb=profile.gpu_memory_mb or profile.memory_mb,
            threads=threads,
            scratch="",
            path=module_path(),
            models=tuple(outline_of(self.specs[name]) for name in profile.models),
            plugins={
                "disable": plugins.disable,
                "allow": plugins.allow,
                "settings": plugins.settings,
            },
            weights=msgspec.to_builtins(self.config.weights),
            limits=msgspec.to_builtins(self.config.limits),
        )
        return AgentSetup(
            profile=profile,
            specs=self.specs,
            endpoint=self.queue_endpoints[profile.queue],
            key=self.key,
            configure=configure,
            environment=environment,
            timers=self.worker_timers,
        )
