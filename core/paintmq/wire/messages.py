"""Every message between client, broker and worker: frozen values, closed unions.

What arrives from a worker is a past fact; what goes out to one is an order. Payload bytes are not
in here: they follow a message as frames, in the order of its PayloadInfos.
"""

from typing import TypeAlias

from paintmq.task import PayloadInfo
from paintmq.wire.client_messages import (
    Accepted,
    Answer,
    Ask,
    Cancel,
    CancelAnswered,
    ClientGoodbye,
    ClientHello,
    Finished,
    FromClient,
    Progressed,
    Query,
    Rejected,
    ResultReceived,
    Submit,
    ToClient,
    UnknownTask,
    Welcome,
)
from paintmq.wire.shared_messages import (
    OLDEST_PROTOCOL_VERSION,
    PROTOCOL_VERSION,
    BrokerHeartbeat,
    Heartbeat,
    Refused,
    WhoAreYou,
)
from paintmq.wire.worker_messages import (
    Abandon,
    Assign,
    Assignment,
    AttemptCrashed,
    AttemptFailed,
    AttemptProgressed,
    AttemptRecorded,
    AttemptReturned,
    AttemptStarted,
    AttemptSucceeded,
    Drain,
    Draining,
    FromWorker,
    ModelLoaded,
    ModelUnloaded,
    Preload,
    ResidentModel,
    ToWorker,
    WorkerGoodbye,
    WorkerHello,
    WorkerWelcome,
)

__all__ = [
    "OLDEST_PROTOCOL_VERSION",
    "PROTOCOL_VERSION",
    "Abandon",
    "Accepted",
    "Answer",
    "Ask",
    "Assign",
    "Assignment",
    "AttemptCrashed",
    "AttemptFailed",
    "AttemptProgressed",
    "AttemptRecorded",
    "AttemptReturned",
    "AttemptStarted",
    "AttemptSucceeded",
    "BrokerHeartbeat",
    "Cancel",
    "CancelAnswered",
    "ClientGoodbye",
    "ClientHello",
    "Drain",
    "Draining",
    "Finished",
    "FromBroker",
    "FromClient",
    "FromWorker",
    "Heartbeat",
    "Message",
    "ModelLoaded",
    "ModelUnloaded",
    "Preload",
    "Progressed",
    "Query",
    "Refused",
    "Rejected",
    "ResidentModel",
    "ResultReceived",
    "Submit",
    "ToBroker",
    "ToClient",
    "ToWorker",
    "UnknownTask",
    "Welcome",
    "WhoAreYou",
    "WorkerGoodbye",
    "WorkerHello",
    "WorkerWelcome",
    "payloads_of",
]

ToBroker: TypeAlias = FromClient | FromWorker
FromBroker: TypeAlias = ToClient | ToWorker
Message: TypeAlias = ToBroker | FromBroker


def payloads_of(message: Message) -> tuple[PayloadInfo, ...]:
    """Return the descriptions of the payload frames that follow the message, in order."""
    match message:
        case Submit(task):
            return task.inputs
        case Assign(assignments):
            return tuple(info for item in assignments for info in item.task.inputs)
        case Finished(outputs=outputs) | AttemptSucceeded(outputs=outputs):
            return outputs
        case Progressed(preview=preview) | AttemptProgressed(preview=preview):
            return preview
        case _:
            return ()
