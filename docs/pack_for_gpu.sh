#!/usr/bin/env bash
# Pack what a machine without network needs to train on:
#     [CROPS=outputs/crops] [START=FOLDER] [LIMIT=60M] [TARGET_PYTHON=3.12] [CARRY=carry] bash docs/pack_for_gpu.sh [PACKAGE...]
# CARRY then holds the bundle in parts of at most LIMIT, their checksums, and the script that unpacks and trains.
# PACKAGE... are those that the other machine lacks; START is weights to go on from (default: the packaged ones).
set -euo pipefail

crops=${CROPS:-outputs/crops}
start=${START-animator/pretrained/${SIZE:-lite}}
limit=${LIMIT:-60M}
target=${TARGET_PYTHON:-3.12}
carry=${CARRY:-carry}
pip=${PIP:-.venv/bin/pip}
lacking=("$@")
if [ ${#lacking[@]} -eq 0 ]; then
    lacking=(av diffusers hydra-core omegaconf soundfile cffi pycparser importlib_metadata)
fi

fail() { echo "error: $*" >&2; exit 1; }
[ -d "$crops/parts" ] || fail "$crops/parts: no prepared clips; make them with: xnemo prepare SRC... -o $crops"
[ ! -e "$carry" ] || fail "$carry: is there already; remove it, or name another folder with CARRY="
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir -p "$made/bundle/wheels" "$made/carry"

git archive --prefix=code/ HEAD | tar -C "$made/bundle" -x
mkdir -p "$made/bundle/crops"
cp -r "$crops/parts" "$made/bundle/crops/"
if [ -n "$start" ]; then
    [ -d "$start" ] || fail "$start: no weights to go on from; START= begins anew"
    cp -rL "$start" "$made/bundle/start"
fi
"$pip" download --quiet --no-deps --only-binary=:all: --python-version "$target" --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 -d "$made/bundle/wheels" \
    -c constraints.txt "${lacking[@]}"
# There is no wheel of it to download.
"$pip" wheel --quiet --no-deps -w "$made/bundle/wheels" antlr4-python3-runtime==4.9.3

tar -C "$made/bundle" -czf - . | split -b "$limit" -d -a 3 - "$made/carry/bundle.part-"
cp docs/train_on_gpu.sh "$made/carry/"
(cd "$made/carry" && sha256sum bundle.part-* train_on_gpu.sh > SHA256SUMS)
mv "$made/carry" "$carry"
chmod 755 "$carry"
du -h "$carry"/*
echo "there: bash train_on_gpu.sh 30     (beside the parts)"
