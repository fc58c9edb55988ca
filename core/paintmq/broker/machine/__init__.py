"""The broker's state machine: what a task, a lease and a session is. Pure."""

from paintmq.broker.machine.machine import BrokerMachine
from paintmq.broker.machine.step import Send, Step

__all__ = ["BrokerMachine", "Send", "Step"]
