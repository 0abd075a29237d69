"""Who sent it: tenants, identity, ownership of senders, and the tag."""
