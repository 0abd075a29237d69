"""What came back, and the headers and tokens that make it come back to the right tenant."""
