"""Every message between client, broker and worker: frozen values, closed unions.

What arrives from a worker is a past fact; what goes out to one is an order. Payload bytes are not
in here: they follow a message as frames, in the order of its PayloadInfos.

To add a message: declare its class beside its like (``@message`` gives it a number), add it to the
union there, handle it, and describe it in ``core/PROTOCOL.md``.
"""

from typing import TypeAlias

from paintmq.task import PayloadInfo
from paintmq.wire.client_messages import *  # noqa: F403 -- every class there is a message
from paintmq.wire.client_messages import FromClient, ToClient
from paintmq.wire.message_class import message_forms
from paintmq.wire.shared_messages import *  # noqa: F403
from paintmq.wire.worker_messages import *  # noqa: F403
from paintmq.wire.worker_messages import FromWorker, ToWorker

ToBroker: TypeAlias = FromClient | FromWorker
FromBroker: TypeAlias = ToClient | ToWorker
Message: TypeAlias = ToBroker | FromBroker

_READ_PAYLOADS = {
    cls: form.payloads for cls, form in message_forms().items() if form.payloads is not None
}
WITH_PAYLOADS = frozenset(_READ_PAYLOADS)
"""The messages that payload frames may follow."""


def payloads_of(message: Message) -> tuple[PayloadInfo, ...]:
    """Return the descriptions of the payload frames that follow the message, in order."""
    read = _READ_PAYLOADS.get(type(message))
    return () if read is None else read(message)
