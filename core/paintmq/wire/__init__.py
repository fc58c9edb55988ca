"""The protocol between client, broker and worker: messages, their encoding and framing."""
