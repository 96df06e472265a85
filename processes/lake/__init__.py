"""The lake's tools: list, show, verify, compact and query; beside a running instance or without."""
