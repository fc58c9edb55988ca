"""The broker's state machine: tasks, leases and sessions. Pure."""

from paintmq.broker.machine.credentials import NO_KEYS, Credentials
from paintmq.broker.machine.machine import BrokerMachine
from paintmq.broker.machine.step import Send, Step

__all__ = ["NO_KEYS", "BrokerMachine", "Credentials", "Send", "Step"]
