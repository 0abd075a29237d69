"""What the back role and the servers run of feedback: intake, effects, events, webhooks, rates."""
