"""The ports of a broker inside a program: its own, unless its settings name others."""

from attrs import evolve

from paintmq.config import DEFAULT_QUEUE_CONFIGS, BrokerConfig, Config, QueueConfig


def on_ports_of_its_own(config: Config, *, keep_queues: bool = False) -> Config:
    """Return the settings with any free port where they have the service's.

    ``keep_queues``: the ports of the queues were named, even where they are the usual ones.
    """
    broker = config.broker
    if broker.port == BrokerConfig().port:
        broker = evolve(broker, port=0)
    if keep_queues:
        return evolve(config, broker=broker)
    queues = {
        name: evolve(queue, port=0) if _has_usual_port(name, queue) else queue
        for name, queue in config.queues.items()
    }
    return evolve(config, broker=broker, queues=queues)


def _has_usual_port(name: str, queue: QueueConfig) -> bool:
    usual = DEFAULT_QUEUE_CONFIGS.get(name)
    return usual is not None and usual.port == queue.port
