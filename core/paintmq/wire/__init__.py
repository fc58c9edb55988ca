"""What client, broker and worker say to each other: messages, their encoding and framing."""
