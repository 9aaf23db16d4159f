"""What the checker itself is measured with: simulated writers, cuts and bugs, and resolution on real histories."""
