"""What looks at members, in training and after it, and changes nothing."""
