"""What agent and model host say to each other, and how it is framed."""
