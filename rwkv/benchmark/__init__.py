"""The commands of the benchmark: keys, stores, training, evaluation, single users, and simulated learners."""
