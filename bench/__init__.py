"""The benchmarks: every speed that the project publishes is measured here. Each ends with one line of JSON."""
