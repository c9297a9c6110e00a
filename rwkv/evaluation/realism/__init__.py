"""How closely simulated learners resemble people, by simple algorithms whose results for people are published."""
