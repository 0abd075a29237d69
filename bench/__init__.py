"""Measurements, each beside a peer or plain Postfix in the same run."""
