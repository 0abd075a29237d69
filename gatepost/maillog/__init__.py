"""From log lines to deliveries: what Postfix's log proves of every message that went out."""
