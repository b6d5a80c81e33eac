"""Owns making smaller models: importance, recipes, encoders, the job that writes them."""
