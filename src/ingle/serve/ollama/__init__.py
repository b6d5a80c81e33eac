"""Ollama's native API, ``/api/...``: its bodies, its lines of JSON, its names for options.

Follows the reference at https://github.com/ollama/ollama/blob/main/docs/api.md.
"""
