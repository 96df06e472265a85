"""Benchmarks: one file a question, run by `dcctl bench`, explained in docs/performance.md."""
