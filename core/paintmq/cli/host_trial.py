"""Whether a model host starts on this machine: one is started, and stopped again."""

import os
import select
import tempfile
import time
from typing import TYPE_CHECKING

import msgspec

from paintmq.errors import ConfigError
from paintmq.interpreter import module_path
from paintmq.worker.agent.host_process import HostProcess
from paintmq.worker.channel.messages import Configure, HostReady

if TYPE_CHECKING:
    from paintmq.config import Config

PATIENCE = 30.0
"""Seconds to wait for it; it takes one, unless the machine is overloaded."""


def host_objection(config: "Config", *, patience: float = PATIENCE) -> str:
    """Return why a model host fails to start with these settings; empty when one starts."""
    environment = {"CUDA_VISIBLE_DEVICES": ""}  # no driver is needed to see whether it starts
    try:
        host = HostProcess.start(
            "doctor", environment=environment, max_payload_bytes=config.limits.max_payload_bytes
        )
    except ConfigError as error:
        return f"cannot be started: {error}"
    except OSError as error:
        return f"cannot be started: {error} (temporary files: {_temporary_folder()})"
    how = ""
    try:
        host.send(_orders(config, host.scratch))
        how = _wait_until_ready(host, time.monotonic() + patience)
    finally:
        host.close()
    return ": ".join(filter(None, [how, *host.last_lines[-1:]])) if how else ""


def _wait_until_ready(host: HostProcess, until: float) -> str:
    while (left := until - time.monotonic()) > 0:
        select.select([host.socket.fileno(), host.stderr_descriptor], [], [], min(left, 0.1))
        host.read_stderr()
        if any(isinstance(delivery.message, HostReady) for delivery in host.read()):
            return ""
        if (how := host.exit_description()) is not None:
            return how
    return "is not ready after a while"


def _orders(config: "Config", scratch: str) -> Configure:
    plugins = config.plugins
    return Configure(
        worker=f"doctor-{os.getpid()}",
        device="cpu",
        scratch=scratch,
        path=module_path(),
        plugins={
            "disable": plugins.disable,
            "allow": plugins.allow,
            "settings": plugins.settings,
        },
        weights=msgspec.to_builtins(config.weights),
        limits=msgspec.to_builtins(config.limits),
    )


def _temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return "no folder can be written; set TMPDIR"
