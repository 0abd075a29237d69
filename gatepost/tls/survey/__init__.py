"""The survey: which mail servers offer TLS, how well, and since when; asked without a message."""
