"""A node whose links to the broker's queues run through the chaos run's proxies.

Usage: node.py NAME CONFIG QUEUE_PORT
"""

import signal
import sys
import threading
from pathlib import Path

from paintmq.node.supervisor import NodeSupervisor
from paintmq.plugin.manager import PluginManager
from paintmq.settings.file import load_config


def main(name: str, config: str, port: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = load_config(Path(config))
    endpoints = dict.fromkeys(settings.queues, f"tcp://127.0.0.1:{port}")
    plugins = PluginManager.installed(settings.plugins)
    supervisor = NodeSupervisor(settings, plugins, queue_endpoints=endpoints, name=name)
    supervisor.start()
    try:
        stop.wait()
    finally:
        supervisor.stop(grace=5.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
