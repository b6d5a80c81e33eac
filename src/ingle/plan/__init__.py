"""Owns what a model will need and how fast it will be, said before anything is loaded.

The arithmetic is the engine's own: bytes come from the models' descriptions and the backend's
recording, and the runtime takes its pages from here. It does not know requests or terminals.
"""
