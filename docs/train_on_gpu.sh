#!/usr/bin/env bash
# Train every network of an animator on a machine without network:
#     [SIZE=lite] [START=FOLDER] [PYTHON=python3] bash docs/train_on_gpu.sh MINUTES [key=value ...]
# Run again, it goes on where it stopped. The settings (key=value) go to the two runs of the animator.
set -euo pipefail

minutes=${1:?usage: bash docs/train_on_gpu.sh MINUTES [key=value ...]}
shift
crops=outputs/crops
output=outputs/gpu
export PYTHONPATH="$PWD/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
size=${SIZE:-lite}
python=${PYTHON:-python3}
# Encoder and GAN head go on from the packaged weights of this size, if there are any; START= (empty) begins anew.
start=${START-animator/pretrained/$size}
begin=()
if [ -n "$start" ] && [ -d "$start" ]; then begin=(start_from="$start" schedule.label_warm_up_steps=0); fi
xnemo() { "$python" -m apps.cli "$@"; }
share() { "$python" -c "print($minutes * $1 / 100)"; }

# Autoencoder, GAN head and diffusion model in this proportion; the last one is the slowest to learn.
xnemo prepare -o "$crops"
xnemo train autoencoder animator="$size" crops="$crops" output="$output/autoencoder" batch=32 \
    schedule.max_minutes="$(share 15)" schedule.checkpoint_minutes=2 schedule.decay_minutes="$(share 5)"
xnemo train animator animator="$size" crops="$crops" output="$output/gan" \
    schedule.max_minutes="$(share 30)" schedule.checkpoint_minutes=2 schedule.decay_minutes="$(share 5)" \
    ${begin[@]+"${begin[@]}"} "$@"

# What goes into the diffusion run: the encoder and the head of the second run, the autoencoder of the first.
mkdir -p "$output/start"
cp -r "$output/gan/weights/motion_encoder" "$output/gan/weights/gan_head" "$output/autoencoder/weights/vae" "$output/start"
xnemo train animator animator="$size" crops="$crops" output="$output/diffusion" start_from="$output/start" \
    train_diffusion=true image_size=256 schedule.label_warm_up_steps=0 learning_rate=3e-4 \
    schedule.max_minutes="$(share 55)" schedule.checkpoint_minutes=2 schedule.decay_minutes="$(share 5)" "$@"
echo "$output/diffusion/weights"
