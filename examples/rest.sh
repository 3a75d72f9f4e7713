#!/bin/sh
# Music from a model server over REST with curl: rest.sh OUT.wav [SECONDS] [SEED] [URL] [FIELDS]
#
# FIELDS are what a conditional model follows, as JSON: '"tempo_bpm": 80, "note_density": 0.4'. An
# empty word stands for what is usual: rest.sh music.wav 30 1 '' '"tempo_bpm": 128'
set -eu
out=$1
seconds=${2:-30}
seed=${3:-0}
url=${4:-http://127.0.0.1:8501/v1/models/musika}
fields=${5:-}

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
curl --silent --show-error --fail-with-body --output "$answer" "$url:predict" --data '{
  "signature_name": "generate_wav",
  "instances": [{"seed": ['"$seed"', 0], "seconds": '"$seconds"', "truncation": 2.0'"${fields:+, $fields}"'}]
}' || { cat "$answer" >&2; exit 1; }

# The answer is {"predictions": [{"b64": "…"}]}.
python3 -c 'import base64, json, sys
(prediction,) = json.load(sys.stdin)["predictions"]
sys.stdout.buffer.write(base64.b64decode(prediction["b64"]))' < "$answer" > "$out"
