"""The loss as a function of one flat vector of weights, and the algorithms on it."""
