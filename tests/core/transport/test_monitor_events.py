import os

import zmq

from paintmq.transport.monitor_events import receive_event
from paintmq.transport.sockets import new_context

PATIENCE = 30.0


def test_events_are_those_that_zeromq_tells_with_descriptors_of_this_process() -> None:
    context = new_context()
    server, client = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    monitor = server.get_monitor_socket(zmq.EVENT_LISTENING | zmq.EVENT_ACCEPTED)
    client.connect(f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}")
    try:
        heard = []
        for _ in range(2):
            assert monitor.poll(int(PATIENCE * 1000))
            heard.append(receive_event(monitor))

        assert [event.kind for event in heard] == [zmq.EVENT_LISTENING, zmq.EVENT_ACCEPTED]
        assert all(os.fstat(event.value) for event in heard)
    finally:
        server.disable_monitor()
        for socket in (monitor, client, server):
            socket.close(0)
        context.term()
