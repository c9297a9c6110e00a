"""The harness: every figure of speed that the project states comes from here. Each ends with one line of JSON."""
