"""Console programs, one thin module each."""

import os

# Before anything imports TensorFlow, whose start-up lines would bury a program's own. Real failures
# arrive as exceptions; TF_CPP_MIN_LOG_LEVEL=0 in the environment shows all lines.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
