"""What happens in a broker, counted: by queue, model, tenant and worker. Pure."""
