#!/usr/bin/env bash
# Train every network of an animator on a machine without network, from what pack_for_gpu.sh has packed:
#     [SIZE=lite] [PYTHON=python3] [RESULTS=results] [LIMIT=60M] [CHECKPOINTS=] bash train_on_gpu.sh MINUTES [key=value ...]
# in the folder of the parts. Given again, it goes on where it stopped. RESULTS then holds weights, pictures and logs in
# parts of at most LIMIT; with CHECKPOINTS=yes also what it takes to go on elsewhere. The settings are those of
# `xnemo train all`; without any, an autoencoder, the GAN head and a diffusion model are trained.
set -euo pipefail

minutes=${1:?usage: bash train_on_gpu.sh MINUTES [key=value ...]}
shift
carry=$(cd "$(dirname "$0")" && pwd)
size=${SIZE:-lite}
python=${PYTHON:-python3}
results=${RESULTS:-$carry/results}
limit=${LIMIT:-60M}
work=$carry/work

(cd "$carry" && sha256sum --quiet -c SHA256SUMS) || { echo "error: a part is missing or damaged; carry it again" >&2; exit 1; }
if [ ! -f "$work/.unpacked" ]; then
    mkdir -p "$work"
    cat "$carry"/bundle.part-* | tar -C "$work" -xz
    "$python" -m pip install -q --no-index --no-deps --upgrade --target "$work/site" "$work"/wheels/*.whl
    touch "$work/.unpacked"
fi
export PYTHONPATH="$work/site:$work/code${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

start=()
if [ -d "$work/start" ]; then start=(start_from=start); fi
settings=("$@")
if [ ${#settings[@]} -eq 0 ]; then
    settings=(shares.autoencoder=1 shares.animator=19
        "settings.autoencoder=['batch=32']"
        "stages=['laptop schedule.label_warm_up_steps=${WARM_UP:-0}','laptop train_diffusion=true image_size=256 cached_latents=true schedule.label_warm_up_steps=0 learning_rate=3e-4']")
fi
cd "$work"
status=0
"$python" -m apps.cli train all crops -o made --minutes "$minutes" until=animator gate=false "animator=$size" \
    ${start[@]+"${start[@]}"} "${settings[@]}" || status=$?

# What goes home, whether it ended well or not.
names=(-name finished -o -name chain.json -o -name 'validation_*.png' -o -name log)
if [ -n "${CHECKPOINTS:-}" ]; then names+=(-o -name checkpoint.pt); fi
rm -rf "$results.partial" && mkdir -p "$results.partial"
find made \( "${names[@]}" \) -prune -print0 | tar --null -T - -cf - | gzip -1 |
    split -b "$limit" -d -a 3 - "$results.partial/results.part-"
(cd "$results.partial" && sha256sum results.part-* > SHA256SUMS)
rm -rf "$results" && mv "$results.partial" "$results"
du -h "$results"/*
exit "$status"
