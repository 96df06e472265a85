"""What a person looks at and does, once: `dcctl` prints it, the console shows it."""
