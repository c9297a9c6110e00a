"""How far simulated learners are like people: cheap ways of predicting whose results for people are published."""
