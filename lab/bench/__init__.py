"""What the lab costs, as ratios against what a person would do by hand, measured in one run on one machine."""
