"""What runs of TLS: finding out what destinations publish, promotion, the survey."""
