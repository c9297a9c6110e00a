"""All kinds of files, by name."""

from bench.fuzz import collections, databases, states, tables, texts, weights

SUBJECTS = {
    subject.name: subject
    for module in (tables, texts, weights, databases, states, collections)
    for subject in module.SUBJECTS
}
