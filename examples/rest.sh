#!/bin/sh
# Music from a model server over REST with curl: rest.sh OUT.wav [SECONDS] [SEED] [URL]
set -eu
out=$1
seconds=${2:-30}
seed=${3:-0}
url=${4:-http://127.0.0.1:8501/v1/models/musika}

# A conditional model also takes its signals, like "note_density": 0.4, beside "seconds".
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
curl --silent --show-error --fail-with-body --output "$answer" "$url:predict" --data '{
  "signature_name": "generate_wav",
  "instances": [{"seed": ['"$seed"', 0], "seconds": '"$seconds"', "truncation": 2.0}]
}' || { cat "$answer" >&2; exit 1; }

# The answer is {"predictions": [{"b64": "…"}]}.
python3 -c 'import base64, json, sys
(prediction,) = json.load(sys.stdin)["predictions"]
sys.stdout.buffer.write(base64.b64decode(prediction["b64"]))' < "$answer" > "$out"
