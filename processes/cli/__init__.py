"""dcctl: the command line. A table for people, --json for programs, fixed exit codes."""
