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
  -d '{"query": {"text": "the sound of a rooster"}, "modalities": ["audio"], "k": 1}'
echo; echo

mkdir -p out
echo "a picture like what is remembered: out/rooster.png"
curl --fail-with-body -sS "$url/generate" -H 'Accept: image/png' \
  -H 'Content-Type: application/json' -o out/rooster.png \
  -d '{"query": {"text": "a rooster"}, "output": "image", "creativity": 0, "seed": 1}'
ls -l out/rooster.png
