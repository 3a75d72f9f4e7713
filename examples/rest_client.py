"""Music from a model server over REST, as a WAV file: needs `requests` and nothing else.

    python rest_client.py --condition=tempo_bpm=128 --seconds=30 --seed=1 --out=techno.wav

The signature `generate_wav` answers with a whole file. JSON cannot hold bytes, so it comes in
base64, as {"b64": "…"}.
"""

import argparse
import base64
import pathlib
import sys

import requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8501/v1/models/musika")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truncation", type=float, default=2.0, help="Smaller is more stable.")
    parser.add_argument(
        "--condition",
        type=name_and_value,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="A value of a signal of a conditional model; once for each of them.",
    )
    parser.add_argument("--timeout_seconds", type=float, default=60.0)
    parser.add_argument("--out", required=True, type=pathlib.Path, help="WAV file to write.")
    flags = parser.parse_args()

    # One instance is one piece. Of the same seed the same music comes, byte for byte.
    instance = {
        "seed": [flags.seed, 0],
        "seconds": flags.seconds,
        "truncation": flags.truncation,
        **dict(flags.condition),
    }
    request = {"signature_name": "generate_wav", "instances": [instance]}
    try:
        response = requests.post(
            f"{flags.url}:predict", json=request, timeout=flags.timeout_seconds
        )
    except requests.RequestException as error:
        sys.exit(f"no answer from {flags.url}: {error}")
    if not response.ok:  # {"error": "…"} names the input and says what it should be
        sys.exit(f"HTTP status {response.status_code}: {response.text}")
    (prediction,) = response.json()["predictions"]
    flags.out.write_bytes(base64.b64decode(prediction["b64"], validate=True))


def name_and_value(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value)


if __name__ == "__main__":
    main()
