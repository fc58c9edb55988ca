"""Who may connect, what arrives from them and what is sent to them."""
