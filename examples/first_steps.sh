#!/bin/sh
# Store an episode with curl, find its sound by a text, and generate a picture.
# Needs a running service: memory-service serve
set -eu
url=${MEMORY_SERVICE_URL:-http://127.0.0.1:8000}
stamps=${1:-samples/tuxpaint-stamps}
animal=$stamps/animals/birds/rooster

echo "one request, one episode: a picture, a text and a sound"
curl --fail-with-body -sS "$url/store" \
  -F image=@"$animal.png" -F text=@"$animal.txt" -F audio=@"$animal.ogg" \
  -F 'metadata={"place": "farm"}' -F if_duplicate=skip
echo; echo

echo "a text finds the sound"
curl --fail-with-body -sS "$url/retrieve" -H 'Content-Type: application/json' \
  -d '{"query": {"text": "a rooster crows"}, "modalities": ["audio"], "k": 1}'
echo; echo

echo "a picture from what is remembered: rooster.png"
curl --fail-with-body -sS "$url/generate" -H 'Accept: image/png' \
  -H 'Content-Type: application/json' \
  -d '{"query": {"text": "a rooster"}, "output": "image", "seed": 1}' -o rooster.png
ls -l rooster.png
