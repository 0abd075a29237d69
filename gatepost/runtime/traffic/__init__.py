"""What runs of traffic: the counters of quotas, their clock, and what the log gives back."""
