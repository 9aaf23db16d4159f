"""What this machine can do for a lab, each finding with its cure."""
