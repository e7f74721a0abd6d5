"""The performance of the library: `python -m benchmarks list`, `run` and `page`.

Each benchmark is a module of this package that answers one question: its measurement, and its part of
docs/performance.md. The other scripts in this folder belong to other pages of the documentation.
"""
