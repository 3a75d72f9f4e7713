"""Musika in TensorFlow: fast, endless, controllable music generation."""
