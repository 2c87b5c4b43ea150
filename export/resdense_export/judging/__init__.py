"""Whether a file is what it should be: the gates, their intervals, and the outputs that they compare with."""
