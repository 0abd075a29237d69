"""What Gatepost serves over HTTP: metrics and a health check."""
