"""The performance of the library: `python -m benchmarks list`, `run` and `page`.

Each benchmark is a module of this package with one question: what it measures, and its part of docs/performance.md.
The other scripts of this folder belong to other pages of the documentation.
"""
