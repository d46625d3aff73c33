"""What `make bench` measures: Trialrun beside plain loops and other systems, in one run, as ratios."""
