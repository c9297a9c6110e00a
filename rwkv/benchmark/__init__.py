"""The commands of the benchmark: keys, store, training, evaluation, one person, and learners to try them on."""
