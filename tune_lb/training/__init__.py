"""Training: from a trial to trained members. No Ray, no files."""
